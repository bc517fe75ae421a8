//! Several hosts in one address, as libpq takes them: comma separated, each with its port or all with one.

use super::{DatabaseProblem, UNREADABLE};

/// More than any set of standbys; each is asked in turn.
const HOSTS_MAX: usize = 16;

const COUNTS: DatabaseProblem =
    "has another number of ports or addresses than hosts, or more than 16 hosts";
const SESSION: DatabaseProblem = "has a target_session_attrs other than any, read-write and primary, though control has to write";

/// An address with one host in each URL.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct HostUrls {
    pub(super) urls: Vec<String>,
    /// Whether a server that takes no writes is passed over.
    pub(super) must_write: bool,
}

/// Splits a URL with several hosts, and takes out what the driver does not know.
pub(super) fn split(url: &str) -> Result<HostUrls, DatabaseProblem> {
    let (scheme, rest) = url.split_once("://").ok_or(UNREADABLE)?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at_checked(end).ok_or(UNREADABLE)?;
    let (login, places) = match authority.rsplit_once('@') {
        Some((login, places)) => (format!("{login}@"), places),
        None => (String::new(), authority),
    };
    let (path, query) = match tail.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (tail, None),
    };
    let options = query.unwrap_or_default().split('&');
    let (asked, options): (Vec<_>, Vec<_>) =
        options.partition(|option| option.starts_with("target_session_attrs="));
    let asked = asked.last().and_then(|option| option.split_once('='));
    let places: Vec<_> = places.split(',').collect();
    let lists: Vec<_> = options.iter().map(|option| values(option)).collect();
    let lengths = lists.iter().map(|(_, values)| values.len());
    let count = lengths.fold(places.len(), usize::max);
    let fits = |length: usize| length == 1 || length == count;
    let all_fit = fits(places.len()) && lists.iter().all(|(_, values)| fits(values.len()));
    if count > HOSTS_MAX || !all_fit {
        return Err(COUNTS);
    }
    let must_write = match asked.map(|(_, value)| value) {
        None => count > 1,
        Some("any") => false,
        Some("read-write" | "primary") => true,
        Some(_) => return Err(SESSION),
    };
    let of = |at: usize| {
        let options = lists.iter().filter_map(|(name, values)| {
            let value = values.get(at).or(values.first())?;
            Some(format!("{name}{value}"))
        });
        let options: Vec<_> = options.collect();
        let place = places.get(at).or(places.first()).copied();
        let place = place.unwrap_or_default();
        let mark = if query.is_some() && !options.iter().all(String::is_empty) {
            "?"
        } else {
            ""
        };
        format!("{scheme}://{login}{place}{path}{mark}{}", options.join("&"))
    };
    Ok(HostUrls {
        urls: (0..count).map(of).collect(),
        must_write,
    })
}

/// Name of an option with its `=`, and its values if it may have several.
fn values(option: &str) -> (&str, Vec<&str>) {
    for name in ["host=", "hostaddr=", "port="] {
        if let Some(list) = option.strip_prefix(name) {
            let list = list.split(',').flat_map(|part| part.split("%2C"));
            return (name, list.flat_map(|part| part.split("%2c")).collect());
        }
    }
    ("", vec![option])
}

/// Hosts of a DSN with their ports.
pub(super) fn joined(
    hosts: &str,
    ports: &str,
    encode: impl Fn(&str) -> String,
) -> Result<String, DatabaseProblem> {
    let (hosts, ports): (Vec<_>, Vec<_>) = (hosts.split(',').collect(), ports.split(',').collect());
    if ports.len() > 1 && ports.len() != hosts.len() {
        return Err(COUNTS);
    }
    let place = |(at, host): (usize, &&str)| {
        let port = ports.get(at).or(ports.first()).copied();
        let port = port.filter(|port| !port.is_empty()).unwrap_or("5432");
        if host.starts_with('/') {
            format!("{}:{port}", encode(host))
        } else {
            format!("{host}:{port}")
        }
    };
    let places: Vec<_> = hosts.iter().enumerate().map(place).collect();
    Ok(places.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_host_gets_its_port_and_all_the_rest() {
        for (url, urls, must_write) in [
            ("postgres://h/d", vec!["postgres://h/d"], false),
            (
                "postgres://u:p,q@h1:5432,h2:5433/d?sslmode=disable&target_session_attrs=read-write",
                vec![
                    "postgres://u:p,q@h1:5432/d?sslmode=disable",
                    "postgres://u:p,q@h2:5433/d?sslmode=disable",
                ],
                true,
            ),
            (
                "postgres://h1,[::1]:5433/d",
                vec!["postgres://h1/d", "postgres://[::1]:5433/d"],
                true,
            ),
            (
                "postgres:///d?host=/run/a,h2&port=5433&user=u",
                vec![
                    "postgres:///d?host=/run/a&port=5433&user=u",
                    "postgres:///d?host=h2&port=5433&user=u",
                ],
                true,
            ),
            (
                "postgres://h1,h2/d?target_session_attrs=any",
                vec!["postgres://h1/d", "postgres://h2/d"],
                false,
            ),
            (
                "postgres://h/d?target_session_attrs=primary",
                vec!["postgres://h/d"],
                true,
            ),
        ] {
            let urls = urls.into_iter().map(str::to_owned).collect();
            assert_eq!(split(url), Ok(HostUrls { urls, must_write }));
        }
        for bad in [
            "postgres://h1,h2/d?port=1,2,3",
            "postgres://h1,h2,h3/d?host=a,b",
            "postgres://h/d?target_session_attrs=standby",
            "postgres://a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q/d",
        ] {
            assert!(split(bad).is_err(), "{bad}");
        }
    }
}
