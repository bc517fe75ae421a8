//! News that operators post.

use proxyxai_contract::{clock::Millis, id::AccountId};

/// For whom news are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewsScope {
    /// Everybody.
    System,
    /// One account.
    Account,
    /// An account and all below it.
    Group,
}

/// News to be posted.
#[derive(Debug, Default)]
pub struct NewsDraft {
    /// One line.
    pub title: String,
    /// May have several lines.
    pub content: String,
    /// How long it is shown; none means 7 days for everybody, 32 for a target.
    pub days: Option<i64>,
}

/// News.
#[derive(Debug, Clone)]
pub struct NewsItem {
    /// Ascending with time.
    pub id: i64,
    /// For whom.
    pub scope: NewsScope,
    /// Whose words they are.
    pub author: AccountId,
    /// What that account is called.
    pub author_name: String,
    /// One line.
    pub title: String,
    /// May have several lines.
    pub content: String,
    /// When it was posted.
    pub created: Millis,
    /// From when on it is hidden.
    pub expires: Millis,
}

/// News with whom they are for.
#[derive(Debug, Clone)]
pub struct PostedNews {
    /// The news.
    pub news: NewsItem,
    /// As they are addressed: empty for everybody, an id, or the DNA of an account.
    pub target: String,
    /// Name of that account; empty for everybody, and where it is gone.
    pub target_name: String,
}

/// What an account has to read, newest first.
#[derive(Debug, Default)]
pub struct NewsBoard {
    /// For everybody.
    pub system: Vec<NewsItem>,
    /// For this account.
    pub user: Vec<NewsItem>,
    /// For the groups it belongs to.
    pub group: Vec<NewsItem>,
}
