//! The witness of the loop that leaves notices, and which uid each service has.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use backend_api::{ServiceName, SyncError};

use super::{Notice, Outbox};
use kubernetes::objects::{Kind, Object, Uid};
use kubernetes::resolve::{Problem, Warning};
use kubernetes::source::Event;
use kubernetes::{ClusterState, News, Note};
use reconcile::Witness;

/// Turns the loop's news into notices.
#[derive(Debug)]
pub struct EventWitness {
    outbox: Outbox,
    uids: Uids,
}

impl EventWitness {
    /// Leaves notices in `outbox`, and keeps `uids` up to date.
    pub fn new(outbox: Outbox, uids: Uids) -> Self {
        Self { outbox, uids }
    }
}

impl Witness<ClusterState> for EventWitness {
    fn hear(&mut self, news: &News<'_>) {
        if let News::Noted(Note::Told(events)) = news {
            self.uids.hear(events);
        }
        notices(news).into_iter().for_each(|notice| self.outbox.leave(notice));
    }
}

/// The notices that `news` lead to.
pub fn notices(news: &News<'_>) -> Vec<Notice> {
    match news {
        News::Noted(Note::Resolved(changes)) => changes.warnings.iter().filter_map(of_warning).collect(),
        News::Conflict(conflict) => vec![Notice::FrontendConflict((*conflict).clone())],
        News::Failed { service, reason } => {
            vec![Notice::ServiceRefused { service: (*service).clone(), reason: (*reason).to_owned() }]
        }
        News::NotSynced { error, .. } => match error {
            SyncError::Refused { .. } | SyncError::Unsupported { .. } => {
                vec![Notice::BackendUnavailable { reason: error.to_string() }]
            }
            // The next try is expected to succeed.
            _ => Vec::new(),
        },
        News::Succeeded { dataplane } => vec![Notice::BackendChanged { backend: dataplane }],
        News::Noted(Note::Told(_)) | News::Unchanged | News::Syncing | News::Synced { .. } | News::Drifted => {
            Vec::new()
        }
    }
}

fn of_warning(warning: &Warning) -> Option<Notice> {
    match (&warning.problem, warning.object.kind) {
        (Problem::Closed(family), Kind::Service) => {
            let service =
                ServiceName { namespace: warning.object.namespace.clone(), name: warning.object.name.clone() };
            Some(Notice::SourceRangesOfOtherFamily { service, family: *family })
        }
        _ => None,
    }
}

/// The uids of all services that have one: `kubectl describe` finds an Event only by its object's uid. Clones share
/// their content.
#[derive(Clone, Debug, Default)]
pub struct Uids(Arc<Mutex<HashMap<ServiceName, Uid>>>);

impl Uids {
    /// Takes the events of a source.
    pub fn hear(&self, events: &[Event]) {
        let mut uids = self.lock();
        for event in events {
            match event {
                Event::Changed(Object::Service(service)) => match service.metadata.uid {
                    Uid::UNKNOWN => uids.remove(&service.service_name()),
                    uid => uids.insert(service.service_name(), uid),
                },
                Event::Deleted(key) if key.kind == Kind::Service => {
                    uids.remove(&ServiceName { namespace: key.namespace.clone(), name: key.name.clone() })
                }
                // A new source lists all that it has; other objects do not exist any more.
                Event::Anew => {
                    uids.clear();
                    None
                }
                Event::Changed(_) | Event::Deleted(_) | Event::Listed | Event::Trouble(_) => None,
            };
        }
    }

    /// A service's uid.
    pub fn of(&self, service: &ServiceName) -> Option<Uid> {
        self.lock().get(service).copied()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ServiceName, Uid>> {
        self.0.lock().expect("nothing panics while it holds the uids")
    }
}
