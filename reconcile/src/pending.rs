//! What is not in the kernel yet: changes that wait for a sync, and services that could not be programmed.

use std::collections::{BTreeMap, BTreeSet};

use backend_api::{Failure, Scope, ServiceName};
use tokio::time::Instant;

use crate::Backoff;

/// Changes that wait for a sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pending {
    /// Anything may be another than the kernel has it.
    All,
    /// These services; nothing waits if empty.
    Services(BTreeSet<ServiceName>),
}

impl Pending {
    /// Nothing waits.
    pub fn nothing() -> Self {
        Self::Services(BTreeSet::new())
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Services(services) if services.is_empty())
    }

    /// `more` waits too.
    pub fn add(&mut self, more: Self) {
        *self = match (std::mem::replace(self, Self::All), more) {
            (Self::Services(mut services), Self::Services(more)) => {
                services.extend(more);
                Self::Services(services)
            }
            (Self::All, _) | (_, Self::All) => Self::All,
        };
    }

    /// The scope of a sync after which nothing of this waits.
    pub fn scope(&self) -> Scope<'_> {
        match self {
            Self::All => Scope::All,
            Self::Services(services) => Scope::Services(services),
        }
    }
}

/// Services that failed alone and have not succeeded since, and when everything is tried again.
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

    /// When to sync everything again because of them, or of what else could not be done.
    pub(super) fn retry(&self) -> Option<Instant> {
        self.retry
    }

    /// Takes what a sync of `pending`, which ended `now`, says of services that failed alone, and whether something else
    /// could not be done.
    pub(super) fn update(&mut self, pending: &Pending, failures: Vec<Failure>, unfinished: bool, now: Instant) {
        match pending {
            Pending::All => {
                self.reasons.clear();
                self.retry = None;
            }
            Pending::Services(tried) => self.reasons.retain(|service, _| !tried.contains(service)),
        }
        self.reasons.extend(failures.into_iter().map(|Failure { service, reason, .. }| (service, reason)));
        if self.reasons.is_empty() && !unfinished {
            *self = Self::default();
        } else if self.retry.is_none() {
            self.retry = Some(now + self.backoff.after_failure());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use backend_api::{FailureKind, ServiceName};

    use super::*;

    #[test]
    fn what_is_unfinished_is_tried_again_until_it_is_done() {
        let now = Instant::now();
        let mut failed = Failed::default();
        let web = ServiceName::new("default", "web");
        let one = Pending::Services([web.clone()].into());
        failed.update(&one, Vec::new(), true, now);
        let retry = failed.retry().expect("flows are owed");
        assert!(retry > now && retry <= now + Duration::from_millis(100));
        failed.update(&one, Vec::new(), true, now);
        assert_eq!(failed.retry(), Some(retry), "a change in between moves nothing");
        failed.update(&Pending::All, Vec::new(), true, now);
        assert!(failed.retry().is_some_and(|later| later >= now + Duration::from_millis(100)), "later each time");
        failed.update(&Pending::All, vec![Failure::new(web, FailureKind::Refused, "odd")], false, now);
        assert!(failed.retry().is_some(), "a service failed");
        failed.update(&Pending::All, Vec::new(), false, now);
        assert_eq!(failed.retry(), None);
    }
}
