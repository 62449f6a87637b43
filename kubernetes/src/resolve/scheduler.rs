//! How a service asks IPVS to choose among its endpoints.

use backend_api::{Affinity, Scheduler, UnknownScheduler};

use super::warning::{Log, Problem};
use crate::objects::{Service, Word};

/// Where a service says so.
const FIELD: &str = "metadata.annotations[switchyard.dev/scheduler]";

/// The scheduler of the service's ports; none where the service leaves it to the operator, or where `affinity` decides.
pub(super) fn of_service(service: &Service, affinity: Affinity, log: &mut Log<'_>) -> Option<Scheduler> {
    let scheduler = match service.metadata.annotations.scheduler.as_ref()? {
        Word::Known(scheduler) => *scheduler,
        Word::Unknown(name) if name.is_empty() => return None,
        Word::Unknown(name) => {
            log.warn(FIELD, Problem::Scheduler(UnknownScheduler(name.to_string())));
            return None;
        }
    };
    match affinity {
        Affinity::None => Some(scheduler),
        Affinity::ClientIp { .. } => {
            log.warn(FIELD, Problem::AffinityDecides(scheduler));
            None
        }
    }
}
