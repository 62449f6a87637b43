//! What programming promises, on a fake kernel.
