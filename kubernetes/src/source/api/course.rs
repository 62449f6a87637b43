//! The course of one kind of objects: what to ask next, and what each answer means.
//!
//! ```text
//!           ┌──────────── 410, nonsense, failing again and again ──────────────┐
//!           ▼                                                                  │
//!   Stream (everything, then changes) ── all told ──────────────────► Watch since a version ◄─┐
//!      │ refused, or it never ends                                       ▲     └── ended, cut ┘
//!      └──────────► Page, Page, … ── the last one ───────────────────────┘
//! ```
//!
//! **Invariants:** pure: no clock, no I/O. Of the objects only their keys are kept. What is not in a list is told to be
//! gone when the list is complete, never earlier (`tests::what_is_missing_is_gone_after_the_whole_list`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::answer::{Initial, Item, Line, Page, Refusal};
use super::resource::{Ask, Size};
use crate::objects::ObjectKey;
use crate::source::{Event, Trouble};

/// How often in a row a watch may fail before everything is listed anew: perhaps it is the version that nobody likes.
const STUMBLES: u32 = 3;

/// What one kind of objects has come to.
#[derive(Debug)]
pub(super) struct Course {
    /// Where troubles are, for whoever reads of them.
    place: String,
    ask: Ask,
    /// Every object that was told, and is not gone.
    told: BTreeSet<ObjectKey>,
    /// Those of the list that is being read.
    seen: BTreeSet<ObjectKey>,
    /// What was said of objects that cannot be read.
    unreadable: BTreeMap<ObjectKey, String>,
    streaming: Streaming,
    size: Size,
    complete: Completeness,
    /// Failures of a watch since it last told something.
    stumbles: u32,
}

/// Whether the server can stream a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Streaming {
    Untried,
    Refused,
}

/// Whether everything that is there has been told once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Completeness {
    /// Not yet.
    Listing,
    /// It has.
    Listed,
}

/// How an answer failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// No server could be asked.
    Unreachable(String),
    /// A server refuses.
    Refused(Refusal),
    /// The answer broke off.
    Cut,
    /// Nothing came for too long.
    Silent,
    /// It makes no sense.
    Nonsense(String),
}

/// What to do about a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Ask again at once: something else than before.
    Now,
    /// Ask again after a while; it was to be expected.
    Later,
    /// As `Later`, but not before this time is over. The API is away as long as this goes on.
    Away { reason: String, not_before: Duration },
    /// As `Later`; this kind of objects is not to be had until somebody changes that.
    Denied { reason: String },
}

impl Course {
    pub(super) fn new(place: String) -> Self {
        Self {
            place,
            ask: Ask::Stream,
            told: BTreeSet::new(),
            seen: BTreeSet::new(),
            unreadable: BTreeMap::new(),
            streaming: Streaming::Untried,
            size: Size::Page,
            complete: Completeness::Listing,
            stumbles: 0,
        }
    }

    /// What to ask now.
    pub(super) fn ask(&self) -> &Ask {
        &self.ask
    }

    /// Whether everything that is there has been told once.
    pub(super) fn completeness(&self) -> Completeness {
        self.complete
    }

    /// Everything is to be listed anew: other objects are meant from now on. Those of before are told to be gone once
    /// the list is complete.
    pub(super) fn start_over(&mut self) {
        self.seen.clear();
        self.ask = match self.streaming {
            Streaming::Untried => Ask::Stream,
            Streaming::Refused => Ask::Page { from: None, size: self.size },
        };
    }

    /// There is no such kind: that is a complete list of nothing, but whatever was told holds.
    pub(super) fn go_without(&mut self) {
        self.complete = Completeness::Listed;
        self.start_over();
    }

    /// Another server may be able to do what the one before was not.
    pub(super) fn meet_another_server(&mut self) {
        self.streaming = Streaming::Untried;
    }

    /// A page has come.
    pub(super) fn page(&mut self, page: Page, events: &mut Vec<Event>) {
        for item in page.items {
            if let Some(key) = self.item(item, events) {
                self.seen.insert(key);
            }
        }
        match page.rest {
            Some(rest) => self.ask = Ask::Page { from: Some(rest), size: self.size },
            None => self.listed(page.version, events),
        }
    }

    /// A line has come.
    pub(super) fn line(&mut self, line: Line, events: &mut Vec<Event>) -> Result<(), Failure> {
        let version = match line {
            Line::Changed { item, version } => {
                let key = self.item(item, events);
                if let (Ask::Stream, Some(key)) = (&self.ask, key) {
                    self.seen.insert(key);
                }
                version
            }
            Line::Deleted { key, version } => {
                self.seen.remove(&key);
                self.gone(key, events);
                version
            }
            Line::Bookmark { version, initial: Initial::Complete } if self.ask == Ask::Stream => {
                self.listed(version, events);
                None
            }
            Line::Bookmark { version, .. } => Some(version),
            Line::Error(refusal) => return Err(Failure::Refused(refusal)),
            Line::Unknown => None,
        };
        self.stumbles = 0;
        if let (Ask::Watch { since }, Some(version)) = (&mut self.ask, version.filter(|version| !version.is_empty())) {
            *since = version;
        }
        Ok(())
    }

