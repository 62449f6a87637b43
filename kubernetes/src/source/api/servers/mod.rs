//! The API servers of the cluster: which is asked, and with which credentials.
//!
//! ```text
//! credentials ──► Servers (which one, in turn) ──► connection (TCP, proxy, TLS) ──► Reply, or reasons
//!      ▲ files change, 401, nothing answers ┘
//! ```
//!
//! One at a time; where it does not answer, the next one is asked. What says how to reach them is read again whenever
//! a file of it has changed, none answers, or one refuses the credentials. What was read before holds while it cannot
//! be read.
//!
//! [`connect`] lends the same servers to a `kube` client, for other requests than the source's.

mod connection;
mod lent;
mod reasons;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as ShortMutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::header::{ACCEPT, HeaderValue};
use http::{Request, Response, StatusCode};
use jiff::Timestamp;
use kube::Client;
use kube::client::Body;
use tokio::sync::{Mutex, watch};
use tracing::{debug, info, warn};

use super::credentials::{Change, LastGiven, Reuse, SeenFiles, read_access};
use crate::source::ApiConfig;

pub use lent::connect;

/// How long an answer may take to begin, and a program to give credentials. A server that has much to do is not to be
/// asked once more for that.
const ANSWER: Duration = Duration::from_secs(30);

/// How often the files are looked at that say how to reach the API. Some 20 µs a look.
const LOOK: Duration = Duration::from_millis(500);

/// The way to the API.
#[derive(Debug)]
pub(super) struct Servers {
    config: ApiConfig,
    warnings: Warnings,
    /// How long an answer may take to begin.
    patience: Duration,
    known: Mutex<KnownServers>,
    seen: ShortMutex<SeenFiles>,
    /// How often a file has changed.
    changes: watch::Sender<u64>,
    /// Of these changes, how many the last request knew of.
    heeded: AtomicU64,
    /// How often nothing has answered.
    outages: AtomicU64,
    /// How often the credentials were refused.
    refusals: AtomicU64,
}

/// Where it is said what an operator should know of a kubeconfig.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Warnings {
    Logged,
    /// Others read the same one, and say it.
    Left,
}

/// What had happened when servers and credentials were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Age {
    changes: u64,
    outages: u64,
    refusals: u64,
}

/// What was read of them last.
#[derive(Default)]
struct KnownServers {
    servers: Vec<Server>,
    namespace: String,
    /// What there is to say when they refuse the credentials.
    refused: String,
    read_at: Age,
    expires: Option<Timestamp>,
    given: LastGiven,
    /// Warnings that hold.
    said: BTreeSet<String>,
    /// Which of them is asked.
    current: usize,
    /// Which of them answered last.
    answered: Option<Arc<str>>,
}

/// One of them. Cheap to clone.
#[derive(Clone)]
struct Server {
    url: Arc<str>,
    /// The proxy on the way to it.
    proxy: Option<Arc<str>>,
    client: Client,
}

/// What one of them answers.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) response: Response<Body>,
    pub(super) server: Arc<str>,
}

/// Why no server can be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The configuration says too little, or what makes no sense.
    #[error("{0}")]
    Config(String),
    /// It does not know the credentials: a 401.
    #[error("{server} refuses the credentials (401): {reason}")]
    Unauthorized {
        /// Which.
        server: Arc<str>,
        /// What it was shown.
        reason: String,
    },
    /// Not one of them answers.
    #[error("{server} cannot be reached: {reason}")]
    Unreachable {
        /// The one that was tried last.
        server: Arc<str>,
        /// What became of that.
        reason: String,
    },
}

impl Servers {
    pub(super) fn new(config: ApiConfig, warnings: Warnings) -> Self {
        Self {
            patience: config.silence.map_or(ANSWER, |silence| silence.min(ANSWER)),
            config,
            warnings,
            known: Mutex::default(),
            seen: ShortMutex::default(),
            changes: watch::Sender::new(0),
            heeded: AtomicU64::new(0),
            outages: AtomicU64::new(0),
            refusals: AtomicU64::new(0),
        }
    }

    /// The namespace that the configuration names.
    pub(super) async fn namespace(&self) -> Result<String, ConnectError> {
        self.in_turn().await?;
        Ok(self.known.lock().await.namespace.clone())
    }

    /// Asks for `path` with its query. What takes long begins anew when a file says another way meanwhile.
    pub(super) async fn ask(&self, path: &str) -> Result<Reply, ConnectError> {
        loop {
            let request = Request::get(path).header(ACCEPT, HeaderValue::from_static("application/json"));
            let request = request.body(Body::empty());
            let request = request.map_err(|error| ConnectError::Config(format!("{path}: {error}")))?;
            self.look_at_files().await;
            let mut changes = self.changes.subscribe();
            let reply = tokio::select! {
                reply = self.send(request) => reply?,
                Ok(()) = changes.changed() => continue,
            };
            if reply.response.status() != StatusCode::UNAUTHORIZED {
                return Ok(reply);
            }
            self.refused();
            let reason = self.known.lock().await.refused.clone();
            return Err(ConnectError::Unauthorized { server: reply.server, reason });
        }
    }

