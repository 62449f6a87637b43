//! Refusals that a test orders.

use std::time::Duration;

/// Some of the next requests are refused, whatever they ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusing {
    /// Those whose line contains this: `GET /api/v1/services?watch=true`.
    pub matching: String,
    /// With this HTTP status.
    pub status: u16,
    /// And this advice.
    pub retry_after: Option<Duration>,
    /// This many of them.
    pub times: usize,
}

impl Refusing {
    /// The next request whose line contains `matching` is refused with `status`.
    pub fn once(matching: &str, status: u16) -> Self {
        Self { matching: matching.to_owned(), status, retry_after: None, times: 1 }
    }

    /// Every one is.
    #[must_use]
    pub fn always(matching: &str, status: u16) -> Self {
        Self { times: usize::MAX, ..Self::once(matching, status) }
    }
}

/// The first order that concerns this request, which is then one less.
pub(super) fn refused(orders: &mut Vec<Refusing>, request: &str) -> Option<Refusing> {
    let at = orders.iter().position(|order| request.contains(&order.matching))?;
    let order = orders[at].clone();
    orders[at].times -= 1;
    orders.retain(|order| order.times > 0);
    Some(order)
}
