//! Audit records, news, and the queue of mails with what the mailing jobs remember.

pub(super) const SCHEMA: &str = "
CREATE TABLE audit (
    id {ID},
    at BIGINT NOT NULL,
    action TEXT NOT NULL,
    operator_id BIGINT NOT NULL,
    operator_name TEXT NOT NULL,
    operator_dna TEXT NOT NULL,
    address TEXT NOT NULL,
    kind TEXT NOT NULL,
    target_id BIGINT,
    target_name TEXT NOT NULL,
    target_dna TEXT NOT NULL,
    status TEXT NOT NULL,
    details TEXT NOT NULL
);
CREATE INDEX audit_at ON audit (at);
CREATE INDEX audit_operator ON audit (operator_dna {STARTS});
CREATE INDEX audit_target ON audit (target_dna {STARTS});
CREATE TABLE news (
    id {ID},
    scope TEXT NOT NULL,
    target_dna TEXT NOT NULL,
    author_id BIGINT NOT NULL,
    author_dna TEXT NOT NULL,
    title TEXT NOT NULL,
    content TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    mailed_to BIGINT
);
CREATE INDEX news_target ON news (scope, target_dna);
CREATE INDEX news_expiry ON news (expires_at);
CREATE TABLE mail (
    id {ID},
    kind TEXT NOT NULL,
    account_id BIGINT,
    recipient TEXT NOT NULL,
    subject TEXT NOT NULL,
    text_body TEXT NOT NULL,
    html_body TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    tries BIGINT NOT NULL,
    state TEXT NOT NULL,
    last_error TEXT NOT NULL
);
CREATE INDEX mail_due ON mail (state, due_at);
CREATE INDEX mail_age ON mail (created_at);
CREATE TABLE mail_mark (
    kind TEXT NOT NULL,
    subject_id BIGINT NOT NULL,
    period TEXT NOT NULL,
    PRIMARY KEY (kind, subject_id)
);
CREATE TABLE job (
    name TEXT PRIMARY KEY,
    position TEXT NOT NULL
)
";