    /// Sends a request to the first server that answers, beginning with the one that answered last.
    pub(super) async fn send(&self, request: Request<Body>) -> Result<Reply, ConnectError> {
        let servers = self.in_turn().await?;
        let (head, body) = request.into_parts();
        let mut failed = ConnectError::Config("no API server is configured".into());
        for Server { url, proxy, client } in servers {
            let Some(body) = body.try_clone() else { return Err(failed) };
            let answer = tokio::time::timeout(self.patience, client.send(Request::from_parts(head.clone(), body)));
            let reason = match answer.await {
                Ok(Ok(response)) => {
                    self.answered(&url).await;
                    return Ok(Reply { response, server: url });
                }
                Ok(Err(error)) => reasons::reason(&error),
                Err(_) => format!("no answer within {:?}", self.patience),
            };
            let reason = match proxy {
                Some(proxy) => format!("through proxy {proxy}: {reason}"),
                None => reason,
            };
            debug!(server = %url, reason, "API server cannot be reached");
            self.leave(&url).await;
            failed = ConnectError::Unreachable { server: url, reason };
        }
        self.outages.fetch_add(1, Ordering::Relaxed);
        Err(failed)
    }

    /// The next request goes to another server than `url`, if there is another.
    pub(super) async fn leave(&self, url: &Arc<str>) {
        let mut known = self.known.lock().await;
        let count = known.servers.len();
        if known.servers.get(known.current).is_some_and(|server| server.url == *url) && count > 1 {
            known.current = (known.current + 1) % count;
        }
    }

    async fn answered(&self, url: &Arc<str>) {
        let mut known = self.known.lock().await;
        if known.answered.as_ref() != Some(url)
            && let Some(former) = known.answered.replace(url.clone())
        {
            info!(server = %url, %former, "another API server answers");
        }
    }

    /// The credentials were refused: with the next request they are had again.
    fn refused(&self) {
        self.refusals.fetch_add(1, Ordering::Relaxed);
    }

    /// Completes when a file that says how to reach the API has changed since the last request: what waits for the API
    /// need not wait any longer. Cancel-safe; needs [`watch_files`](Self::watch_files) to run.
    pub(super) async fn changed(&self) {
        let heeded = self.heeded.load(Ordering::Relaxed);
        // The sender is ours.
        let _ = self.changes.subscribe().wait_for(|changes| *changes != heeded).await;
    }

    /// Looks at these files for ever.
    pub(super) async fn watch_files(&self) -> std::convert::Infallible {
        loop {
            tokio::time::sleep(LOOK).await;
            self.look_at_files().await;
        }
    }

    async fn look_at_files(&self) {
        let before = self.seen().clone();
        let mut now = before.clone();
        let look = tokio::task::spawn_blocking(move || (now.look_again(), now));
        // It is not run any more where the runtime ends.
        let Ok((change, now)) = look.await else { return };
        let mut seen = self.seen();
        // Unless they were read meanwhile.
        if change == Change::Some && *seen == before {
            *seen = now;
            debug!(source = %self.config, "a file that says how to reach the API has changed");
            self.changes.send_modify(|changes| *changes += 1);
        }
    }

    /// All servers, in the order in which to ask them.
    async fn in_turn(&self) -> Result<Vec<Server>, ConnectError> {
        let mut known = self.known.lock().await;
        let now = self.age();
        self.heeded.store(now.changes, Ordering::Relaxed);
        let expired = known.expires.is_some_and(|expires| expires <= Timestamp::now());
        if (known.servers.is_empty() || known.read_at != now || expired)
            && let Err(reason) = self.read(&mut known, now).await
        {
            if known.servers.is_empty() {
                return Err(ConnectError::Config(reason));
            }
            self.say(&mut known, vec![format!("{reason}; what was read before is used")]);
        }
        let mut servers = known.servers.clone();
        servers.rotate_left(known.current);
        Ok(servers)
    }

    async fn read(&self, known: &mut KnownServers, now: Age) -> Result<(), String> {
        let reuse = if known.read_at.refusals == now.refusals { Reuse::Yes } else { Reuse::No };
        let access =
            read_access(&self.config, |seen| *self.seen() = seen, &mut known.given, reuse, self.patience).await?;
        let servers: Vec<_> =
            access.servers.iter().map(|url| connection::open(url, &access)).collect::<Result<_, _>>()?;
        known.current = known.current.min(servers.len().saturating_sub(1));
        (known.servers, known.namespace) = (servers, access.config.default_namespace);
        known.refused = match access.means {
            "" => format!("it wants some, and none are given by {}", self.config.credentials()),
            means => format!("it does not accept the {means} of {}; renew it", self.config.credentials()),
        };
        (known.read_at, known.expires) = (now, access.expires);
        self.say(known, access.warnings);
        Ok(())
    }

    /// Says what is news, and forgets what does not hold any more.
    fn say(&self, known: &mut KnownServers, warnings: Vec<String>) {
        let warnings: BTreeSet<_> = warnings.into_iter().collect();
        if self.warnings == Warnings::Logged {
            for warning in warnings.difference(&known.said) {
                warn!(source = %self.config, "{warning}");
            }
        }
        known.said = warnings;
    }

    fn age(&self) -> Age {
        Age {
            changes: *self.changes.borrow(),
            outages: self.outages.load(Ordering::Relaxed),
            refusals: self.refusals.load(Ordering::Relaxed),
        }
    }

    fn seen(&self) -> MutexGuard<'_, SeenFiles> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for KnownServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KnownServers").field("servers", &self.servers).finish_non_exhaustive()
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("url", &self.url).finish_non_exhaustive()
    }
}
