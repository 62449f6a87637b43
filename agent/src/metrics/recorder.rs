//! Turns the loop's news into numbers, at the cost of what changed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use backend_api::{Family, PerFamily, Report, Scope, ServiceName, ServiceState};

use super::Recorded;
use super::totals::MissedEndpoints;
use kubernetes::objects::Kind;
use kubernetes::resolve::Changes;
use kubernetes::source::Event;
use kubernetes::{ClusterState, News, Note};
use reconcile::Witness;

/// Counts what the loop does.
#[derive(Debug)]
pub(super) struct Recorder {
    recorded: Arc<Recorded>,
    /// Changes that were triggered before were programmed by another process.
    started: SystemTime,
    listed: bool,
    triggers: PerFamily<Vec<SystemTime>>,
    missed: MissedEndpoints,
    /// Services that the kernel or the backend refuses now.
    refused: BTreeSet<ServiceName>,
    /// How many are too large to be given to the backend.
    too_large: usize,
    drifted: bool,
}

impl Recorder {
    pub(super) fn new(recorded: Arc<Recorded>) -> Self {
        Self {
            recorded,
            started: SystemTime::now(),
            listed: false,
            triggers: PerFamily::default(),
            missed: MissedEndpoints::default(),
            refused: BTreeSet::new(),
            too_large: 0,
            drifted: false,
        }
    }

    fn told(&mut self, events: &[Event]) {
        let Recorded { kube_proxy, own, .. } = &*self.recorded;
        for event in events {
            let kind = match event {
                Event::Changed(object) => object.kind(),
                Event::Deleted(key) => key.kind,
                Event::Anew => continue,
                Event::Listed => {
                    self.listed = true;
                    continue;
                }
                Event::Trouble(_) => {
                    own.troubled();
                    continue;
                }
            };
            match kind {
                Kind::Service => kube_proxy.service_changed(),
                Kind::EndpointSlice | Kind::Endpoints => kube_proxy.endpoints_changed(),
                Kind::Node | Kind::ServiceCidr => {}
                Kind::Namespace | Kind::IpAddressPool | Kind::L2Advertisement => {}
                Kind::Unserved(_) | Kind::ServiceAddresses => {}
            }
        }
        if self.listed {
            kube_proxy.queued(SystemTime::now());
        }
    }

    fn resolved(&mut self, changes: &Changes) {
        for family in Family::ALL {
            let since_start = changes.triggers.of(family).iter().filter(|trigger| **trigger > self.started);
            self.triggers.of_mut(family).extend(since_start);
        }
        for (service, on_node) in &changes.on_node {
            self.missed.set(service, on_node.no_local_endpoints);
        }
        self.too_large = changes.refused_in_all;
        self.recorded.own.refused_now(self.refused.len() + self.too_large);
        changes.warnings.iter().for_each(|warning| self.recorded.own.warned(&warning.problem));
    }

    fn synced(&mut self, state: &ServiceState, scope: Scope<'_>, report: &Report) {
        let Recorded { kube_proxy, own, programmed, .. } = &*self.recorded;
        kube_proxy.synced(&std::mem::take(&mut self.triggers), SystemTime::now());
        kube_proxy.cleaned(&report.cleanings);
        kube_proxy.settled();
        kube_proxy.no_local_endpoints(&self.missed);
        match scope {
            Scope::All => self.refused.clear(),
            Scope::Services(tried) => self.refused.retain(|service| !tried.contains(service)),
        }
        self.refused.extend(report.failed.iter().map(|failure| failure.service.clone()));
        own.synced(scope, report);
        let mut programmed = programmed.lock().expect("nothing panics while it holds what is programmed");
        programmed.update(state, scope);
        own.programmed(&programmed, self.refused.len());
        own.refused_now(self.refused.len() + self.too_large);
        if std::mem::take(&mut self.drifted) {
            own.repaired();
        }
    }
}

impl Witness<ClusterState> for Recorder {
    fn hear(&mut self, news: &News<'_>) {
        let Recorded { kube_proxy, own, .. } = &*self.recorded;
        match *news {
            News::Noted(Note::Told(events)) => self.told(events),
            News::Noted(Note::Resolved(changes)) => self.resolved(changes),
            News::Conflict(_) => own.conflicted(),
            News::Unchanged => {
                kube_proxy.settled();
                self.triggers = PerFamily::default();
            }
            News::Syncing => {}
            News::Synced { state, scope, report, took } => {
                kube_proxy.ran(scope, took);
                self.synced(state, scope, report);
            }
            News::NotSynced { error, scope, took } => {
                kube_proxy.ran(scope, took);
                kube_proxy.failed();
                own.failed(scope, error);
            }
            News::Failed { .. } => own.refused_one(),
            News::Drifted => self.drifted = true,
            News::Succeeded { dataplane } => {
                own.succeeded(dataplane);
                *self.recorded.backend.lock().expect("nothing panics while it holds the name") = dataplane;
            }
        }
    }
}
