//! Owners of providers' objects, as far as this data plane has learnt lately. It knows at once what was made through
//! it; for everything else it asks control, and caches the reply for a while.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use proxyxai_contract::{
    id::{AccountId, KeyId},
    object::{DueWork, ObjectKind, OwnedObject},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

/// Queries that may wait for control; further ones fail as unreachable.
pub(crate) const QUESTIONS_MAX: usize = 1024;
/// Ids that are remembered in each of two generations.
const IDS_MAX: usize = 16_384;
/// Batches that are known to have their results in a file, not fetched yet.
const RESULTS_MAX: usize = 4096;
/// Changes that others make to an object within this time are missed here; its provider reports them.
const KNOWN: Duration = Duration::from_mins(5);
/// Keeps a client that tries ids from causing a query each time.
const UNKNOWN: Duration = Duration::from_secs(1);
/// A call on another data plane may be posted a little later.
const SECOND_LOOK: Duration = Duration::from_millis(300);
/// Timeout for control.
const ANSWER_MAX: Duration = Duration::from_secs(3);

/// A query for control.
#[derive(Debug)]
pub(crate) enum ControlQuery {
    /// Objects with these ids, and their owners.
    Find(Vec<String>, oneshot::Sender<Vec<OwnedObject>>),
    /// A page of a list, and whether there is more.
    List(
        Box<ObjectListQuery>,
        oneshot::Sender<(Vec<OwnedObject>, bool)>,
    ),
    /// Claims work that should be over.
    Claim(u32, oneshot::Sender<Vec<DueWork>>),
}

/// A page of a list.
#[derive(Debug, Clone)]
pub(crate) struct ObjectListQuery {
    pub(crate) account: AccountId,
    pub(crate) kind: ObjectKind,
    pub(crate) limit: u32,
    pub(crate) after: String,
    pub(crate) before: String,
    pub(crate) ascending: bool,
}

/// Control did not reply in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ControlUnreachable;

/// What is known of objects.
#[derive(Debug)]
pub(crate) struct ObjectIndex {
    known: Mutex<ObjectCache>,
    /// Batches by the file that has their results, until they are charged.
    results: Mutex<HashMap<String, Arc<OwnedObject>>>,
    questions: mpsc::Sender<ControlQuery>,
}

/// Two generations: entries that are used move to the new one, and the old one is dropped as a whole.
#[derive(Debug, Default)]
struct ObjectCache {
    new: HashMap<String, CachedObjects>,
    old: HashMap<String, CachedObjects>,
}

#[derive(Debug, Clone)]
struct CachedObjects {
    objects: Vec<Arc<OwnedObject>>,
    until: Instant,
}

impl ObjectIndex {
    /// An empty index. Its queries arrive at the receiver.
    pub(crate) fn new() -> (Self, mpsc::Receiver<ControlQuery>) {
        let (questions, asked) = mpsc::channel(QUESTIONS_MAX);
        let objects = Self {
            known: Mutex::default(),
            results: Mutex::default(),
            questions,
        };
        (objects, asked)
    }

    /// A call has made an object.
    pub(crate) fn made(&self, owned: OwnedObject) {
        let mut known = self.known();
        let mut objects = known.get(&owned.id).unwrap_or_default();
        // The account that made it first owns it.
        let same = |one: &Arc<OwnedObject>| one.key == owned.key;
        let others = objects
            .iter()
            .any(|one| same(one) && one.account != owned.account);
        if !others {
            objects.retain(|one| !same(one));
            objects.push(Arc::new(owned.clone()));
        }
        known.put(owned.id, objects, KNOWN);
    }

    /// An object's work has been charged.
    pub(crate) fn settled(&self, key: KeyId, id: &str) {
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        results.retain(|_, one| one.key != key || one.id != id);
        drop(results);
        self.change(key, id, |one| {
            Some(OwnedObject {
                pending: None,
                status: String::new(),
                ..one.clone()
            })
        });
    }

    /// An object was deleted.
    pub(crate) fn forgotten(&self, key: KeyId, id: &str) {
        self.change(key, id, |_| None);
    }

    /// A file has the results of a batch.
    pub(crate) fn results_are_in(&self, file: &str, batch: Arc<OwnedObject>) {
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        if results.len() >= RESULTS_MAX {
            results.clear();
        }
        results.insert(file.to_owned(), batch);
    }

    /// The batch whose results a file has, if they are not charged yet.
    pub(crate) fn batch_of(&self, file: &str) -> Option<Arc<OwnedObject>> {
        let results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        results.get(file).cloned()
    }

    /// The file that has the results of a batch.
    pub(crate) fn results_of(&self, batch: &OwnedObject) -> Option<String> {
        let results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        let is = |one: &OwnedObject| one.id == batch.id && one.key == batch.key;
        let file = results.iter().find(|(_, one)| is(one));
        file.map(|(file, _)| file.clone())
    }

    fn change(&self, key: KeyId, id: &str, change: impl Fn(&OwnedObject) -> Option<OwnedObject>) {
        let mut known = self.known();
        let Some(objects) = known.get(id) else {
            return;
        };
        let changed = objects.into_iter().filter_map(|one| {
            if one.key == key {
                change(&one).map(Arc::new)
            } else {
                Some(one)
            }
        });
        let changed = changed.collect();
        known.put(id.to_owned(), changed, KNOWN);
    }

