//! A Kubernetes API server of our own making, for tests: what the agent asks of one, and everything that can go wrong.
//!
//! ```text
//! test ──► Api (put, delete, compact, cut, …) ──► store (objects, versions) ──► lists, watches ──► wire ──► agent
//!                                              └► refusals (refuse this once)        (cut, silent, slow) ──┘
//! ```
//!
//! Plain HTTP, in the network namespace of the runtime that starts it. It refuses what the real one refuses: resources
//! and selectors that there are none of, versions that are compacted, tokens that it does not know.

mod answers;
mod lists;
mod refusals;
mod requests;
mod selector;
mod store;
mod watches;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::store::Store;
use self::wire::{Mood, Wire};

pub use refusals::{Refusing, Saying};
pub use store::Resource;
pub use wire::Pace;

/// An API server, which ends when this is dropped.
#[derive(Debug)]
pub struct Api {
    shared: Arc<Shared>,
    mood: watch::Sender<Mood>,
    accepted: Arc<AtomicU64>,
    addresses: Vec<SocketAddr>,
    serving: Vec<JoinHandle<()>>,
}

/// What a double can do that another cannot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// Lists may be streamed (KEP-3157).
    pub streams: Offered,
    /// There are ServiceCIDRs.
    pub service_cidrs: Offered,
    /// Services can be selected by `spec.clusterIP` (since Kubernetes 1.31).
    pub cluster_ip_fields: Offered,
    /// A watch of a compacted version fails with an event; else as a whole.
    pub expires: Expires,
    /// How often a watch tells how far it is.
    pub bookmarks: Duration,
    /// The bearer token that has to be shown, if one has to be.
    pub token: Option<String>,
}

/// Whether there is something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// There is.
    Yes,
    /// It begins, and never comes to its end, as where the storage behind the server cannot say how far it is.
    Endless,
    /// It begins, and the connection breaks off before its end, as where a proxy cuts what lasts long.
    Broken,
    /// There is not.
    No,
}

/// How a watch of a compacted version fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expires {
    /// It begins, and its first event is the error.
    InWatch,
    /// It is refused.
    AtOnce,
}

/// What the requests and the test share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Rises with everything that a watch may want to tell.
    news: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    store: Store,
    abilities: Abilities,
    refusing: Vec<Refusing>,
    /// `GET /api/v1/services?…`, in order.
    requests: Vec<String>,
    /// Event objects that were posted or patched.
    events: Vec<Value>,
    /// What was interjected, in order.
    interjections: Vec<Interjection>,
    /// Watches that are open.
    watches: Vec<(u64, Resource)>,
    served: u64,
    /// How many bookmarks were told.
    bookmarks: u64,
}

/// A line that watches of a resource tell, whatever it is.
#[derive(Debug)]
struct Interjection {
    resource: Resource,
    line: String,
    /// The version that was the last one by then.
    after: u64,
}

impl Default for Abilities {
    fn default() -> Self {
        Self {
            streams: Offered::Yes,
            service_cidrs: Offered::Yes,
            cluster_ip_fields: Offered::Yes,
            expires: Expires::InWatch,
            bookmarks: Duration::from_secs(60),
            token: None,
        }
    }
}

impl Api {
    /// Starts one on these addresses; port 0 is any free one.
    ///
    /// # Errors
    /// An address cannot be listened on.
    pub async fn start(addresses: &[SocketAddr]) -> io::Result<Self> {
        let shared = Arc::new(Shared { state: Mutex::default(), news: watch::Sender::new(0) });
        let mut api = Self {
            shared,
            mood: watch::Sender::new(Mood::default()),
            accepted: Arc::default(),
            addresses: addresses.to_vec(),
            serving: Vec::new(),
        };
        api.resume().await?;
        Ok(api)
    }

    /// Starts one on a free port of the loopback interface.
    ///
    /// # Errors
    /// There is no loopback interface.
    pub async fn local() -> io::Result<Self> {
        Self::start(&[([127, 0, 0, 1], 0).into()]).await
    }

    /// Where it listens: `http://127.0.0.1:40123`.
    pub fn urls(&self) -> Vec<String> {
        self.addresses.iter().map(|address| format!("http://{address}")).collect()
    }

    /// The server's process is gone: its addresses refuse, every connection is closed. What it stores stays.
    pub fn stop(&mut self) {
        self.serving.iter().for_each(JoinHandle::abort);
        self.cut();
    }

