//! News that operators post.

use proxyxai_contract::{clock::Millis, id::AccountId};

/// The readers of a news item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewsScope {
    /// All accounts.
    System,
    /// One account.
    Account,
    /// An account and all below it.
    Group,
}

/// A news item to be posted.
#[derive(Debug, Default)]
pub struct NewsDraft {
    /// One line.
    pub title: String,
    /// May have several lines.
    pub content: String,
    /// How many days it is shown; `None` means 7 for all accounts, and 32 for a target.
    pub days: Option<i64>,
}

/// News.
#[derive(Debug, Clone)]
pub struct NewsItem {
    /// Ascending with time.
    pub id: i64,
    /// The readers.
    pub scope: NewsScope,
    /// The account that posted it.
    pub author: AccountId,
    /// The name of that account.
    pub author_name: String,
    /// One line.
    pub title: String,
    /// May have several lines.
    pub content: String,
    /// When it was posted.
    pub created: Millis,
    /// The moment from which it is hidden.
    pub expires: Millis,
}

/// A news item with its target.
#[derive(Debug, Clone)]
pub struct PostedNews {
    /// The news.
    pub news: NewsItem,
    /// The target: empty for all accounts, an id, or the DNA of an account.
    pub target: String,
    /// Name of that account; empty for all accounts, or if the account is gone.
    pub target_name: String,
}

/// The news for an account, newest first.
#[derive(Debug, Default)]
pub struct NewsBoard {
    /// For all accounts.
    pub system: Vec<NewsItem>,
    /// For this account.
    pub user: Vec<NewsItem>,
    /// For the groups it belongs to.
    pub group: Vec<NewsItem>,
}
