//! What a packet mark of ours stands for.
//!
//! Kept apart from the tables that mark, because planning asks for marks and those tables plan.

use std::fmt::Debug;

use backend_api::{EndpointAddress, FrontendKey, Pool, ServiceName, ServicePort};

use crate::assign::first_slot;
use crate::ruleset::{Element, Key, Mark, SetName, Value};

/// What a mark stands for, within a service port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// Any endpoint of this pool: IPVS picks it.
    Pool(Pool),
    /// This endpoint: the tables picked it, because of session affinity.
    Endpoint(EndpointAddress),
}

/// Which virtual server answers. Asked while a sync is planned; the answers must not change during a sync.
pub trait Marks: Debug + Sync {
    /// The mark of the virtual server that answers `frontend` of `port` for `target`; none if there is no such server,
    /// for services that [`Marks::unfit`] names.
    fn mark(&self, service: &ServiceName, port: &ServicePort, frontend: FrontendKey, target: Target) -> Option<Mark>;

    /// Why a service is to be left out.
    fn unfit(&self, service: &ServiceName) -> Option<String>;
}

/// A mark in the kernel's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Marked {
    /// The frontend whose packets get the mark.
    pub frontend: FrontendKey,
    /// The pool that the mark stands for; none where it stands for one endpoint, because of session affinity.
    pub pool: Option<Pool>,
    /// The mark.
    pub mark: Mark,
}

/// The mark that an element of our tables sets; none if it sets none.
pub(crate) fn marked(element: &Element) -> Option<Marked> {
    let Value::Mark(mark) = element.value else { return None };
    match (element.set, element.key) {
        (SetName::Endpoints(_), Key::Slot(frontend, slot)) => {
            let pool = if slot < first_slot(Pool::Local) { Pool::Cluster } else { Pool::Local };
            Some(Marked { frontend, pool: Some(pool), mark })
        }
        (SetName::StickyEndpoints(_), Key::Remembered(frontend, _)) => Some(Marked { frontend, pool: None, mark }),
        _ => None,
    }
}