    /// It listens again, on the same addresses.
    ///
    /// # Errors
    /// An address is in use.
    pub async fn resume(&mut self) -> io::Result<()> {
        for stopped in self.serving.drain(..) {
            stopped.abort();
            // Its listener is closed when it has ended.
            let _ = stopped.await;
        }
        for address in &mut self.addresses {
            let listener = TcpListener::bind(*address).await?;
            *address = listener.local_addr()?;
            let wire = Wire::new(listener, *address, self.mood.subscribe(), self.accepted.clone());
            let router = Router::new().fallback(answers::answer).with_state(self.shared.clone());
            self.serving.push(tokio::spawn(async move {
                // Serves until it is aborted.
                let _ = axum::serve(wire, router).await;
            }));
        }
        Ok(())
    }

    /// Closes every connection.
    pub fn cut(&self) {
        self.mood.send_modify(|mood| mood.cuts += 1);
    }

    /// From now on connections are accepted, those that exist stay, and nothing ever comes: at this address only, or at
    /// all.
    pub fn go_silent(&self, only_at: Option<SocketAddr>) {
        self.mood.send_modify(|mood| mood.silent = Some(only_at));
    }

    /// Bytes flow again, and what was held back comes.
    pub fn speak(&self) {
        self.mood.send_modify(|mood| mood.silent = None);
    }

    /// How fast bytes come from now on.
    pub fn flow(&self, pace: Option<Pace>) {
        self.mood.send_modify(|mood| mood.pace = pace);
    }

    /// Changes what it can do.
    pub fn set(&self, change: impl FnOnce(&mut Abilities)) {
        change(&mut self.shared.state().abilities);
    }

    /// Puts an object in, or in the place of the one of its name, and returns its version.
    ///
    /// # Panics
    /// If it is of no kind that there is, or has no name.
    pub fn put(&self, object: Value) -> u64 {
        self.shared.change(|state| state.store.put(object).expect("a test's objects are whole"))
    }

    /// Takes an object out; whether it was there.
    pub fn delete(&self, resource: Resource, namespace: &str, name: &str) -> bool {
        self.shared.change(|state| state.store.delete(resource, namespace, name))
    }

    /// The object of this name.
    pub fn object(&self, resource: Resource, namespace: &str, name: &str) -> Option<Value> {
        self.shared.state().store.object(resource, namespace, name)
    }

    /// Every object of a kind that these selectors choose.
    ///
    /// # Panics
    /// If a selector makes no sense.
    pub fn objects(&self, resource: Resource, labels: &str, fields: &str) -> Vec<Value> {
        let selector = selector::Selector::parse(resource, labels, fields).expect("a test's selectors make sense");
        self.shared.state().store.chosen(resource, &selector)
    }

    /// Forgets all changes until now: a watch from an older version, or a list in progress, begins anew.
    pub fn compact(&self) {
        self.shared.state().store.compact();
    }

    /// Forgets all but the last `kept` changes, for good, so that what happens for hours does not fill the memory. An
    /// open watch that has not been told them ends.
    pub fn forget(&self, kept: usize) {
        self.shared.state().store.forget(kept);
    }

    /// Everything is as it was at `version`, as after a backup of the storage was restored; what comes next has versions
    /// that were used before. Every connection is closed.
    pub fn restore(&self, version: u64) {
        self.shared.state().store.restore(version);
        self.cut();
    }

    /// Versions go up by this much, as those of other resources do in a cluster.
    pub fn skip_versions(&self, count: u64) {
        self.shared.state().store.skip(count);
    }

    /// Some of the next requests are refused.
    pub fn refuse(&self, refusing: Refusing) {
        self.shared.state().refusing.push(refusing);
    }

    /// No request is refused any more for no reason.
    pub fn relent(&self) {
        self.shared.state().refusing.clear();
    }

    /// Every watch of this resource that is open, and no later one, is told `line`, after all that has changed.
    pub fn interject(&self, resource: Resource, line: &str) {
        self.shared.change(|state| {
            let line = line.to_owned();
            state.interjections.push(Interjection { resource, line, after: state.store.version() });
        });
    }

    /// What was asked so far: `GET /api/v1/services?limit=500`.
    pub fn requests(&self) -> Vec<String> {
        self.shared.state().requests.clone()
    }

    /// The Event objects that were posted or patched, in order.
    pub fn events(&self) -> Vec<Value> {
        self.shared.state().events.clone()
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// How many bookmarks watches have told so far, but for those at the end of a list.
    pub fn bookmarks(&self) -> u64 {
        self.shared.state().bookmarks
    }

    /// How many watches of this resource are open.
    pub fn watches(&self, resource: Resource) -> usize {
        self.shared.state().watches.iter().filter(|(_, watched)| *watched == resource).count()
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes something that watches tell.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.state());
        self.news.send_modify(|count| *count += 1);
        changed
    }
}
