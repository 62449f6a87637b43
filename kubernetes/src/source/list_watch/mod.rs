//! The list and watch of one kind of objects, without a connection: what to ask next, and what each answer means.
//!
//! ```text
//!           ┌────── 410, an answer that cannot be read, several failures, a version that went back ───┐
//!           ▼                                                                                          │
//!   Stream (everything, then changes) ── all told ─────────────────► Watch since a version ── broken ─► Check
//!      │ refused, never ends, breaks off                               ▲   ▲  └─ ended ─┘                │
//!      └──────────► Page, Page, … ── the last one ─────────────────────┘   └───── one object, today ─────┘
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
//! gone when the list is complete, never earlier (`tests::what_is_missing_is_gone_after_the_whole_list`). What a server
//! sends has bounds: [`LONGEST_LINE`], [`ListWatch::longest_page`], a million objects, 1 GiB of one kind.

mod answer;
mod failure;
mod json;
mod request;
mod told;

use self::answer::{Initial, Line, Page, Versions, beginning, short};
use self::request::{Ask, Fields, Size};
use self::told::Told;
use super::{Event, Trouble};

pub use self::answer::Refusal;
pub use self::failure::{Failure, Remedy};
pub use self::request::Resource;

/// The longest line, and the longest object, that has to be taken, in bytes. etcd refuses objects above 1.5 MiB; as
/// JSON they may be some times longer.
pub const LONGEST_LINE: usize = 8 << 20;

/// The longest page; one that is longer is asked for with fewer objects.
const LONGEST_PAGE: usize = 32 << 20;

/// The longest list in one answer.
const LONGEST_LIST: usize = 512 << 20;

/// How often in a row a watch may fail before everything is listed again: the server may refuse the version itself.
const STUMBLES: u32 = 3;

/// How often in a row a streamed list may fail before it is read in pages: a proxy may cut what lasts long.
const BROKEN_STREAMS: u32 = 3;

/// The state of the list and watch of one kind of objects.
#[derive(Debug)]
pub struct ListWatch {
    resource: Resource,
    ask: Ask,
    told: Told,
    streaming: Streaming,
    fields: Fields,
    size: Size,
    completeness: Completeness,
    /// Failures of a watch since it last told something.
    stumbles: u32,
    /// Failures of a streamed list since there was a whole one.
    broken_streams: u32,
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

impl ListWatch {
    /// Nothing was asked yet. `place` names the API in troubles.
    pub fn new(resource: Resource, place: String) -> Self {
        Self {
            resource,
            ask: Ask::Stream,
            told: Told::new(place),
            streaming: Streaming::Untried,
            fields: Fields::All,
            size: Size::PAGE,
            completeness: Completeness::Listing,
            stumbles: 0,
            broken_streams: 0,
        }
    }

    /// Which objects these are.
    pub fn resource(&self) -> &Resource {
        &self.resource
    }

    /// Path and query of what to ask now. A watch is to be ended by the server after `seconds`.
    pub fn request(&self, seconds: u64) -> String {
        self.resource.request(&self.ask, self.fields, seconds)
    }

    /// How the answer to [`ListWatch::request`] is to be read.
    pub fn answer_form(&self) -> AnswerForm {
        match self.ask {
            Ask::Page { .. } | Ask::Check { .. } => AnswerForm::Page,
            Ask::Stream | Ask::Watch { .. } => AnswerForm::Lines,
        }
    }

    /// How many bytes a page may be; what is longer is a [`Failure::TooLong`], and need not be read to its end.
    pub fn longest_page(&self) -> usize {
        match self.ask {
            Ask::Page { size: Size::Whole, .. } => LONGEST_LIST,
            Ask::Check { .. } => LONGEST_LINE,
            _ => LONGEST_PAGE,
        }
    }

    /// Whether everything that is there has been told once.
    pub fn completeness(&self) -> Completeness {
        self.completeness
    }

    /// Whether all that is there has been told, and changes are asked for.
    pub fn is_current(&self) -> bool {
        matches!(self.ask, Ask::Watch { .. })
    }