    /// All objects with these ids.
    ///
    /// # Errors
    /// Errors if control would have to be asked and is unreachable.
    pub(crate) async fn find(
        &self,
        ids: &[&str],
    ) -> Result<Vec<Arc<OwnedObject>>, ControlUnreachable> {
        let (mut found, unknown) = self.look(ids);
        if unknown.is_empty() {
            return Ok(found);
        }
        let mut heard = self.ask(&unknown).await?;
        let missed = |heard: &[OwnedObject]| {
            let is_there = |id: &String| heard.iter().any(|one| one.id == *id);
            unknown.iter().any(|id| !is_there(id))
        };
        if missed(&heard) {
            tokio::time::sleep(SECOND_LOOK).await;
            heard = self.ask(&unknown).await?;
        }
        let mut known = self.known();
        for id in unknown {
            let objects = heard.iter().filter(|one| one.id == id);
            let objects: Vec<_> = objects.cloned().map(Arc::new).collect();
            found.extend(objects.iter().cloned());
            let until = if objects.is_empty() { UNKNOWN } else { KNOWN };
            known.put(id, objects, until);
        }
        Ok(found)
    }

    /// The objects known for some ids, and the ids of which nothing is known.
    fn look(&self, ids: &[&str]) -> (Vec<Arc<OwnedObject>>, Vec<String>) {
        let mut known = self.known();
        let (mut found, mut unknown) = (Vec::new(), Vec::new());
        for id in ids {
            match known.get(id) {
                Some(objects) => found.extend(objects),
                None => unknown.push((*id).to_owned()),
            }
        }
        (found, unknown)
    }

    async fn ask(&self, ids: &[String]) -> Result<Vec<OwnedObject>, ControlUnreachable> {
        let (answer, heard) = oneshot::channel();
        self.question(ControlQuery::Find(ids.to_vec(), answer), heard)
            .await
    }

    /// A page of an account's objects, and whether there is more.
    ///
    /// # Errors
    /// Errors if control is unreachable.
    pub(crate) async fn list(
        &self,
        wanted: ObjectListQuery,
    ) -> Result<(Vec<OwnedObject>, bool), ControlUnreachable> {
        let (answer, heard) = oneshot::channel();
        self.question(ControlQuery::List(Box::new(wanted), answer), heard)
            .await
    }

    /// Work that should be over.
    ///
    /// # Errors
    /// Errors if control is unreachable.
    pub(crate) async fn claim(&self, limit: u32) -> Result<Vec<DueWork>, ControlUnreachable> {
        let (answer, heard) = oneshot::channel();
        self.question(ControlQuery::Claim(limit, answer), heard)
            .await
    }

    async fn question<T>(
        &self,
        question: ControlQuery,
        heard: oneshot::Receiver<T>,
    ) -> Result<T, ControlUnreachable> {
        self.questions
            .try_send(question)
            .map_err(|_| ControlUnreachable)?;
        let heard = tokio::time::timeout(ANSWER_MAX, heard).await;
        heard
            .map_err(|_| ControlUnreachable)?
            .map_err(|_| ControlUnreachable)
    }

    fn known(&self) -> MutexGuard<'_, ObjectCache> {
        // Entries are inserted or removed as a whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ObjectCache {
    fn get(&mut self, id: &str) -> Option<Vec<Arc<OwnedObject>>> {
        let entry = if let Some(entry) = self.new.get(id) {
            entry.clone()
        } else {
            let entry = self.old.remove(id)?;
            self.insert(id.to_owned(), entry.clone());
            entry
        };
        (entry.until > Instant::now()).then_some(entry.objects)
    }

    fn put(&mut self, id: String, objects: Vec<Arc<OwnedObject>>, life: Duration) {
        let until = Instant::now() + life;
        self.old.remove(&id);
        self.insert(id, CachedObjects { objects, until });
    }

    fn insert(&mut self, id: String, entry: CachedObjects) {
        if self.new.len() >= IDS_MAX {
            self.old = std::mem::take(&mut self.new);
        }
        self.new.insert(id, entry);
    }
}

#[cfg(test)]
mod tests {
    use proxyxai_contract::clock::Millis;

    use super::*;

    fn owned(id: &str, account: i64, key: i64) -> OwnedObject {
        OwnedObject {
            id: id.to_owned(),
            kind: ObjectKind::Response,
            account: AccountId::new(account).unwrap(),
            client_key: None,
            key: KeyId::new(key).unwrap(),
            created: Millis(0),
            expires: Millis(9),
            status: String::new(),
            pending: None,
            calls: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_made_here_is_known_at_once_and_the_first_who_made_it_has_it() {
        let (objects, _asked) = ObjectIndex::new();
        objects.made(owned("r", 2, 1));
        objects.made(owned("r", 3, 1));
        objects.made(owned("r", 3, 2));
        let found = objects.find(&["r"]).await.unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|one| (one.account.get(), one.key.get()))
            .collect();
        assert_eq!(found, [(2, 1), (3, 2)]);
        objects.forgotten(KeyId::new(1).unwrap(), "r");
        assert_eq!(objects.find(&["r"]).await.unwrap().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn control_is_asked_once_for_what_somebody_tries_over_and_over() {
        let (objects, mut asked) = ObjectIndex::new();
        let answering = tokio::spawn(async move {
            let mut asks = 0;
            while let Some(ControlQuery::Find(_, answer)) = asked.recv().await {
                asks += 1;
                answer.send(Vec::new()).unwrap();
            }
            asks
        });
        for _ in 0..100 {
            assert!(objects.find(&["r"]).await.unwrap().is_empty());
        }
        drop(objects);
        // The first look, and the second.
        assert_eq!(answering.await.unwrap(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_has_a_bound() {
        let (objects, _asked) = ObjectIndex::new();
        for at in 0..IDS_MAX * 3 {
            objects.made(owned(&at.to_string(), 2, 1));
        }
        let known = objects.known();
        assert!(known.new.len() + known.old.len() <= IDS_MAX * 2);
    }
}
