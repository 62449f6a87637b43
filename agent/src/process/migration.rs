//! Removes what kube-proxy left, and tells of it, as the configuration says now.

use tokio::sync::{oneshot, watch};

use crate::config::KubeProxyRules;
use crate::events::{Notice, Outbox};
use crate::metrics::LeftoversGauge;
use crate::migration::{self, Told};

/// Who wants to know.
#[derive(Debug)]
pub(super) struct Audience {
    pub(super) outbox: Outbox,
    pub(super) leftovers: LeftoversGauge,
    /// Whoever waits until kube-proxy's rules are gone, or are to stay.
    pub(super) alone: Option<oneshot::Sender<()>>,
}

/// Begins when `programmed` says so, and begins anew when `rules` become others.
pub(super) async fn follow(
    mut rules: watch::Receiver<KubeProxyRules>,
    programmed: oneshot::Receiver<()>,
    mut audience: Audience,
) {
    if programmed.await.is_err() {
        return; // the loop ended before
    }
    loop {
        let now = *rules.borrow_and_update();
        if now == KubeProxyRules::Left {
            audience.tell_alone();
        }
        tokio::select! {
            () = async {
                migration::take_over_from_kube_proxy(now, |told| audience.hear(told)).await;
                std::future::pending().await
            } => {}
            changed = rules.changed() => if changed.is_err() { return },
        }
    }
}

impl Audience {
    fn hear(&mut self, told: Told<'_>) {
        match told {
            Told::Rival(rival) => self.outbox.leave(Notice::Rival(rival.clone())),
            Told::Pass(report) => self.leftovers.show(report),
            Told::Alone => self.tell_alone(),
        }
    }

    fn tell_alone(&mut self) {
        if let Some(alone) = self.alone.take() {
            // Nobody waits where the chosen backend could be first.
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
    fn whoever_waits_is_told_once_and_rivals_are_left_in_the_outbox() {
        let (outbox, mut notices) = crate::events::channel();
        let (tell, mut alone) = oneshot::channel();
        let leftovers = Metrics::new("nftables", Box::new(Afresh)).leftovers();
        let mut audience = Audience { outbox, leftovers, alone: Some(tell) };
        audience.hear(Told::Rival(&Rival::Cilium));
        assert_eq!(notices.try_recv().unwrap(), Notice::Rival(Rival::Cilium));
        assert!(alone.try_recv().is_err());
        audience.hear(Told::Alone);
        audience.hear(Told::Alone);
        alone.try_recv().unwrap();
    }
}
