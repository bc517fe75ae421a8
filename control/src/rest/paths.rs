//! All REST paths, their documentation and their handlers.

mod reports;

use super::{
    audit_log, bill, billing, books, client_keys, conf, config, dashboard, email_verification,
    keys, news, nodes,
    openapi::{Api, delete, get, post, update},
    prices,
    query::{DAYS, ID, LABELS, PAGE, ParamType, SIZE, U, USER, query, words},
    secrets, users,
};
use crate::model::KeyState;

pub(super) fn table() -> Api {
    accounts()
        .merge(client_keys())
        .merge(letters())
        .merge(reports::reports())
        .merge(reports::files())
        .merge(dashboard())
        .merge(openai_billing())
        .merge(upstream_keys())
        .merge(settings())
        .merge(running())
        .merge(prices::routes())
}

fn accounts() -> Api {
    let list = || users::QUERY.iter().chain(&LABELS);
    Api::new()
        .about("Accounts")
        .at(
            "/x-users",
            [
                get(users::children)
                    .named("listAccounts", "Direct children of the caller")
                    .query(list())
                    .fails(&[402, 404]),
                post(users::create)
                    .named("createAccount", "Creates a direct child of the caller")
                    .fails(&[402, 409]),
            ],
        )
        .at(
            "/x-users/{identifier}",
            [
                get(users::child)
                    .named(
                        "getAccount",
                        "One account, as an array of one; or direct children with a label",
                    )
                    .query(list())
                    .fails(&[402, 404]),
                update(users::update)
                    .named("updateAccount", "Changes an account, and moves credit")
                    .fails(&[402, 404, 409]),
                delete(users::delete)
                    .named("deleteAccount", "Deletes an account and refunds its credit")
                    .fails(&[402, 404, 409]),
            ],
        )
        .at(
            "/x-dna",
            [get(users::descendants)
                .named("listDescendants", "All accounts below the caller")
                .query(list())
                .fails(&[402, 404])],
        )
        .at(
            "/x-dna/{identifier}",
            [get(users::descendant)
                .named(
                    "getDescendant",
                    "One account, as an array of one; or descendants with a label",
                )
                .query(list())
                .fails(&[402, 404])],
        )
        .at(
            "/x-info",
            [get(users::info)
                .named("getAccountDetail", "All details of one account")
                .query(&[USER, U])
                .fails(&[404])],
        )
        .at(
            "/x-self",
            [post(secrets::rotate_self).named("rotateOwnKey", "Gives the caller a new key")],
        )
}

/// The further client keys of accounts.
fn client_keys() -> Api {
    let fails = &[404];
    Api::new()
        .about("Client keys")
        .at(
            "/x-users/{identifier}/keys",
            [
                get(client_keys::list)
                    .named("listClientKeys", "Further client keys of an account")
                    .fails(fails),
                post(client_keys::create)
                    .named(
                        "createClientKey",
                        "Makes a client key; its secret is shown once",
                    )
                    .fails(&[404, 409]),
            ],
        )
        .at(
            "/x-users/{identifier}/keys/{id}",
            [
                get(client_keys::show)
                    .named("getClientKey", "A further client key of an account")
                    .fails(fails),
                update(client_keys::update)
                    .named("updateClientKey", "Changes a client key")
                    .fails(&[404, 409]),
                delete(client_keys::delete)
                    .named("deleteClientKey", "Deletes a client key")
                    .fails(fails),
            ],
        )
        .at(
            "/x-self/keys",
            [
                get(client_keys::own)
                    .named("listOwnClientKeys", "The caller's further client keys"),
                post(client_keys::create_own)
                    .named(
                        "createOwnClientKey",
                        "Makes a client key of the caller's own; its secret is shown once",
                    )
                    .fails(&[409]),
            ],
        )
        .at(
            "/x-self/keys/{id}",
            [
                get(client_keys::show_own)
                    .named("getOwnClientKey", "A further client key of the caller")
                    .fails(&[404]),
                update(client_keys::update_own)
                    .named("updateOwnClientKey", "Changes a client key of the caller")
                    .fails(&[404, 409]),
                delete(client_keys::delete_own)
                    .named("deleteOwnClientKey", "Deletes a client key of the caller")
                    .fails(&[404]),
            ],
        )
}

/// News and mails.
fn letters() -> Api {
    Api::new()
        .about("News and mail")
        .at(
            "/x-news",
            [
                get(news::posted)
                    .named(
                        "listPostedNews",
                        "What the caller and accounts below it have posted",
                    )
                    .query(&news::QUERY),
                post(news::post).named("postNews", "Posts news for all accounts"),
                delete(news::delete)
                    .named(
                        "deleteNews",
                        "Deletes all news for all accounts, or one item",
                    )
                    .query(&news::DELETE_QUERY)
                    .fails(&[404]),
            ],
        )
        .at(
            "/x-news/{target}",
            [
                post(news::post_to)
                    .named(
                        "postNewsTo",
                        "News for an account, or for it and all below it",
                    )
                    .fails(&[404]),
                delete(news::delete_of)
                    .named("deleteNewsOf", "Deletes news of an account")
                    .fails(&[404]),
            ],
        )
        .at(
            "/x-users/{identifier}/verify",
            [post(email_verification::ask)
                .named(
                    "askVerification",
                    "Mails links to addresses that are not verified",
                )
                .fails(&[404])],
        )
        .at(
            "/x-verify/{token}",
            [
                get(email_verification::show).named(
                    "showVerification",
                    "A page that asks whether an address is one's own",
                ),
                post(email_verification::confirm)
                    .named("confirmVerification", "Verifies an address"),
            ],
        )
}

