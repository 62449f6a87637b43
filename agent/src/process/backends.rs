//! Opens another backend when the configuration names one.

use backend_api::Dataplane;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::warn;

use crate::backend::Backend;
use crate::config::{Config, IpvsConfig};
use crate::events::{Notice, Outbox};

/// Who programs the kernel, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    backend: Backend,
    /// As it was when another backend was chosen: it is that one's alone.
    ipvs: Option<IpvsConfig>,
}

impl From<&Config> for Choice {
    fn from(config: &Config) -> Self {
        let ipvs = match config.backend {
            Backend::Ipvs => Some(config.ipvs),
            Backend::Nftables => None,
        };
        Self { backend: config.backend, ipvs }
    }
}

/// Opens what is chosen next, and hands it on; one that cannot be opened is told of, and the one before goes on. Where what was
/// chosen first has to wait, it is opened when `until` says so.
pub(super) async fn follow(
    mut choices: watch::Receiver<Choice>,
    until: Option<oneshot::Receiver<()>>,
    successors: mpsc::Sender<Box<dyn Dataplane>>,
    outbox: Outbox,
) {
    if let Some(until) = until {
        if until.await.is_err() {
            return;
        }
        choices.mark_changed();
    }
    while choices.changed().await.is_ok() {
        let Choice { backend, ipvs } = choices.borrow_and_update().clone();
        match backend.open_with(&ipvs.unwrap_or_default()).await {
            Ok(dataplane) => {
                if successors.send(dataplane).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                warn!(%error, "the backend cannot be changed, the one before goes on");
                outbox.leave(Notice::BackendUnavailable { reason: error.to_string() });
            }
        }
    }
    // The loop takes a closed channel for the end of all changes, which it is.
}
