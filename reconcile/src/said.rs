//! What the log has been told of the state, so that each thing is logged once for as long as it holds.

use std::collections::{BTreeMap, BTreeSet};

use backend_api::{Conflict, ServiceName, ServiceState};
use tokio::time::Instant;
use tracing::warn;

use super::Desired;
use super::rate::{Line, LineRate};
use super::witness::{News, Witness};

/// Everything that was logged and still holds, and how often.
#[derive(Debug)]
pub(super) struct Said {
    rate: LineRate<Topic>,
    missing: Once<String>,
    conflicts: Once<Conflict>,
    failures: Once<(ServiceName, String)>,
    warnings: Once<String>,
}

/// What a line is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Topic {
    Service(ServiceName),
    Again(Again),
    Warning(String),
}

/// Something that may happen again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Again {
    /// Every service was compared with the kernel.
    Checked,
    /// Another program has changed what is ours.
    Drifted,
}

impl Said {
    pub(super) fn new() -> Self {
        Self {
            rate: LineRate::new(Instant::now()),
            missing: Once::default(),
            conflicts: Once::default(),
            failures: Once::default(),
            warnings: Once::default(),
        }
    }

    /// What to say behind a line that may come again and again, if it is to be logged now.
    pub(super) fn again(&mut self, what: Again) -> Option<Line> {
        self.line(Topic::Again(what))
    }

    fn line(&mut self, topic: Topic) -> Option<Line> {
        Some(self.rate.line(&topic, Instant::now())).filter(|line| *line != Line::HeldBack)
    }

    /// Logs an object that is newly missed.
    pub(super) fn missing(&mut self, missing: Option<&str>) {
        for missing in self.missing.unsaid(missing.into_iter().map(str::to_owned).collect()) {
            warn!("{missing}");
        }
    }

    /// Logs which services have lost a frontend to another.
    pub(super) fn conflicts<D: Desired + ?Sized>(&mut self, state: &ServiceState, witness: &mut dyn Witness<D>) {
        for conflict in self.conflicts.unsaid(state.conflicts().collect()) {
            witness.hear(&News::Conflict(&conflict));
            let Conflict { frontend, owner, loser } = conflict;
            if let Some(line) = self.line(Topic::Service(loser.clone())) {
                warn!(%frontend, %owner, %loser, "two services claim one frontend, the older one has it{line}");
            }
        }
    }

    /// Logs what a sync found to be newly not as desired.
    pub(super) fn warnings(&mut self, warnings: Vec<String>) {
        for warning in self.warnings.unsaid(warnings.into_iter().collect()) {
            if let Some(line) = self.line(Topic::Warning(warning.clone())) {
                warn!("{warning}{line}");
            }
        }
    }

    /// Logs which services failed anew, or for another reason.
    pub(super) fn failures<D: Desired + ?Sized>(
        &mut self,
        failed: &BTreeMap<ServiceName, String>,
        witness: &mut dyn Witness<D>,
    ) {
        let failed = failed.iter().map(|(service, reason)| (service.clone(), reason.clone())).collect();
        for (service, reason) in self.failures.unsaid(failed) {
            witness.hear(&News::Failed { service: &service, reason: &reason });
            if let Some(line) = self.line(Topic::Service(service.clone())) {
                warn!(%service, reason, "service cannot be programmed, trying again; all others are{line}");
            }
        }
    }
}

/// What holds and has been said.
#[derive(Clone, Debug)]
struct Once<T> {
    said: BTreeSet<T>,
}

impl<T: Ord + Clone> Once<T> {
    /// What of `now` has not been said. What holds no longer is forgotten, and said again when it returns.
    fn unsaid(&mut self, now: BTreeSet<T>) -> Vec<T> {
        let news = now.difference(&self.said).cloned().collect();
        self.said = now;
        news
    }
}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self { said: BTreeSet::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_is_said_once_and_again_when_it_returns() {
        let mut once = Once::default();
        assert_eq!(once.unsaid([1, 2].into()), [1, 2]);
        assert_eq!(once.unsaid([2, 3].into()), [3]);
        assert_eq!(once.unsaid([1, 2].into()), [1]);
    }
}