/// What a caller reads about itself, under every path it has ever had.
fn dashboard() -> Api {
    let info = [
        "/dashboard/info",
        "/dashboard/live",
        "/dashboard/x-user-info",
        "/dashboard/x_user/info",
    ];
    Api::new()
        .about("The caller itself")
        .at_each(
            &info,
            [
                get(dashboard::info)
                    .named("getInfo", "The caller's account, its credit and limits"),
            ],
        )
        .at_each(
            &["/dashboard/status", "/dashboard/x-user-status"],
            [get(dashboard::status).named("getStatus", "Who the caller is")],
        )
        .at(
            "/dashboard/conf",
            [get(dashboard::conf).named("getConf", "The caller's own rules")],
        )
        .at(
            "/dashboard/bill",
            [get(bill::own)
                .named("getOwnBill", "What the caller used, by model and day")
                .query(&DAYS)],
        )
        .at_each(
            &["/dashboard/logs", "/dashboard/x-user-logs"],
            [get(audit_log::list)
                .named(
                    "listAudit",
                    "Administrative changes that concern the caller or a descendant",
                )
                .query(&audit_log::QUERY)],
        )
        .at_each(
            &["/dashboard/news", "/dashboard/x-user-news"],
            [get(news::board).named("listNews", "News for the caller")],
        )
}

/// OpenAI's billing paths, with and without the version.
fn openai_billing() -> Api {
    Api::new()
        .about("Billing in OpenAI's shape")
        .at_each(
            &["/dashboard/billing/usage", "/v1/dashboard/billing/usage"],
            [get(billing::usage)
                .named("getBillingUsage", "What was used, in cents")
                .query(&billing::QUERY)],
        )
        .at_each(
            &[
                "/dashboard/billing/subscription",
                "/v1/dashboard/billing/subscription",
            ],
            [get(billing::subscription)
                .named("getBillingSubscription", "The spending limit of this month")],
        )
        .at_each(
            &[
                "/dashboard/billing/credit_grants",
                "/v1/dashboard/billing/credit_grants",
            ],
            [get(billing::credit_grants).named("getCreditGrants", "The cards of the caller")],
        )
}

fn upstream_keys() -> Api {
    let list = [
        query("id", ID, "The key with this ID"),
        query("level", ParamType::Whole(0, 10), "Keys of this level"),
        query(
            "provider",
            ParamType::Text,
            "Keys of the provider at this host",
        ),
        query(
            "search",
            ParamType::Text,
            "Keys whose name begins with this",
        ),
        query(
            "state",
            ParamType::Words(&const { words(&KeyState::NAMES) }),
            "Keys in this state",
        ),
        PAGE,
        SIZE,
    ];
    Api::new()
        .about("Upstream keys")
        .at(
            "/x-keys",
            [
                get(keys::list)
                    .named("listUpstreamKeys", "The key pool, without secrets")
                    .query(&list),
                post(keys::create)
                    .named("createUpstreamKey", "Adds an upstream key")
                    .fails(&[409]),
            ],
        )
        .at(
            "/x-keys/{filter}",
            [
                get(keys::filtered)
                    .named(
                        "getUpstreamKeys",
                        "One key, or those of a level or provider",
                    )
                    .query(&[PAGE, SIZE])
                    .fails(&[404]),
                update(keys::update)
                    .named("updateUpstreamKey", "Changes an upstream key")
                    .fails(&[404, 409]),
                delete(keys::delete)
                    .named("deleteUpstreamKey", "Deletes an upstream key")
                    .fails(&[404]),
            ],
        )
        .at(
            "/x-keys/{filter}/probe",
            [post(keys::probe)
                .named("probeUpstreamKey", "Tests an upstream key")
                .fails(&[404])],
        )
}

fn settings() -> Api {
    Api::new()
        .about("Settings")
        .at(
            "/x-config",
            [
                get(config::show)
                    .named("getSettings", "Settings in effect"),
                update(config::update)
                    .named("updateSettings", "Stores settings"),
                delete(config::delete)
                    .named("deleteSettings", "Resets settings to the environment's values"),
            ],
        )
        .at(
            "/x-conf",
            [
                get(conf::show)
                    .named("getSystemConf", "The system's rules and unwell keys; or which keys a call would be tried on")
                    .query(&conf::QUERY)
                    .fails(&[404]),
                post(conf::update)
                    .named("updateSystemConf", "Stores rules and removes the accounts' own"),
            ],
        )
}

/// What the operator manages.
fn running() -> Api {
    Api::new()
        .about("The system")
        .at(
            "/x-nodes",
            [get(nodes::list)
                .named("listNodes", "Data planes")
                .query(&nodes::QUERY)],
        )
        .at(
            "/x-books",
            [get(books::verify)
                .named(
                    "verifyBooks",
                    "Recomputes the books and names the first difference",
                )
                .fails(&[409])],
        )
        .at(
            "/x-root",
            [post(secrets::rotate_root)
                .named("rotateKey", "Gives root, or an account below it, a new key")
                .fails(&[404, 409])],
        )
        .at(
            "/x-gkey",
            [get(secrets::fresh_key).named("makeKey", "Generates an unused client key")],
        )
        .at(
            "/x-ekey/{text}",
            [get(secrets::seal).named("sealText", "Seals a text under the master key")],
        )
        .at(
            "/x-dkey/{text}",
            [get(secrets::open).named("openText", "Opens a sealed text")],
        )
}
