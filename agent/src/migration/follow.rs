//! When each thing is done: a task beside the loop.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::report::{Left, Report, Rival};
use super::rivals;
use crate::backend::Backend;
use crate::config::KubeProxyRules;
use kubernetes::{ClusterState, News};
use reconcile::Witness;

/// How long to wait before what failed is tried again, and before a kube-proxy that runs is looked for again.
const TRY_AGAIN: Duration = Duration::from_secs(15);

/// How long to wait at most, when it goes on failing.
const SELDOM: Duration = Duration::from_secs(600);

/// How often connections of IPVS are looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(15);

/// After so long connections of IPVS are cut, as our own IPVS backend does with endpoints that are gone.
#[cfg(feature = "ipvs")]
const DRAIN: Duration = Duration::from_secs(24 * 3600);

/// When to look whether the rules came back: kube-proxy puts its chains of iptables back every 30 s, its tables with its next
/// change, and at the latest after an hour.
const COME_BACK: [Duration; 3] = [Duration::from_secs(70), Duration::from_secs(600), Duration::from_secs(3700)];

/// Tells once that the kernel holds our state.
#[derive(Debug)]
pub struct FirstSync(Option<oneshot::Sender<()>>);

/// What is told while kube-proxy's leftovers are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told<'a> {
    /// Somebody else serves, or may serve, services on this node.
    Rival(&'a Rival),
    /// A pass over the leftovers is over.
    Pass(&'a Report),
    /// No rule of kube-proxy's translates anything any more. Once.
    Alone,
}

impl FirstSync {
    /// The witness, and what resolves when it has heard.
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
            // Nobody waits any more: nothing is to be removed.
            let _ = told.send(());
        }
    }
}

