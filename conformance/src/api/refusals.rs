//! Refusals: how the API prints one, and those that a test orders.

use std::time::Duration;

use serde_json::{Map, Value, json};

/// A refusal of one request, as the API prints it.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: u16,
    pub(super) reason: &'static str,
    pub(super) message: String,
    pub(super) more: Map<String, Value>,
    pub(super) retry_after: Option<u64>,
}

impl Refused {
    pub(super) fn new(status: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { status, reason, message: message.into(), more: Map::new(), retry_after: None }
    }

    /// The version is too old.
    pub(super) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// The v1 Status object.
    pub(super) fn printed(&self) -> Value {
        let mut metadata = Map::new();
        metadata.extend(self.more.clone());
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": metadata, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.status,
        })
    }
}

/// What a refusal says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Saying {
    /// What an API server says.
    Status,
    /// This text.
    Text(String),
    /// The first text, and then the other for ever.
    Endless {
        /// The first one.
        first: String,
        /// The other.
        again: String,
    },
}

/// Some of the next requests are refused, whatever they ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusing {
    /// Those whose line contains this: `GET /api/v1/services?watch=true`.
    pub matching: String,
    /// With this HTTP status.
    pub status: u16,
    /// And this advice.
    pub retry_after: Option<Duration>,
    /// In these words.
    pub saying: Saying,
    /// This many of them.
    pub times: usize,
}

impl Refusing {
    /// The next request whose line contains `matching` is refused with `status`.
    pub fn once(matching: &str, status: u16) -> Self {
        Self { matching: matching.to_owned(), status, retry_after: None, saying: Saying::Status, times: 1 }
    }

    /// Every one is.
    #[must_use]
    pub fn always(matching: &str, status: u16) -> Self {
        Self { times: usize::MAX, ..Self::once(matching, status) }
    }

    /// Every one is answered with this text and status.
    #[must_use]
    pub fn saying(matching: &str, status: u16, saying: Saying) -> Self {
        Self { saying, ..Self::always(matching, status) }
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
