//! The words that nft's tables and this crate share: marks, and who says which.
//!
//! Stands in for `backend_nft::marking` until that is there.

use std::fmt;

use backend_api::{EndpointAddress, FrontendKey, Pool, ServiceName, ServicePort};

/// A packet mark of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Mark(pub(crate) u32);

impl Mark {
    pub(crate) const PREFIX: u32 = 0x5300_0000;
    pub(crate) const MASK: u32 = 0xff00_0000;
    pub(crate) const CUT: u32 = 1 << 23;
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// Among whom a virtual server balances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Target {
    /// A pool.
    Pool(Pool),
    /// One endpoint, which the tables chose.
    Endpoint(EndpointAddress),
}

/// Which virtual server answers.
pub(crate) trait Marks: fmt::Debug + Sync {
    fn mark(&self, service: &ServiceName, port: &ServicePort, target: Target) -> Option<Mark>;
    fn unfit(&self, service: &ServiceName) -> Option<String>;
}

/// What a table says of a frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Marked {
    pub(crate) frontend: FrontendKey,
    pub(crate) pool: Option<Pool>,
    pub(crate) mark: Mark,
}
