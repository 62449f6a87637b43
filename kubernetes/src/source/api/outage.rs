//! Whether the API is away, which is said once although every kind of objects notices it.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tracing::info;

use crate::objects::Kind;
use crate::source::Trouble;

/// What all kinds of objects together know of the API.
#[derive(Debug)]
pub(super) struct Outage {
    place: String,
    away: Mutex<Away>,
}

#[derive(Debug, Default)]
struct Away {
    since: Option<Instant>,
    /// Those that cannot be had.
    kinds: BTreeSet<Kind>,
}

impl Outage {
    pub(super) fn new(place: String) -> Self {
        Self { place, away: Mutex::default() }
    }

    /// `kind` cannot be had. What there is to say of it, if that is news.
    pub(super) fn begins(&self, kind: Kind, reason: &str) -> Option<Trouble> {
        let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        away.kinds.insert(kind);
        if away.since.is_some() {
            return None;
        }
        away.since = Some(Instant::now());
        let reason = format!("{reason}; trying again, objects told before are kept");
        Some(Trouble { place: self.place.clone(), line: None, object: None, reason })
    }

    /// `kind` can be had.
    pub(super) fn ends(&self, kind: Kind) {
        let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        away.kinds.remove(&kind);
        if away.kinds.is_empty()
            && let Some(since) = away.since.take()
        {
            info!(after = ?since.elapsed(), "{}: answers again", self.place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_said_once_until_everything_is_back() {
        let outage = Outage::new("api".into());
        let said = outage.begins(Kind::Service, "connection refused").unwrap();
        assert_eq!(said.to_string(), "api: connection refused; trying again, objects told before are kept");
        assert_eq!(outage.begins(Kind::Node, "timed out"), None);
        outage.ends(Kind::Service);
        assert_eq!(outage.begins(Kind::Service, "connection refused"), None);
        outage.ends(Kind::Service);
        outage.ends(Kind::Node);
        assert!(outage.begins(Kind::Node, "timed out").is_some());
    }
}