    /// Goes on although this kind is denied: that counts as a complete list of nothing, but what was told holds.
    pub fn go_without(&mut self) {
        self.completeness = Completeness::Listed;
        self.list_again();
    }

    /// Another server is asked from now on, which may be able to do what the former one was not.
    pub fn meet_another_server(&mut self) {
        self.streaming = Streaming::Untried;
        self.fields = Fields::All;
        self.size = Size::PAGE;
        self.broken_streams = 0;
    }

    /// A page has come: its whole text.
    ///
    /// # Errors
    /// [`Failure::Nonsense`], [`Failure::TooLong`].
    pub fn page(&mut self, text: &[u8], events: &mut Vec<Event>) -> Result<(), Failure> {
        let kind = self.resource.kind();
        let page = Page::read(kind, text).map_err(|error| {
            let (kind, reason) = (kind.as_str(), short(&error.to_string()));
            Failure::Nonsense(format!("the answer is no {kind}List: {reason}; it begins with {}", beginning(text)))
        })?;
        match &self.ask {
            Ask::Check { since } => {
                let order = check_order(since, &page.version);
                self.ask = Ask::Watch { since: since.clone() };
                order.inspect_err(|_| self.list_again())
            }
            _ => self.take_page(page, events),
        }
    }

    /// A line of a stream or watch has come.
    ///
    /// # Errors
    /// [`Failure::Nonsense`], [`Failure::TooLong`], and [`Failure::Refused`] where the line says that the watch fails.
    pub fn line(&mut self, text: &[u8], events: &mut Vec<Event>) -> Result<(), Failure> {
        let versions = if self.is_current() { Versions::Read } else { Versions::Skipped };
        match Line::read(self.resource.kind(), text, versions) {
            Ok(line) => self.take_line(line, events),
            Err(error) => {
                let (reason, came) = (short(&error.to_string()), beginning(text));
                Err(Failure::Nonsense(format!("a line of a watch cannot be read: {reason}; it begins with {came}")))
            }
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
                // Perhaps it is another version that comes back.
                self.meet_another_server();
                self.begin_again();
                Remedy::away(reason)
            }
            Failure::Unauthorized(reason) => {
                self.begin_again();
                Remedy::away(reason)
            }
            Failure::Silent if self.ask == Ask::Stream => {
                // It began, so the server is there. Some never say that everything was told.
                self.stop_streaming();
                Remedy::Later
            }
            Failure::Cut | Failure::Silent => self.broken_off(failure),
            Failure::Nonsense(reason) | Failure::TooLong(reason) => {
                self.broken_stream();
                if matches!(failure, Failure::TooLong(_)) {
                    self.size = self.size.smaller();
                }
                if !matches!(self.ask, Ask::Check { .. }) {
                    self.list_again();
                }
                Remedy::away(reason)
            }
        }
    }

