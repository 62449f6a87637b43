//! The source that the configuration names, now and after every change of it.

use std::fmt;
use std::path::PathBuf;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::info;

use super::KubernetesConfig;
use super::{Event, Sender, files};
use crate::settings::NodeName;

/// Where Services and their endpoints come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceConfig {
    /// YAML and JSON files in a folder, which is watched.
    Folder(PathBuf),
    /// The Kubernetes API.
    Kubernetes(KubernetesConfig),
}

impl fmt::Display for SourceConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "folder {}", folder.display()),
            Self::Kubernetes(kubernetes) => kubernetes.fmt(f),
        }
    }
}

/// Where objects come from, and of which node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Where they come from.
    pub source: SourceConfig,
    /// Whose Node is told, where not all are.
    pub node_name: NodeName,
}

/// Follows what is chosen, until nobody listens. Another source begins with [`Event::Anew`].
pub async fn follow(mut choices: watch::Receiver<Choice>, told: Sender) {
    loop {
        let choice = choices.borrow_and_update().clone();
        let following = Following(begin(choice, told.clone()));
        let changed = tokio::select! {
            changed = choices.changed() => changed,
            () = told.closed() => return,
        };
        if changed.is_err() {
            // Nobody chooses any more: what was chosen last goes on.
            told.closed().await;
            return;
        }
        following.end().await;
        info!(source = %choices.borrow().source, "another source takes over");
        if told.send(vec![Event::Anew]).await.is_err() {
            return;
        }
    }
}

/// A source at work; ends when it is dropped.
struct Following(JoinHandle<()>);

impl Following {
    /// Ends it, and waits until it can tell nothing more.
    async fn end(mut self) {
        self.0.abort();
        let _ = (&mut self.0).await;
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn begin(Choice { source, node_name }: Choice, told: Sender) -> JoinHandle<()> {
    match source {
        SourceConfig::Folder(folder) => tokio::spawn(files::follow(folder, told)),
        #[cfg(feature = "api")]
        SourceConfig::Kubernetes(way) => tokio::spawn(async move {
            // Held as long as it is followed: of another node there is another choice.
            let (_node, nodes) = watch::channel(node_name);
            super::api::follow(way, nodes, told).await;
        }),
        #[cfg(not(feature = "api"))]
        SourceConfig::Kubernetes(way) => {
            tracing::warn!(source = %way, node = %node_name, "not part of this build, which reads folders only; what is programmed stays");
            tokio::spawn(async move { told.closed().await })
        }
    }
}
