//! The task beside the loop that takes over from kube-proxy, and when it does what.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::ipvs::{self, Drained};
use super::report::{CleanupReport, Left, Rival};
use super::servers::Wait;
use super::{rivals, sets, tables};
use crate::backend::Backend;
use crate::config::KubeProxyRules;
use kubernetes::{ClusterState, News};
use reconcile::Witness;

/// How long to wait before a failed removal is tried again, and before a running kube-proxy is looked for again.
const TRY_AGAIN: Duration = Duration::from_secs(15);

/// How long to wait at most between attempts that fail.
const TRY_SELDOM: Duration = Duration::from_secs(600);

/// How often connections of IPVS are looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(15);

/// After this time connections of IPVS are cut, as by our own IPVS backend with endpoints that are gone.
const DRAIN: Duration = Duration::from_secs(24 * 3600);

/// When to look whether the rules are back: kube-proxy writes its chains of iptables again every 30 s, its tables with
/// its next change, and at the latest after an hour.
const COME_BACK: [Duration; 3] = [Duration::from_secs(70), Duration::from_secs(600), Duration::from_secs(3700)];

/// A witness of the first sync that succeeds.
#[derive(Debug)]
pub struct FirstSync(Option<oneshot::Sender<()>>);

/// What the task tells while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told<'a> {
    /// Another program forwards, or may forward, service traffic on this node.
    Rival(&'a Rival),
    /// An attempt to remove the leftovers has ended.
    Pass(&'a CleanupReport),
    /// No rule of kube-proxy's translates packets any more. Told once.
    Alone,
}

impl FirstSync {
    /// The witness, and what resolves with the first sync.
    pub fn new() -> (Self, oneshot::Receiver<()>) {
        let (told, heard) = oneshot::channel();
        (Self(Some(told)), heard)
    }
}

impl Witness<ClusterState> for FirstSync {
    fn hear(&mut self, news: &News<'_>) {
        if let News::Synced { .. } = news
            && let Some(told) = self.0.take()
        {
            // The receiver is gone where nothing is to be removed.
            let _ = told.send(());
        }
    }
}

/// Removes what kube-proxy left, until everything is removed and stays removed. To be called once our rules are
/// programmed. Logs what it does, and tells it to `told`. In the network namespace of the thread that it runs on.
///
/// With [`KubeProxyRules::Left`] nothing is removed, and other service proxies are reported all the same.
pub async fn take_over_from_kube_proxy(rules: KubeProxyRules, told: impl FnMut(Told<'_>)) {
    let mut log = Log { told, rivals: BTreeSet::new(), left: BTreeSet::new(), failed: BTreeSet::new() };
    for rival in rivals::find_rivals().await {
        log.rival(rival);
    }
    match rules {
        KubeProxyRules::Left => info!("rules of kube-proxy stay in the kernel, as configured"),
        KubeProxyRules::Removed => {
            while let Some(rival) = rivals::kube_proxy() {
                log.rival(rival);
                sleep(TRY_AGAIN).await;
            }
            remove_until_it_succeeds(&mut log).await;
            (log.told)(Told::Alone);
            drain_and_look_again(&mut log).await;
        }
    }
}

/// The backend that programs the kernel until kube-proxy's rules are gone, if `wanted` shall do so afterwards.
///
/// Beside kube-proxy's rules nftables can work: either program's rules translate a connection, and both are right. IPVS
/// takes a connection by its mark even after kube-proxy's rules have translated it, and a connection that is translated
/// twice fails. So nftables is first, and IPVS follows at [`Told::Alone`].
pub async fn first_backend(wanted: Backend, rules: KubeProxyRules) -> Backend {
    match (wanted, rules) {
        (Backend::Ipvs, KubeProxyRules::Removed) if cfg!(feature = "nftables") && are_there().await => {
            Backend::Nftables
        }
        (Backend::Ipvs | Backend::Nftables, KubeProxyRules::Removed | KubeProxyRules::Left) => wanted,
    }
}

/// Removes all that kube-proxy left at once, and cuts the connections of its IPVS mode.
pub async fn remove_all() -> CleanupReport {
    let mut report = CleanupReport::default();
    remove_rules(&mut report).await;
    ipvs::drain(Wait::No, &mut report).await;
    report
}

async fn remove_until_it_succeeds(log: &mut Log<impl FnMut(Told<'_>)>) {
    let mut wait = TRY_AGAIN;
    loop {
        let mut report = CleanupReport::default();
        remove_rules(&mut report).await;
        log.pass(&report);
        if report.failed.is_empty() {
            return;
        }
        sleep(wait).await;
        wait = (wait * 2).min(TRY_SELDOM);
    }
}

/// Drains IPVS, and looks whether kube-proxy writes its rules or opens its virtual servers again.
async fn drain_and_look_again(log: &mut Log<impl FnMut(Told<'_>)>) {
    let removed = Instant::now();
    let mut draining = Draining::Open;
    let mut looks = COME_BACK.iter().peekable();
    loop {
        if draining != Draining::Done {
            draining = drain(draining, removed, log).await;
        }
        let is_due = looks.next_if(|after| removed.elapsed() >= **after).is_some();
        if draining == Draining::Reopened || is_due && are_there().await {
            return log.rival(Rival::HiddenKubeProxy);
        }
        if draining == Draining::Done && looks.peek().is_none() {
            return;
        }
        sleep(LOOK_AGAIN).await;
    }
}

async fn remove_rules(report: &mut CleanupReport) {
    tables::remove(report).await;
    sets::remove(report).await;
    tables::report_legacy(report);
}

/// Whether there are rules of a kube-proxy that forwards services. If they cannot be read, there are none as far as we
/// know.
async fn are_there() -> bool {
    tables::are_there().await.unwrap_or(false)
}

/// How far the removal of virtual servers has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Draining {
    /// They may take new connections.
    Open,
    /// They take none.
    Closed,
    /// They took none, and another program has changed that.
    Reopened,
    /// Nothing is left.
    Done,
}

async fn drain(before: Draining, since: Instant, log: &mut Log<impl FnMut(Told<'_>)>) -> Draining {
    let wait = if since.elapsed() < DRAIN { Wait::ForConnections } else { Wait::No };
    let mut report = CleanupReport::default();
    let drained = ipvs::drain(wait, &mut report).await;
    log.pass(&report);
    match drained {
        Drained::Wholly => Draining::Done,
        Drained::NotYet { open } if open > 0 && before == Draining::Closed => Draining::Reopened,
        Drained::NotYet { .. } => Draining::Closed,
        Drained::Unknown => before,
    }
}

/// Logs each thing once, and tells everything.
#[derive(Debug)]
struct Log<F> {
    told: F,
    rivals: BTreeSet<Rival>,
    left: BTreeSet<Left>,
    failed: BTreeSet<String>,
}

impl<F: FnMut(Told<'_>)> Log<F> {
    fn rival(&mut self, rival: Rival) {
        if self.rivals.contains(&rival) {
            return;
        }
        match rival {
            Rival::KubeProxy { .. } => warn!("{rival}; its rules stay as long as it runs, stop it"),
            Rival::HiddenKubeProxy => {
                warn!("{rival}; they are not removed again, stop it and run `switchyard cleanup --kube-proxy`")
            }
            Rival::KubeRouter | Rival::Cilium => warn!("{rival}"),
        }
        (self.told)(Told::Rival(&rival));
        self.rivals.insert(rival);
    }

    fn pass(&mut self, report: &CleanupReport) {
        for removed in &report.removed {
            info!("{removed}");
        }
        for left in &report.left {
            if self.left.insert(left.clone()) {
                match left {
                    Left::Draining { .. } => info!("{left}"),
                    Left::Chain { .. }
                    | Left::LegacyTables { .. }
                    | Left::RouteLocalnet
                    | Left::IpSet(_)
                    | Left::VirtualServers(_) => warn!("{left}"),
                }
            }
        }
        for failed in &report.failed {
            if self.failed.insert(failed.to_string()) {
                warn!("{failed}, trying again");
            }
        }
        (self.told)(Told::Pass(report));
    }
}