/// Removes what kube-proxy left when `programmed` says so, until all is gone and stays so. Logs what it does, and calls `told` with
/// it. In the network namespace of the thread that it runs on.
///
/// With [`KubeProxyRules::Left`] nothing is removed, and others are told of all the same.
pub async fn follow(rules: KubeProxyRules, programmed: oneshot::Receiver<()>, mut told: impl FnMut(Told<'_>)) {
    if programmed.await.is_err() {
        return; // the loop ended before
    }
    let mut said = Said::default();
    for rival in rivals::look().await {
        said.rival(rival, &mut told);
    }
    match rules {
        KubeProxyRules::Left => info!("what kube-proxy may have left in the kernel stays, as configured"),
        KubeProxyRules::Removed => {
            while let Some(rival) = rivals::kube_proxy() {
                said.rival(rival, &mut told);
                sleep(TRY_AGAIN).await;
            }
            remove(&mut said, &mut told).await;
        }
    }
}

/// Who programs the kernel until kube-proxy's rules are gone, if `wanted` is who shall do so afterwards.
///
/// Beside kube-proxy's rules, those of nftables get a connection or theirs do, and either is right. IPVS takes it by its mark even
/// after their rules have translated it, and twice translated it fails. So nftables is first, and IPVS succeeds it at
/// [`Told::Alone`].
pub async fn first_backend(wanted: Backend, rules: KubeProxyRules) -> Backend {
    match (wanted, rules) {
        (Backend::Ipvs, KubeProxyRules::Removed) if cfg!(feature = "nftables") && are_there().await => {
            Backend::Nftables
        }
        (Backend::Ipvs | Backend::Nftables, KubeProxyRules::Removed | KubeProxyRules::Left) => wanted,
    }
}

/// Removes all that kube-proxy left at once, connections of its IPVS mode included.
pub async fn remove_all() -> Report {
    let mut report = Report::default();
    remove_rules(&mut report).await;
    #[cfg(feature = "ipvs")]
    super::ipvs::drain(super::servers::Patience::Nobody, &mut report).await;
    #[cfg(not(feature = "ipvs"))]
    tell_of_device(&mut report).await;
    report
}

async fn remove(said: &mut Said, told: &mut impl FnMut(Told<'_>)) {
    let mut wait = TRY_AGAIN;
    loop {
        let mut report = Report::default();
        remove_rules(&mut report).await;
        said.pass(&report, told);
        if report.failed.is_empty() {
            break;
        }
        sleep(wait).await;
        wait = (wait * 2).min(SELDOM);
    }
    told(Told::Alone);
    let removed = Instant::now();
    let mut draining = Draining::Open;
    let mut looks = COME_BACK.iter().peekable();
    loop {
        draining = drain(draining, removed, said, told).await;
        let is_due = looks.next_if(|after| removed.elapsed() >= **after).is_some();
        if draining == Draining::Reopened || is_due && are_there().await {
            return said.rival(Rival::HiddenKubeProxy, told);
        }
        if draining == Draining::Done && looks.peek().is_none() {
            return;
        }
        sleep(LOOK_AGAIN).await;
    }
}

#[cfg(any(feature = "nftables", feature = "ipvs"))]
async fn remove_rules(report: &mut Report) {
    super::rules::remove(report).await;
    super::sets::remove(report).await;
    super::legacy::look(report);
}

#[cfg(not(any(feature = "nftables", feature = "ipvs")))]
async fn remove_rules(report: &mut Report) {
    report.left.push(Left::NotInThisBuild("kube-proxy's tables and chains"));
    super::legacy::look(report);
}

/// Whether there are rules of a kube-proxy that serves. What cannot be read is not there, as far as we know.
#[cfg(any(feature = "nftables", feature = "ipvs"))]
async fn are_there() -> bool {
    super::rules::are_there().await.unwrap_or(false)
}

#[cfg(not(any(feature = "nftables", feature = "ipvs")))]
async fn are_there() -> bool {
    false
}

/// How far what IPVS mode left has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "ipvs"), allow(dead_code, reason = "without IPVS nothing drains"))]
enum Draining {
    /// Its virtual servers may take new connections.
    Open,
    /// They take none.
    Closed,
    /// Somebody has opened them again.
    Reopened,
    /// Nothing is left.
    Done,
}

#[cfg(feature = "ipvs")]
async fn drain(before: Draining, since: Instant, said: &mut Said, told: &mut impl FnMut(Told<'_>)) -> Draining {
    use super::ipvs::Drained;
    use super::servers::Patience;

    if before == Draining::Done {
        return before;
    }
    let patience = if since.elapsed() < DRAIN { Patience::Connections } else { Patience::Nobody };
    let mut report = Report::default();
    let drained = super::ipvs::drain(patience, &mut report).await;
    said.pass(&report, told);
    match drained {
        Drained::Wholly => Draining::Done,
        Drained::NotYet { open } if open > 0 && before == Draining::Closed => Draining::Reopened,
        Drained::NotYet { .. } => Draining::Closed,
        Drained::Unknown => before,
    }
}

#[cfg(not(feature = "ipvs"))]
async fn drain(before: Draining, _: Instant, said: &mut Said, told: &mut impl FnMut(Told<'_>)) -> Draining {
    if before != Draining::Done {
        let mut report = Report::default();
        tell_of_device(&mut report).await;
        said.pass(&report, told);
    }
    Draining::Done
}

#[cfg(not(feature = "ipvs"))]
async fn tell_of_device(report: &mut Report) {
    if super::links::is_there(super::links::KUBE_IPVS).await.unwrap_or(false) {
        report.left.push(Left::NotInThisBuild("virtual servers of kube-proxy and device kube-ipvs0"));
    }
}

/// What was logged: once is enough.
#[derive(Debug, Default)]
struct Said {
    rivals: BTreeSet<Rival>,
    left: BTreeSet<Left>,
    failed: BTreeSet<String>,
}

impl Said {
    fn rival(&mut self, rival: Rival, told: &mut impl FnMut(Told<'_>)) {
        if self.rivals.contains(&rival) {
            return;
        }
        match rival {
            Rival::KubeProxy { .. } => warn!("{rival}; its rules stay as long as it runs"),
            Rival::HiddenKubeProxy => {
                warn!("{rival}; they are not removed again, stop it and run `switchyard cleanup --kube-proxy`")
            }
            Rival::KubeRouter | Rival::Cilium => warn!("{rival}"),
        }
        told(Told::Rival(&rival));
        self.rivals.insert(rival);
    }

    fn pass(&mut self, report: &Report, told: &mut impl FnMut(Told<'_>)) {
        report.removed.iter().for_each(|removed| info!("{removed}"));
        for left in &report.left {
            if self.left.insert(left.clone()) {
                match left {
                    Left::Draining { .. } => info!("{left}"),
                    _ => warn!("{left}"),
                }
            }
        }
        for failed in &report.failed {
            if self.failed.insert(failed.to_string()) {
                warn!("{failed}, trying again");
            }
        }
        told(Told::Pass(report));
    }
}