    /// The server has ended a watch, as it does now and then. A stream must not end before everything was told.
    pub(super) fn ended(&mut self) {
        if self.ask == Ask::Stream {
            self.stop_streaming();
        }
    }

    /// The answer to the last request failed.
    pub(super) fn failed(&mut self, failure: &Failure) -> Remedy {
        let away = |reason: &str, not_before: Option<Duration>| Remedy::Away {
            reason: reason.to_owned(),
            not_before: not_before.unwrap_or_default(),
        };
        match failure {
            Failure::Refused(refusal) => self.refused(refusal),
            Failure::Unreachable(reason) => {
                self.begin_again();
                away(reason, None)
            }
            Failure::Cut => {
                self.stumble();
                Remedy::Later
            }
            Failure::Silent if self.ask == Ask::Stream => {
                // It began, so the server is there. Some never say that everything was told.
                self.stop_streaming();
                Remedy::Later
            }
            Failure::Silent => {
                self.stumble();
                Remedy::Later
            }
            Failure::Nonsense(reason) => {
                self.start_over();
                away(reason, None)
            }
        }
    }

    fn refused(&mut self, refusal: &Refusal) -> Remedy {
        let away = Remedy::Away {
            reason: format!("it answers {refusal}"),
            not_before: refusal.retry_after.unwrap_or_default(),
        };
        match (refusal.code, &self.ask) {
            // The version, or the list that was begun, is too old (etcd was compacted).
            (410, Ask::Page { from: Some(_), .. }) => {
                // Whoever reads pages too slowly gets everything in one.
                self.size = Size::Whole;
                self.streaming = Streaming::Refused;
                self.start_over();
                Remedy::Now
            }
            (410, _) => {
                self.start_over();
                Remedy::Later
            }
            // Not known to the server (before Kubernetes 1.32, by default), or not to its storage.
            (400 | 405 | 406 | 415 | 422 | 501, Ask::Stream) => {
                self.stop_streaming();
                Remedy::Now
            }
            (401 | 408 | 429, _) => {
                self.begin_again();
                away
            }
            (500.., _) => {
                self.stumble();
                away
            }
            _ => {
                self.start_over();
                Remedy::Denied { reason: refusal.to_string() }
            }
        }
    }

    /// A watch goes on where it was; a list that was begun begins anew.
    fn begin_again(&mut self) {
        if !matches!(self.ask, Ask::Watch { .. }) {
            self.start_over();
        }
    }

    fn stumble(&mut self) {
        self.stumbles += 1;
        if self.stumbles >= STUMBLES {
            self.stumbles = 0;
            self.start_over();
        } else {
            self.begin_again();
        }
    }

    fn stop_streaming(&mut self) {
        self.streaming = Streaming::Refused;
        self.start_over();
    }

    /// Tells of an object and returns its key, if it has one.
    fn item(&mut self, item: Item, events: &mut Vec<Event>) -> Option<ObjectKey> {
        match item {
            Item::Object(object) => {
                let key = object.key();
                self.unreadable.remove(&key);
                // Replaced, because the new key shares its texts with the new object.
                self.told.replace(key.clone());
                events.push(Event::Changed(object));
                Some(key)
            }
            Item::Unreadable { key, reason } => {
                let known = key.as_ref().and_then(|key| self.unreadable.insert(key.clone(), reason.clone()));
                if known.as_ref() != Some(&reason) {
                    let holds = key.as_ref().is_some_and(|key| self.told.contains(key));
                    let consequence = if holds { "what it was before holds" } else { "it does not count" };
                    events.push(Event::Trouble(self.trouble(key.clone(), format!("{reason}; {consequence}"))));
                }
                key
            }
        }
    }

    fn gone(&mut self, key: ObjectKey, events: &mut Vec<Event>) {
        self.unreadable.remove(&key);
        if self.told.remove(&key) {
            events.push(Event::Deleted(key));
        }
    }

    /// A list is complete: what it does not hold is gone.
    fn listed(&mut self, version: String, events: &mut Vec<Event>) {
        let seen = std::mem::take(&mut self.seen);
        let missing: Vec<_> = self.told.difference(&seen).cloned().collect();
        self.unreadable.retain(|key, _| seen.contains(key));
        for key in missing {
            self.gone(key, events);
        }
        self.size = Size::Page;
        self.complete = Completeness::Listed;
        self.ask = Ask::Watch { since: version };
    }

    fn trouble(&self, object: Option<ObjectKey>, reason: String) -> Trouble {
        Trouble { place: self.place.clone(), line: None, object, reason }
    }
}

#[cfg(test)]
mod tests;
