//! What all kinds of objects together know of the API: whether it is away, which is said once and not by each, and that
//! it answers again, which all that wait hear.
//!
//! While nothing is answered one kind asks for all, the scout; the others wait for it. A kind that fails alone is no
//! outage of the API: it asks by itself, ever more seldom.
//!
//! **Invariant:** reads no clock: `now` is passed.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::objects::Kind;
use crate::source::Trouble;

/// The least time between two lines about one outage.
const QUIET: Duration = Duration::from_secs(1);

/// The knowledge that the kinds share.
#[derive(Debug)]
pub(super) struct Outage {
    place: String,
    away: Mutex<Away>,
    /// How often the API was not there for any kind, and then was for one.
    returns: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Away {
    said: Option<Said>,
    /// Those that cannot be had.
    kinds: BTreeSet<Kind>,
    /// Those with an answer that goes on, as far as is known.
    answered: BTreeSet<Kind>,
    /// Since when nothing is answered, as far as is known.
    unanswered: Option<Instant>,
    /// The one that asks for all meanwhile.
    scout: Option<Kind>,
}

/// What a kind that is not answered has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// To ask again soon: nothing was answered for this long.
    Scout(Duration),
    /// To wait for the scout.
    Follower,
    /// To ask again by itself: others are answered.
    Alone,
}

/// What was said of something that lasts. Another reason is said too, but not each time where reasons take turns.
#[derive(Debug)]
pub(super) struct Said {
    since: Instant,
    reason: String,
    at: Instant,
}

impl Outage {
    pub(super) fn new(place: String) -> Self {
        Self { place, away: Mutex::default(), returns: watch::Sender::new(0) }
    }

    /// Changes whenever the API is there again.
    pub(super) fn returns(&self) -> watch::Receiver<u64> {
        self.returns.subscribe()
    }

    /// `kind` cannot be had. What there is to say of it, if that is news.
    pub(super) fn begins(&self, kind: Kind, reason: &str, now: Instant) -> Option<Trouble> {
        let mut away = self.away();
        away.kinds.insert(kind);
        if !is_news(&mut away.said, reason, now) {
            return None;
        }
        let reason = format!("{reason}; trying again, objects told before are kept");
        Some(Trouble { place: self.place.clone(), line: None, object: None, reason })
    }

    /// `kind` was not answered at all, and not for the first time.
    pub(super) fn unanswered(&self, kind: Kind, now: Instant) -> Part {
        let mut away = self.away();
        if !away.answered.is_empty() {
            return Part::Alone;
        }
        let since = *away.unanswered.get_or_insert(now);
        match *away.scout.get_or_insert(kind) {
            scout if scout == kind => Part::Scout(now - since),
            _ => Part::Follower,
        }
    }

    /// `kind` was answered. Whether none was before.
    pub(super) fn answered(&self, kind: Kind) -> bool {
        let mut away = self.away();
        away.answered.insert(kind);
        away.scout = None;
        let returned = away.unanswered.take().is_some();
        if returned {
            self.returns.send_modify(|count| *count += 1);
        }
        returned
    }

    /// The answer for `kind` has ended, well or not.
    pub(super) fn answer_ended(&self, kind: Kind) {
        self.away().answered.remove(&kind);
    }

    /// `kind` can be had. How long the outage was, if it is over with that.
    pub(super) fn ends(&self, kind: Kind, now: Instant) -> Option<Duration> {
        let mut away = self.away();
        away.kinds.remove(&kind);
        if !away.kinds.is_empty() {
            return None;
        }
        away.said.take().map(|said| now - said.since)
    }

    fn away(&self) -> MutexGuard<'_, Away> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether this reason is to be said; it counts as said then.
pub(super) fn is_news(said: &mut Option<Said>, reason: &str, now: Instant) -> bool {
    let since = match said {
        None => now,
        Some(Said { reason: former, .. }) if former == reason => return false,
        // Fewer and fewer lines, but never none for longer than a part of the outage.
        Some(Said { since, at, .. }) if now - *at < ((now - *since) / 8).max(QUIET) => return false,
        Some(Said { since, .. }) => *since,
    };
    *said = Some(Said { since, reason: reason.to_owned(), at: now });
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_outage_is_said_once_until_everything_is_back() {
        let (outage, start) = (Outage::new("api".into()), Instant::now());
        let said = outage.begins(Kind::Service, "connection refused", start).unwrap();
        assert_eq!(said.to_string(), "api: connection refused; trying again, objects told before are kept");
        assert_eq!(outage.begins(Kind::Node, "connection refused", start + SECOND), None);
        assert_eq!(outage.ends(Kind::Service, start + SECOND), None);
        assert_eq!(outage.begins(Kind::Service, "connection refused", start + 2 * SECOND), None);
        assert_eq!(outage.ends(Kind::Service, start + 3 * SECOND), None);
        assert_eq!(outage.ends(Kind::Node, start + 4 * SECOND), Some(4 * SECOND));
        assert_eq!(outage.ends(Kind::Node, start + 4 * SECOND), None);
        assert!(outage.begins(Kind::Node, "connection refused", start + 5 * SECOND).is_some());
    }

    #[test]
    fn another_reason_is_said_and_reasons_that_take_turns_fill_no_log() {
        let (outage, start) = (Outage::new("api".into()), Instant::now());
        assert!(outage.begins(Kind::Service, "connection refused", start).is_some());
        assert!(outage.begins(Kind::Service, "it answers 401", start + SECOND / 2).is_none());
        assert!(outage.begins(Kind::Service, "it answers 401", start + 2 * SECOND).is_some());
        assert!(outage.begins(Kind::Service, "it answers 401", start + 20 * SECOND).is_none());
        let lines = (0..36_000)
            .filter(|tenth| outage.begins(Kind::Node, &format!("{tenth}"), start + SECOND / 10 * *tenth).is_some())
            .count();
        assert!((20..=80).contains(&lines), "{lines}");
    }

    #[test]
    fn one_kind_asks_for_all_and_all_hear_that_the_api_is_back() {
        let (outage, start) = (Outage::new("api".into()), Instant::now());
        let mut returns = outage.returns();
        assert_eq!(outage.unanswered(Kind::Service, start), Part::Scout(Duration::ZERO));
        assert_eq!(outage.unanswered(Kind::Node, start + SECOND), Part::Follower);
        assert_eq!(outage.unanswered(Kind::Service, start + SECOND), Part::Scout(SECOND));
        assert!(!returns.has_changed().unwrap());
        assert!(outage.answered(Kind::Service));
        assert!(returns.has_changed().unwrap());
        returns.mark_unchanged();
        assert!(!outage.answered(Kind::Service));
        assert!(!returns.has_changed().unwrap(), "what is there does not return");
        assert_eq!(outage.unanswered(Kind::Node, start + 2 * SECOND), Part::Alone);
        outage.answer_ended(Kind::Service);
        assert_eq!(outage.unanswered(Kind::Node, start + 3 * SECOND), Part::Scout(Duration::ZERO));
    }
}
