//! x
/// x
pub fn order_key() {}
