//! The list and watch of one kind of objects, without a connection: what to ask next, and what each answer means.
//!
//! ```text
//!           ┌────── 410, an answer that cannot be read, several failures ──────┐
//!           ▼                                                                  │
//!   Stream (everything, then changes) ── all told ──────────────────► Watch since a version ◄─┐
//!      │ refused, or it never ends                                       ▲     └── ended, cut ┘
//!      └──────────► Page, Page, … ── the last one ───────────────────────┘
//! ```
//!
//! [`source::api`](super) is the source that has connections too. This module is for a program with an HTTP client of
//! its own: it sends [`ListWatch::request`], and hands over what comes back, bytes as the server sent them.
//!
//! ```
//! use switchyard_kubernetes::source::Event;
//! use switchyard_kubernetes::source::list_watch::{Completeness, ListWatch, Remedy, Resource};
//!
//! let mut services = ListWatch::new(Resource::services(), "my API server".to_owned());
//! assert!(services.request(300).starts_with("/api/v1/services?watch=true&"));
//!
//! let mut events = Vec::new();
//! services.line(br#"{"type":"ADDED","object":{"metadata":{"name":"web","namespace":"shop"}}}"#, &mut events)?;
//! services.line(
//!     br#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"812",
//!         "annotations":{"k8s.io/initial-events-end":"true"}}}}"#,
//!     &mut events,
//! )?;
//! assert!(matches!(&events[..], [Event::Changed(web)] if web.key().to_string() == "Service shop/web"));
//! assert_eq!(services.completeness(), Completeness::Listed);
//! assert!(services.request(300).contains("resourceVersion=812"));
//!
//! // A version that the server has forgotten: everything is listed again, and what is missing then is deleted.
//! let expired = br#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}"#;
//! let failure = services.line(expired, &mut events).unwrap_err();
//! assert_eq!(services.failed(&failure), Remedy::Later);
//! # Ok::<(), switchyard_kubernetes::source::list_watch::Failure>(())
//! ```
//!
//! **Invariants:** pure: no clock, no I/O. Of the objects only their keys are kept. What is not in a list is told to be
//! gone when the list is complete, never earlier (`tests::what_is_missing_is_gone_after_the_whole_list`).

mod answer;
mod json;
mod request;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use self::answer::{Answered, Initial, Line, Page};
use self::request::{Ask, Size};
use super::{Event, Trouble};
use crate::objects::ObjectKey;

pub use self::answer::Refusal;
pub use self::request::Resource;

/// How often in a row a watch may fail before everything is listed again: the server may refuse the version itself.
const STUMBLES: u32 = 3;

/// The state of the list and watch of one kind of objects.
#[derive(Debug)]
pub struct ListWatch {
    resource: Resource,
    /// Which API it is, for troubles.
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
    completeness: Completeness,
    /// Failures of a watch since it last told something.
    stumbles: u32,
}

/// Whether the server can stream a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Streaming {
    Untried,
    Refused,
}

/// How the next answer is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerForm {
    /// As one text, by [`ListWatch::page`].
    Page,
    /// Line by line as they come, by [`ListWatch::line`], and at the end [`ListWatch::ended`].
    Lines,
}

/// Whether everything that is there has been told once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completeness {
    /// Not yet.
    Listing,
    /// It has.
    Listed,
}

/// How a request, or its answer, failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// No server could be asked.
    #[error("{0}")]
    Unreachable(String),
    /// A server refuses.
    #[error("the server answers {0}")]
    Refused(Refusal),
    /// The answer broke off.
    #[error("the answer broke off")]
    Cut,
    /// Nothing came for too long.
    #[error("the server was silent for too long")]
    Silent,
    /// The answer cannot be read.
    #[error("{0}")]
    Nonsense(String),
}

/// What to do about a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Ask again at once: the request is another one now.
    Now,
    /// Ask again after a while; the failure was to be expected.
    Later,
    /// As `Later`, but not before this time is over. The API is away as long as this goes on.
    Away {
        /// Why, for an operator.
        reason: String,
        /// The least time to wait.
        not_before: Duration,
    },
    /// As `Later`; this kind of objects is not to be had until the cluster, or the rights of this client, change.
    Denied {
        /// Why, for an operator.
        reason: String,
    },
}

impl ListWatch {
    /// Nothing was asked yet. `place` names the API in troubles.
    pub fn new(resource: Resource, place: String) -> Self {
        Self {
            resource,
            place,
            ask: Ask::Stream,
            told: BTreeSet::new(),
            seen: BTreeSet::new(),
            unreadable: BTreeMap::new(),
            streaming: Streaming::Untried,
            size: Size::Page,
            completeness: Completeness::Listing,
            stumbles: 0,
        }
    }

    /// Which objects these are.
    pub fn resource(&self) -> &Resource {
        &self.resource
    }

    /// Path and query of what to ask now. A watch is to be ended by the server after `seconds`.
    pub fn request(&self, seconds: u64) -> String {
        self.resource.request(&self.ask, seconds)
    }

    /// How the answer to [`ListWatch::request`] is to be read.
    pub fn answer_form(&self) -> AnswerForm {
        match self.ask {
            Ask::Page { .. } => AnswerForm::Page,
            Ask::Stream | Ask::Watch { .. } => AnswerForm::Lines,
        }
    }

    /// Whether everything that is there has been told once.
    pub fn completeness(&self) -> Completeness {
        self.completeness
    }

