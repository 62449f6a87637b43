//! The source that the configuration names, now and after every change of it.

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::info;

use super::{Event, Sender, files};
use crate::config::{Config, NodeName, SourceConfig};

/// Where objects come from, and of which node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Where they come from.
    pub source: SourceConfig,
    /// Whose Node is told, where not all are.
    pub node_name: NodeName,
}

impl From<&Config> for Choice {
    fn from(config: &Config) -> Self {
        Self { source: config.source.clone(), node_name: config.node_name.clone() }
    }
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
        #[cfg(feature = "kubernetes")]
        SourceConfig::Kubernetes(way) => tokio::spawn(async move {
            // Held as long as it is followed: of another node there is another choice.
            let (_node, nodes) = watch::channel(node_name);
            super::kubernetes::follow(way, nodes, told).await;
        }),
        #[cfg(not(feature = "kubernetes"))]
        SourceConfig::Kubernetes(way) => {
            tracing::warn!(source = %way, node = %node_name, "not part of this build, which reads folders only; what is programmed stays");
            tokio::spawn(async move { told.closed().await })
        }
    }
}
