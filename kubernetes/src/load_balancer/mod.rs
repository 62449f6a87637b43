//! Addresses of LoadBalancer services: from objects to the values of `allocation`, and who announces what.
//!
//! ```text
//! Event ─► AddressObjects ─► Edit ─► allocation::Allocator ─► Decision      in a controller
//!              │ convert: pools, services, selectors; a mistake keeps the last good form
//!              ▼
//! pools, advertisements, services, this node ─► announced ─► score, interfaces, order      on a node
//! ```
//!
//! **Invariants:** pure. One bad object costs itself alone, and is named
//! (`tests/load_balancer.rs::a_bad_object_keeps_its_last_good_form_and_stops_no_other`).

mod advertise;
mod convert;
mod objects;

use std::fmt;

pub use advertise::{
    Advertised, AdvertisedPool, AdvertisedService, Advertisement, Announced, AnnouncingNode, Interfaces, NotAnnounced,
    Preference, advertised_service, advertisement, announced, announcing_node,
};
pub use convert::{DeprecatedAnnotation, POOL_IN_USE, PoolForm, pool, selector, service};
pub use objects::{AddressObjects, AdvertisedObjects, Note, NoteKind, Taken};

/// Something in an object that cannot be what it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// Where: `spec.addresses[1]`.
    pub field: String,
    /// What is wrong there.
    pub reason: String,
}

impl Mistake {
    fn new(field: impl Into<String>, reason: impl fmt::Display) -> Self {
        Self { field: field.into(), reason: reason.to_string() }
    }
}

/// `spec.addresses[1]: range "x": …`.
impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.reason)
    }
}
