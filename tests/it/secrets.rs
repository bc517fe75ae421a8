//! The database's password: it works with any characters, and no message about an unusable server contains it.

use sea_orm::ConnectionTrait as _;
use tempfile::TempDir;

use crate::world::{Node, ROOT, run_to_end, server};

const PLANTED: &str = "Planted0Word";

#[test]
fn a_database_url_that_cannot_be_read_is_a_bad_configuration_and_is_never_shown() {
    for shape in [
        "postgres://planteduser:pa/PW@host/db",
        "postgres://planteduser:12/PW@host/db",
        "postgres://planteduser:12?PW@host/db",
        "postgres://planteduser:12#PW@host/db",
        "postgres://planteduser:PW@PW@host:port/db",
        "postgres://planteduser:%ffPW@host/db",
        "postgres://planteduser:PW@host/db?sslmode=PW",
        "postgres://planteduser:PW@host/db?PW",
        "postgres:/planteduser:PW@host",
        "planteduser:PW@host/db",
        "mysql://planteduser:PW@host/db",
        "host=h user=planteduser password='PW",
        "host=h user=planteduser PW",
    ] {
        let url = shape.replace("PW", PLANTED);
        for role in [None, Some("control"), Some("verify")] {
            for variable in ["DATABASE_URL", "POSTGRES_DSN"] {
                let env = [(variable, url.as_str()), ("RUST_LOG", "trace")];
                let (code, out, log) = run_to_end(role, &env);
                assert_eq!(code, 64, "{shape}: {log}");
                assert!(log.contains(&format!("{variable}: ")), "{log}");
                is_silent(&(out + &log));
            }
        }
    }
}

#[test]
fn what_is_said_of_a_server_that_cannot_be_reached_holds_no_password() {
    let apart = format!("a/b@{PLANTED}");
    let cases = [
        (
            format!("postgres://u:{PLANTED}@127.0.0.1:1/db"),
            "",
            "control",
        ),
        (
            format!("postgres://u:{PLANTED}@nowhere.invalid/db"),
            "",
            "verify",
        ),
        ("postgres://u@127.0.0.1:1/db".to_owned(), &apart, "control"),
    ];
    // Each waits the seconds that a server may take to come up.
    std::thread::scope(|scope| {
        for (url, password, role) in &cases {
            scope.spawn(move || {
                let env = [
                    ("DATABASE_URL", url.as_str()),
                    ("DATABASE_PASSWORD", password),
                    ("RUST_LOG", "trace"),
                ];
                let (code, out, log) = run_to_end(Some(role), &env);
                assert!(![0, 64].contains(&code), "{code}: {log}");
                assert!(log.contains("proxyxai: "), "{log}");
                is_silent(&(out + &log));
            });
        }
    });
}

fn is_silent(said: &str) {
    for secret in [PLANTED, "planteduser"] {
        let line = said.lines().find(|line| line.contains(secret));
        assert_eq!(line, None);
    }
}

/// Creates a role with this password and its own database.
async fn guarded(admin: &str, name: &str, password: &str) -> String {
    let connection = sea_orm::Database::connect(admin).await.unwrap();
    // Two tests may create the group at once.
    let _there = connection.execute_unprepared("CREATE ROLE guarded").await;
    let quoted = password.replace('\'', "''");
    for sql in [
        format!("CREATE ROLE {name} LOGIN PASSWORD '{quoted}' IN ROLE guarded"),
        format!("CREATE DATABASE {name} OWNER {name}"),
    ] {
        connection.execute_unprepared(&sql).await.unwrap();
    }
    connection.close().await.unwrap();
    let place = admin.split_once("://").unwrap().1;
    let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
    let place = place.rsplit_once('/').unwrap().0;
    format!("postgres://{name}@{place}/{name}")
}

#[tokio::test]
async fn a_password_of_any_characters_opens_the_database_and_a_wrong_one_is_not_shown() {
    let Some(admin) = server() else { return };
    let root = format!("root::root@example.com::{ROOT}");
    for (at, password) in [
        "a/b@c:d#e?f%g",
        " 'single' \"double\" \\ ",
        "%41%2F+&=;$()[]{}",
        "pässwörd 日本",
        "postgres://u:p@h/d",
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("it_pw_{}_{at}", std::process::id());
        let url = guarded(&admin, &name, password).await;
        let given = |password: &str| {
            [
                ("DATABASE_URL", url.as_str()),
                ("DATABASE_PASSWORD", password),
                ("INIT_USERS", &root),
                ("RUST_LOG", "trace"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
        };
        let dir = TempDir::new().unwrap();
        let mut node = Node::start(Some("control"), dir.path(), &given(password)).await;
        node.signal("TERM");
        assert_eq!(node.ended().await.code(), Some(0));
        assert!(!node.log().contains(password.trim()), "{}", node.log());
        let wrong = format!("{PLANTED}{password}");
        for (password, code) in [(password, 0), (&wrong, 2), ("", 2)] {
            let env = given(password);
            let env: Vec<_> = env.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
            let (ended, out, log) = run_to_end(Some("verify"), &env);
            assert_eq!(ended, code, "the server asks for passwords: {log}");
            is_silent(&(out + &log));
        }
    }
}