    /// Goes on although this kind is denied: that counts as a complete list of nothing, but what was told holds.
    pub fn go_without(&mut self) {
        self.completeness = Completeness::Listed;
        self.list_again();
    }

    /// Another server is asked from now on, which may be able to stream where the former one was not.
    pub fn meet_another_server(&mut self) {
        self.streaming = Streaming::Untried;
    }

    /// A page has come: its whole text.
    ///
    /// # Errors
    /// [`Failure::Nonsense`].
    pub fn page(&mut self, text: &[u8], events: &mut Vec<Event>) -> Result<(), Failure> {
        let page = Page::read(self.resource.kind(), text).map_err(|error| Failure::Nonsense(error.to_string()))?;
        self.take_page(page, events);
        Ok(())
    }

    /// A line of a stream or watch has come.
    ///
    /// # Errors
    /// [`Failure::Nonsense`], and [`Failure::Refused`] where the line says that the watch fails.
    pub fn line(&mut self, text: &[u8], events: &mut Vec<Event>) -> Result<(), Failure> {
        match Line::read(self.resource.kind(), text) {
            Ok(line) => self.take_line(line, events),
            Err(error) => Err(Failure::Nonsense(format!("a line of a watch cannot be read: {error}"))),
        }
    }

    /// The server has ended a watch, as it does now and then. A stream must not end before everything was told.
    pub fn ended(&mut self) {
        if self.ask == Ask::Stream {
            self.stop_streaming();
        }
    }

    /// The answer to the last request failed.
    pub fn failed(&mut self, failure: &Failure) -> Remedy {
        match failure {
            Failure::Refused(refusal) => self.refused(refusal),
            Failure::Unreachable(reason) => {
                self.begin_again();
                Remedy::Away { reason: reason.clone(), not_before: Duration::ZERO }
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
                self.list_again();
                Remedy::Away { reason: reason.clone(), not_before: Duration::ZERO }
            }
        }
    }

    fn refused(&mut self, refusal: &Refusal) -> Remedy {
        match (refusal.code, &self.ask) {
            // The version, or the list that was begun, is too old (etcd was compacted).
            (410, Ask::Page { from: Some(_), .. }) => {
                // Pages were read too slowly: the next list is asked for as a whole.
                self.size = Size::Whole;
                self.streaming = Streaming::Refused;
                self.list_again();
                Remedy::Now
            }
            (410, _) => {
                self.list_again();
                Remedy::Later
            }
            // Not known to the server (before Kubernetes 1.32, by default), or not to its storage.
            (400 | 405 | 406 | 415 | 422 | 501, Ask::Stream) => {
                self.stop_streaming();
                Remedy::Now
            }
            (401 | 408 | 429, _) => {
                self.begin_again();
                away(refusal)
            }
            (500.., _) => {
                self.stumble();
                away(refusal)
            }
            _ => {
                self.list_again();
                Remedy::Denied { reason: refusal.to_string() }
            }
        }
    }

    /// Everything is listed again. What was told and is not in that list is gone once it is complete.
    fn list_again(&mut self) {
        self.seen.clear();
        self.ask = match self.streaming {
            Streaming::Untried => Ask::Stream,
            Streaming::Refused => Ask::Page { from: None, size: self.size },
        };
    }

    /// A watch goes on where it was; a list that was begun begins again.
    fn begin_again(&mut self) {
        if !matches!(self.ask, Ask::Watch { .. }) {
            self.list_again();
        }
    }

    fn stumble(&mut self) {
        self.stumbles += 1;
        if self.stumbles >= STUMBLES {
            self.stumbles = 0;
            self.list_again();
        } else {
            self.begin_again();
        }
    }

    fn stop_streaming(&mut self) {
        self.streaming = Streaming::Refused;
        self.list_again();
    }

    fn take_page(&mut self, page: Page, events: &mut Vec<Event>) {
        for item in page.items {
            if let Some(key) = self.tell(item, events) {
                self.seen.insert(key);
            }
        }
        match page.rest {
            Some(rest) => self.ask = Ask::Page { from: Some(rest), size: self.size },
            None => self.listed(page.version, events),
        }
    }

    fn take_line(&mut self, line: Line, events: &mut Vec<Event>) -> Result<(), Failure> {
        let version = match line {
            Line::Changed { item, version } => {
                let key = self.tell(item, events);
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

    /// Tells of an object and returns its key, if it has one.
    fn tell(&mut self, item: Answered, events: &mut Vec<Event>) -> Option<ObjectKey> {
        match item {
            Answered::Object(object) => {
                let key = object.key();
                self.unreadable.remove(&key);
                // Replaced, because the new key shares its texts with the new object.
                self.told.replace(key.clone());
                events.push(Event::Changed(object));
                Some(key)
            }
            Answered::Unreadable { key, reason } => {
                let known = key.as_ref().and_then(|key| self.unreadable.insert(key.clone(), reason.clone()));
                if known.as_ref() != Some(&reason) {
                    let holds = key.as_ref().is_some_and(|key| self.told.contains(key));
                    let consequence = if holds { "its last good state is kept" } else { "it is ignored" };
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
        self.completeness = Completeness::Listed;
        self.ask = Ask::Watch { since: version };
    }

    fn trouble(&self, object: Option<ObjectKey>, reason: String) -> Trouble {
        Trouble { place: self.place.clone(), line: None, object, reason }
    }
}

fn away(refusal: &Refusal) -> Remedy {
    Remedy::Away { reason: format!("it answers {refusal}"), not_before: refusal.retry_after.unwrap_or_default() }
}

#[cfg(test)]
mod tests;