    /// An answer that had begun came to no end.
    fn broken_off(&mut self, failure: &Failure) -> Remedy {
        match self.ask {
            Ask::Stream => {
                if !self.broken_stream() {
                    return Remedy::Later;
                }
                self.list_again();
                Remedy::away(&format!(
                    "{failure}, {BROKEN_STREAMS} times in the middle of a list; asking for it in pages"
                ))
            }
            Ask::Page { .. } => {
                self.size = self.size.smaller();
                self.list_again();
                Remedy::away(&format!("{failure} in the middle of a page of a list"))
            }
            Ask::Check { .. } => Remedy::away(&failure.to_string()),
            Ask::Watch { .. } => {
                if !self.stumble() {
                    return Remedy::Later;
                }
                Remedy::away(&format!("{failure}, {STUMBLES} times at the begin of a watch; listing again"))
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
            // Before Kubernetes 1.31.
            (400, _) if self.fields == Fields::All && self.resource.has_new_fields() => {
                self.fields = Fields::Old;
                Remedy::Now
            }
            // Not known to the server (before Kubernetes 1.32, by default), or not to its storage.
            (400 | 405 | 406 | 415 | 422 | 501, Ask::Stream) => {
                self.stop_streaming();
                Remedy::Now
            }
            (401 | 408 | 429, _) => {
                self.begin_again();
                Remedy::refused(refusal)
            }
            (500.., Ask::Watch { .. }) => {
                self.stumble();
                Remedy::refused(refusal)
            }
            (500.., _) => {
                self.begin_again();
                Remedy::refused(refusal)
            }
            (404, _) => {
                self.list_again();
                Remedy::Unknown { reason: refusal.to_string() }
            }
            _ => {
                self.list_again();
                Remedy::Denied { reason: refusal.to_string() }
            }
        }
    }

    /// Everything is listed again. What was told and is not in that list is gone once it is complete.
    fn list_again(&mut self) {
        self.told.list_begins();
        self.ask = match self.streaming {
            Streaming::Untried => Ask::Stream,
            Streaming::Refused => Ask::Page { from: None, size: self.size },
        };
    }

    /// A watch goes on where it was, if the server has not gone back; a list that was begun begins again.
    fn begin_again(&mut self) {
        match &mut self.ask {
            Ask::Watch { since } | Ask::Check { since } => self.ask = Ask::Check { since: std::mem::take(since) },
            Ask::Stream | Ask::Page { .. } => self.list_again(),
        }
    }

    /// A watch failed. Whether that was once too often, so that everything is listed again.
    fn stumble(&mut self) -> bool {
        self.stumbles += 1;
        let too_often = self.stumbles >= STUMBLES;
        if too_often {
            self.stumbles = 0;
            self.list_again();
        } else {
            self.begin_again();
        }
        too_often
    }

    /// A streamed list failed, if it is one. Whether that was once too often, so that the next one is read in pages.
    fn broken_stream(&mut self) -> bool {
        if self.ask != Ask::Stream {
            return false;
        }
        self.told.list_begins();
        self.broken_streams += 1;
        if self.broken_streams >= BROKEN_STREAMS {
            self.streaming = Streaming::Refused;
        }
        self.streaming == Streaming::Refused
    }

    fn stop_streaming(&mut self) {
        self.streaming = Streaming::Refused;
        self.list_again();
    }

    fn take_page(&mut self, page: Page, events: &mut Vec<Event>) -> Result<(), Failure> {
        let mut has_news = false;
        for item in page.items {
            if let Some(key) = self.told.tell(item, events)? {
                has_news |= self.told.see(key)?;
            }
        }
        match page.rest {
            // A list that goes on so may go on for ever.
            Some(_) if !has_news => {
                return Err(Failure::Nonsense("a page of a list holds nothing new, and is not the last one".into()));
            }
            Some(rest) => self.ask = Ask::Page { from: Some(rest), size: self.size },
            None => self.listed(page.version, events),
        }
        Ok(())
    }

    fn take_line(&mut self, line: Line, events: &mut Vec<Event>) -> Result<(), Failure> {
        let version = match line {
            Line::Changed { item, version } => {
                let key = self.told.tell(item, events)?;
                if let (Ask::Stream, Some(key)) = (&self.ask, key) {
                    self.told.see(key)?;
                }
                version
            }
            Line::Deleted { key, version } => {
                self.told.gone(&key, events);
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
            check_order(since, &version)?;
            *since = version;
        }
        Ok(())
    }

    /// A list is complete: what it does not hold is gone.
    fn listed(&mut self, version: String, events: &mut Vec<Event>) {
        self.told.list_ends(events);
        if self.size == Size::Whole {
            self.size = Size::PAGE;
        }
        self.broken_streams = 0;
        self.completeness = Completeness::Listed;
        self.ask = Ask::Watch { since: version };
    }
}

/// Versions of one kind only rise (they are numbers, KEP-5504), but for a storage that is restored from a backup: what
/// was told is of another time then.
fn check_order(told: &str, now: &str) -> Result<(), Failure> {
    match (told.parse::<u64>(), now.parse::<u64>()) {
        (Ok(before), Ok(after)) if after < before => Err(Failure::Nonsense(format!(
            "the server's resourceVersion went back from {before} to {after}, as if its storage was restored; listing again"
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
