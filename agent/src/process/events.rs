//! Posts notices where the source is a cluster.

use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::events::{Notice, Uids};
use kubernetes::source::SourceChoice;

/// How long an agent that cannot begin waits for its last notice to be posted.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Lets what was left just now be posted.
pub(super) async fn linger() {
    tokio::time::sleep(LAST_WORDS).await;
}

/// Posts to the cluster that the source was at the start.
#[cfg(feature = "kubernetes")]
pub(super) async fn follow(choices: watch::Receiver<SourceChoice>, notices: mpsc::Receiver<Notice>, uids: Uids) {
    use kubernetes::source::SourceConfig;
    use kubernetes::source::api::connect;

    let SourceChoice { source, node_name } = choices.borrow().clone();
    let SourceConfig::Kubernetes(way) = source else { return };
    match connect(&way).await {
        Ok(client) => crate::events::post(notices, client, node_name, uids).await,
        Err(error) => tracing::warn!(%error, "no events are posted"),
    }
}

#[cfg(not(feature = "kubernetes"))]
pub(super) async fn follow(_: watch::Receiver<SourceChoice>, _: mpsc::Receiver<Notice>, _: Uids) {}
