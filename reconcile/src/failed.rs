//! Services that the backend could not program, by themselves: who they are, and when to try again.

use std::collections::BTreeMap;

use backend_api::{Failure, ServiceName};
use tokio::time::Instant;

use super::Backoff;
use super::Pending;

/// What failed and has not succeeded since.
#[derive(Debug, Default)]
pub(super) struct Failed {
    reasons: BTreeMap<ServiceName, String>,
    backoff: Backoff,
    retry: Option<Instant>,
}

impl Failed {
    /// Each with its reason.
    pub(super) fn reasons(&self) -> &BTreeMap<ServiceName, String> {
        &self.reasons
    }

    /// When to sync everything again because of them.
    pub(super) fn retry(&self) -> Option<Instant> {
        self.retry
    }

    /// Takes what a sync of `pending`, which ended `now`, says of services that failed alone.
    pub(super) fn update(&mut self, pending: &Pending, failures: Vec<Failure>, now: Instant) {
        match pending {
            Pending::All => {
                self.reasons.clear();
                self.retry = None;
            }
            Pending::Services(tried) => self.reasons.retain(|service, _| !tried.contains(service)),
        }
        self.reasons.extend(failures.into_iter().map(|Failure { service, reason, .. }| (service, reason)));
        if self.reasons.is_empty() {
            *self = Self::default();
        } else if self.retry.is_none() {
            self.retry = Some(now + self.backoff.after_failure());
        }
    }
}
