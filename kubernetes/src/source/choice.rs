//! Which source a program uses, now and after every change of that decision.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::info;

use super::files::watch_folder;
#[cfg(feature = "api")]
use super::list_watch::Resource;
use super::{Event, Sender, ServerUrl, ServerUrlError};
use crate::settings::NodeName;

/// Where Services and their endpoints come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceConfig {
    /// YAML and JSON files in a folder, which is watched.
    Folder(PathBuf),
    /// The Kubernetes API.
    Kubernetes(ApiConfig),
}

/// How the API servers of a cluster are reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiConfig {
    /// A kubeconfig file. None: the service account that a pod is given.
    pub kubeconfig: Option<PathBuf>,
    /// URLs in place of the one that the kubeconfig names, each a server of the same cluster. The next is tried where
    /// one does not answer.
    pub masters: Vec<ServerUrl>,
    /// How long nothing may come on a connection until it is taken for dead; none: 90 seconds.
    pub silence: Option<Duration>,
}

/// A source, and the node whose Node object it tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceChoice {
    /// Where objects come from.
    pub source: SourceConfig,
    /// Name of the node. The API is asked for this Node object alone; a folder tells all.
    pub node_name: NodeName,
    /// What they are needed for. A folder tells all.
    pub reads: Reads,
}

/// What objects are needed for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Reads {
    /// To forward.
    #[default]
    Forwarding,
    /// To forward, and to announce addresses.
    Announcing {
        /// Of pools and advertisements.
        namespace: Arc<str>,
    },
    /// To give addresses.
    Allocating {
        /// Of pools and advertisements.
        namespace: Arc<str>,
    },
}

impl ApiConfig {
    /// API servers that ask for no credentials, or are given them in their URLs.
    ///
    /// # Errors
    /// One of `urls` is none.
    pub fn of_servers(urls: &[impl AsRef<str>]) -> Result<Self, ServerUrlError> {
        let masters = urls.iter().map(|url| url.as_ref().parse()).collect::<Result<_, _>>()?;
        Ok(Self { masters, ..Self::default() })
    }
}

#[cfg(feature = "api")]
impl ApiConfig {
    /// Where credentials come from.
    pub(super) fn credentials(&self) -> String {
        match &self.kubeconfig {
            Some(path) => format!("kubeconfig {}", path.display()),
            None => "this pod's service account".to_owned(),
        }
    }
}

impl fmt::Display for SourceConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "folder {}", folder.display()),
            Self::Kubernetes(api) => api.fmt(f),
        }
    }
}

impl fmt::Display for ApiConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.kubeconfig, self.masters.as_slice()) {
            (_, masters @ [_, ..]) => {
                let urls: Vec<_> = masters.iter().map(ToString::to_string).collect();
                write!(f, "Kubernetes API at {}", urls.join(", "))
            }
            (Some(kubeconfig), []) => write!(f, "Kubernetes API of {}", kubeconfig.display()),
            (None, []) => f.write_str("Kubernetes API of this pod's cluster"),
        }
    }
}

/// Runs the source that was chosen last, until the receiver of `told` is dropped. Another source begins with
/// [`Event::Anew`]; the former one has ended by then.
pub async fn follow_choice(mut choices: watch::Receiver<SourceChoice>, told: Sender) {
    loop {
        let choice = choices.borrow_and_update().clone();
        let running = Running(begin(choice, told.clone()));
        let changed = tokio::select! {
            changed = choices.changed() => changed,
            () = told.closed() => return,
        };
        if changed.is_err() {
            // The sender of choices is gone: the last choice stays.
            told.closed().await;
            return;
        }
        running.end().await;
        info!(source = %choices.borrow().source, "switching to another source");
        if told.send(vec![Event::Anew]).await.is_err() {
            return;
        }
    }
}

/// A running source; ends when it is dropped.
struct Running(JoinHandle<()>);

impl Running {
    /// Ends it, and waits until it can tell nothing more.
    async fn end(mut self) {
        self.0.abort();
        let _ = (&mut self.0).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn begin(SourceChoice { source, node_name, reads }: SourceChoice, told: Sender) -> JoinHandle<()> {
    match source {
        SourceConfig::Folder(folder) => tokio::spawn(watch_folder(folder, told)),
        #[cfg(feature = "api")]
        SourceConfig::Kubernetes(api) => {
            let resources = match reads {
                Reads::Forwarding => Resource::of_proxy(&node_name),
                Reads::Announcing { namespace } => Resource::of_announcer(&node_name, &namespace),
                Reads::Allocating { namespace } => Resource::of_allocator(&namespace),
            };
            tokio::spawn(super::api::watch_resources(api, resources, told))
        }
        #[cfg(not(feature = "api"))]
        SourceConfig::Kubernetes(api) => {
            tracing::warn!(source = %api, node = %node_name, ?reads, "cannot read this source: built without feature `api`; what is programmed stays");
            tokio::spawn(async move { told.closed().await })
        }
    }
}
