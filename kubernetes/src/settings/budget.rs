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

impl Default for Budget {
    /// No honest service comes near: 5,000 endpoints behind 10 ports at 5 addresses are 250,000.
    fn default() -> Self {
        const { Self { of_service: NonZeroU32::new(1 << 18).unwrap(), in_all: NonZeroU32::new(1 << 21).unwrap() } }
    }
}
