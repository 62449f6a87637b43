//! How old a service is: who keeps a frontend that two claim.

use backend_api::Age;
use jiff::Timestamp;

use super::warning::{Log, Problem};
use crate::objects::Service;

/// Of a service that does not say when it was made, or says it in a way that cannot be read: it never takes
/// a frontend from one that does, and among its like the name decides.
const YOUNGEST: Age = Age(i128::MAX);

/// The service's age: nanoseconds from 1970 to its creation.
pub(super) fn of_service(service: &Service, log: &mut Log<'_>) -> Age {
    let Some(written) = service.metadata.creation_timestamp.as_deref() else { return YOUNGEST };
    match written.parse::<Timestamp>() {
        Ok(created) => Age(created.as_nanosecond()),
        Err(_) => {
            log.warn("metadata.creationTimestamp", Problem::Time(written.to_owned()));
            YOUNGEST
        }
    }
}
