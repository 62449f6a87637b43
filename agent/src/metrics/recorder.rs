//! Turns what the loop tells into numbers, at the cost of what changed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use backend_api::{PerFamily, Report, Scope, ServiceName, ServiceState};

use super::Shared;
use super::missed::Missed;
use kubernetes::objects::{Kind, Object};
use kubernetes::resolve::Changes;
use kubernetes::source::Event;
use kubernetes::{ClusterState, News, Note};
use reconcile::Witness;

/// The witness.
#[derive(Debug)]
pub(super) struct Recorder {
    shared: Arc<Shared>,
    /// Triggers from before are about what another process programmed.
    started: SystemTime,
    listed: bool,
    triggers: PerFamily<Vec<SystemTime>>,
    missed: Missed,
    /// Services that cannot be programmed now.
    refused: BTreeSet<ServiceName>,
    drifted: bool,
}

impl Recorder {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            started: SystemTime::now(),
            listed: false,
            triggers: PerFamily::default(),
            missed: Missed::default(),
            refused: BTreeSet::new(),
            drifted: false,
        }
    }

    fn told(&mut self, events: &[Event]) {
        let Shared { kube_proxy, own, .. } = &*self.shared;
        for event in events {
            let kind = match event {
                Event::Changed(object) => kind(object),
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
            }
        }
        if self.listed {
            kube_proxy.queued(SystemTime::now());
        }
    }

    fn resolved(&mut self, changes: &Changes) {
        let since = |trigger: &&SystemTime| **trigger > self.started;
        self.triggers.v4.extend(changes.triggers.v4.iter().filter(since));
        self.triggers.v6.extend(changes.triggers.v6.iter().filter(since));
        for (service, on_node) in &changes.on_node {
            self.missed.set(service, on_node.no_local_endpoints);
        }
        changes.warnings.iter().for_each(|warning| self.shared.own.warned(&warning.problem));
    }

    fn synced(&mut self, state: &ServiceState, scope: Scope<'_>, report: &Report) {
        let Shared { kube_proxy, own, programmed, .. } = &*self.shared;
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
        if std::mem::take(&mut self.drifted) {
            own.repaired();
        }
    }
}

fn kind(object: &Object) -> Kind {
    match object {
        Object::Service(_) => Kind::Service,
        Object::EndpointSlice(_) => Kind::EndpointSlice,
        Object::Endpoints(_) => Kind::Endpoints,
        Object::Node(_) => Kind::Node,
        Object::ServiceCidr(_) => Kind::ServiceCidr,
    }
}

impl Witness<ClusterState> for Recorder {
    fn hear(&mut self, news: &News<'_>) {
        let Shared { kube_proxy, own, .. } = &*self.shared;
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
                *self.shared.backend.lock().expect("nothing panics while it holds the name") = dataplane;
            }
        }
    }
}
