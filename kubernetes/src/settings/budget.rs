//! How many elements services may have: one large service must neither take the node's memory nor keep the others
//! waiting.

use std::num::NonZeroU32;

/// The most elements that are programmed. Beyond it services are refused, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Of one service.
    pub of_service: NonZeroU32,
    /// Of all services together.
    pub in_all: NonZeroU32,
}

impl Budget {
    /// As many as the objects ask for.
    pub const UNLIMITED: Self = Self { of_service: NonZeroU32::MAX, in_all: NonZeroU32::MAX };
}

impl Default for Budget {
    /// No honest service comes near the first: 5,000 endpoints behind 10 ports at 4 addresses are 200,040.
    fn default() -> Self {
        const { Self { of_service: NonZeroU32::new(250_000).unwrap(), in_all: NonZeroU32::new(1_000_000).unwrap() } }
    }
}
