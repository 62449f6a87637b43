//! What runs beside the loop and is too small for a part of its own: each task follows its view of the configuration.

use std::time::Duration;

use backend_api::Dataplane;
use kubernetes::source::SourceChoice;
use reconcile::Backoff;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tracing::{debug, warn};

use super::views::BackendView;
use crate::config::{HostConfig, KubeProxyRules};
use crate::events::{Notice, Outbox, Uids};
use crate::host::Host;
use crate::metrics::LeftoversGauge;
use crate::migration::{self, Told};

/// How long an agent that cannot start waits for its last event to be posted.
const LAST_EVENT: Duration = Duration::from_secs(2);

/// Sets on the node what the configuration says, at the start and after each change of it.
pub(super) async fn prepare_node(mut configs: watch::Receiver<HostConfig>, outbox: Outbox) {
    let mut host = Host::default();
    loop {
        let config = configs.borrow_and_update().clone();
        for unset in host.prepare(&config) {
            outbox.leave(Notice::SettingRefused(unset));
        }
        if configs.changed().await.is_err() {
            return;
        }
    }
}

/// Posts events to the cluster that was the source at the start.
#[cfg(feature = "kubernetes")]
pub(super) async fn post_events(choices: watch::Receiver<SourceChoice>, notices: mpsc::Receiver<Notice>, uids: Uids) {
    use kubernetes::source::SourceConfig;
    use kubernetes::source::api::connect;

    let SourceChoice { source, node_name, .. } = choices.borrow().clone();
    let SourceConfig::Kubernetes(way) = source else { return };
    let (mut backoff, mut said) = (Backoff::default(), false);
    let client = loop {
        match connect(&way).await {
            Ok(client) => break client,
            Err(error) if said => debug!(%error, "events: cannot be posted yet"),
            Err(error) => warn!(%error, "events: cannot be posted yet, trying again until the API server can be used"),
        }
        said = true;
        tokio::time::sleep(backoff.after_failure()).await;
    };
    crate::events::post(notices, client, node_name, uids).await;
}

#[cfg(not(feature = "kubernetes"))]
pub(super) async fn post_events(_: watch::Receiver<SourceChoice>, _: mpsc::Receiver<Notice>, _: Uids) {}

/// Waits until what was left in the outbox just now is posted.
pub(super) async fn await_last_event() {
    tokio::time::sleep(LAST_EVENT).await;
}

/// Opens each backend that the configuration names from now on, and sends it to the loop. If it cannot be opened, the
/// current one continues; where a shortage is why, it is tried again. If the first one has to wait, it is opened when `alone` says that kube-proxy's rules are
/// gone.
pub(super) async fn open_backends(
    mut choices: watch::Receiver<BackendView>,
    alone: Option<oneshot::Receiver<()>>,
    successors: mpsc::Sender<Box<dyn Dataplane>>,
    outbox: Outbox,
) {
    if let Some(alone) = alone {
        if alone.await.is_err() {
            return;
        }
        choices.mark_changed();
    }
    let mut shortage: Option<Backoff> = None;
    loop {
        let named = choices.changed();
        let named = match &mut shortage {
            Some(backoff) => timeout(backoff.after_failure(), named).await.unwrap_or(Ok(())),
            None => named.await,
        };
        if named.is_err() {
            // The loop takes the closed channel for the end of all changes.
            return;
        }
        let BackendView { backend, ipvs } = *choices.borrow_and_update();
        match backend.open_with(&ipvs.unwrap_or_default()).await {
            Ok(dataplane) => {
                shortage = None;
                if successors.send(dataplane).await.is_err() {
                    return;
                }
            }
            Err(error) if shortage.is_some() && error.is_shortage() => {
                debug!(%error, "cannot switch backend yet");
            }
            Err(error) => {
                shortage = error.is_shortage().then(Backoff::default);
                warn!(%error, again = shortage.is_some(), "cannot switch backend; keeping the current one");
                outbox.leave(Notice::BackendUnavailable { reason: error.to_string() });
            }
        }
    }
}

/// What is told while kube-proxy's rules are removed, and where it goes.
#[derive(Debug)]
pub(super) struct Removal {
    pub(super) outbox: Outbox,
    pub(super) leftovers: LeftoversGauge,
    /// Sent once, when kube-proxy's rules are gone or are to stay.
    pub(super) alone: Option<oneshot::Sender<()>>,
}

/// Removes what kube-proxy left, from when `programmed` is sent. Starts again when `rules` change.
pub(super) async fn remove_leftovers(
    mut rules: watch::Receiver<KubeProxyRules>,
    programmed: oneshot::Receiver<()>,
    mut removal: Removal,
) {
    if programmed.await.is_err() {
        return; // the loop ended before
    }
    loop {
        let now = *rules.borrow_and_update();
        if now == KubeProxyRules::Left {
            removal.tell_alone();
        }
        tokio::select! {
            () = async {
                migration::take_over_from_kube_proxy(now, |told| removal.hear(told)).await;
                std::future::pending().await
            } => {}
            changed = rules.changed() => if changed.is_err() { return },
        }
    }
}

impl Removal {
    fn hear(&mut self, told: Told<'_>) {
        match told {
            Told::Rival(rival) => self.outbox.leave(Notice::Rival(rival.clone())),
            Told::Pass(report) => self.leftovers.show(report),
            Told::Alone => self.tell_alone(),
        }
    }

    fn tell_alone(&mut self) {
        if let Some(alone) = self.alone.take() {
            // Without a receiver no backend waits for this.
            let _ = alone.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Afresh, Metrics};
    use crate::migration::Rival;

    #[test]
    fn the_end_of_kube_proxys_rules_is_told_once_and_rivals_are_left_in_the_outbox() {
        let (outbox, mut notices) = crate::events::channel();
        let (tell, mut alone) = oneshot::channel();
        let leftovers = Metrics::new("nftables", Box::new(Afresh)).leftovers();
        let mut removal = Removal { outbox, leftovers, alone: Some(tell) };
        removal.hear(Told::Rival(&Rival::Cilium));
        assert_eq!(notices.try_recv().unwrap(), Notice::Rival(Rival::Cilium));
        assert!(alone.try_recv().is_err());
        removal.hear(Told::Alone);
        removal.hear(Told::Alone);
        alone.try_recv().unwrap();
    }
}
