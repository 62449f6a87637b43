//! Which news are worth a notice.

use backend_api::SyncError;

use super::{Notice, Outbox, Uids};
use kubernetes::objects::Kind;
use kubernetes::resolve::{Problem, Warning};
use kubernetes::{ClusterState, News, Note};
use reconcile::Witness;

/// The witness that leaves notices.
#[derive(Debug)]
pub struct Herald {
    outbox: Outbox,
    uids: Uids,
}

impl Herald {
    /// Leaves notices in `outbox`, and keeps `uids` up to date.
    pub fn new(outbox: Outbox, uids: Uids) -> Self {
        Self { outbox, uids }
    }
}

impl Witness<ClusterState> for Herald {
    fn hear(&mut self, news: &News<'_>) {
        if let News::Noted(Note::Told(events)) = news {
            self.uids.hear(events);
        }
        notices(news).into_iter().for_each(|notice| self.outbox.leave(notice));
    }
}

/// What `news` come to.
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
            // Over at the next try.
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
            let service = backend_api::ServiceName {
                namespace: warning.object.namespace.clone(),
                name: warning.object.name.clone(),
            };
            Some(Notice::SourceRangesOfOtherFamily { service, family: *family })
        }
        _ => None,
    }
}
