//! Reads what the API answers: pages of lists, lines of watches, refusals.
//!
//! **Invariant:** objects become our own slim types at once; nothing is kept as a JSON value.

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeSeed;

use super::json::{fields, lenient};
use crate::objects::{Kind, Object, ObjectKey};

/// How many characters of what a server says are kept.
const LONGEST_WORDS: usize = 500;

/// How many bytes of an answer that makes no sense are shown.
const SHOWN: usize = 80;

/// A part of a list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) items: Vec<Answered>,
    /// The version that the list shows.
    pub(super) version: String,
    /// Where the next part begins, if there is one.
    pub(super) rest: Option<String>,
}

/// What stands in the place of an object.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) item: Item,
    /// How long its text is.
    pub(super) length: usize,
}

/// An object, or none.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    Object(Object),
    Unreadable { key: Option<ObjectKey>, reason: String },
}

/// A line of a watch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// This object is there, or is another than before.
    Changed { item: Answered, version: Option<String> },
    /// This one is gone.
    Deleted { key: ObjectKey, version: Option<String> },
    /// Everything before this version has been told.
    Bookmark { version: String, initial: Initial },
    /// The watch fails.
    Error(Refusal),
    /// A kind of line that did not exist when this was written.
    Unknown,
}

/// Whether the versions of objects are read, which takes a second look at their text. A list has one of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Versions {
    Read,
    Skipped,
}

/// What a bookmark says of the objects that were there at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Initial {
    /// Nothing.
    Unsaid,
    /// Every one has been told.
    Complete,
}

/// Why the API does not do what was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// The HTTP status.
    pub code: u16,
    /// In words, for a log.
    pub message: String,
    /// The least time to wait before the next request, if the server says one.
    pub retry_after: Option<Duration>,
}

/// What every object says of itself, our slim types or not.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Outline {
    metadata: OutlineMetadata,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct OutlineMetadata {
    namespace: String,
    name: String,
    resource_version: Option<String>,
    annotations: Option<OutlineAnnotations>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OutlineAnnotations {
    #[serde(rename = "k8s.io/initial-events-end")]
    initial_events_end: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ListMetadata {
    resource_version: String,
    r#continue: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    code: u16,
    message: Option<String>,
    reason: Option<String>,
    details: Option<Details>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Details {
    retry_after_seconds: Option<u64>,
}

impl Page {
    /// Reads a list's text. What does not say that it is such a list, and of which version, is none: an empty one would
    /// delete everything.
    pub(super) fn read(kind: Kind, text: &[u8]) -> Result<Self, serde_json::Error> {
        let (mut said, mut metadata, mut list) = (None, None, None);
        fields(text, |name, rest| {
            match name {
                "kind" => said = Some(rest.value()?),
                "metadata" => metadata = Some(rest.value()?),
                "items" => {
                    let items = list.insert(Vec::new());
                    rest.items(|item| items.push(Answered::read(kind, item)))?;
                }
                _ => drop(rest.value()?),
            }
            Ok(())
        })?;
        let expected = format!("{}List", kind.as_str());
        if lenient::<String>(said)? != expected {
            return Err(serde::de::Error::custom(format!("kind is not {expected}")));
        }
        let ListMetadata { resource_version: version, r#continue } = lenient(metadata)?;
        if version.is_empty() {
            return Err(serde::de::Error::custom("no metadata.resourceVersion"));
        }
        let items = list.ok_or_else(|| serde::de::Error::custom("no items"))?;
        Ok(Self { items, version, rest: r#continue.filter(|rest| !rest.is_empty()) })
    }
}

impl Answered {
    fn read(kind: Kind, text: &[u8]) -> Self {
        let item = match object(kind, text) {
            Ok(object) => Item::Object(object),
            Err(error) => {
                let key = outline(text).ok().and_then(|outline| outline.key(kind));
                Item::Unreadable { key, reason: short(&error.to_string()) }
            }
        };
        Self { item, length: text.len() }
    }
}

impl Line {
    /// Reads a line's text.
    pub(super) fn read(kind: Kind, text: &[u8], versions: Versions) -> Result<Self, serde_json::Error> {
        if let Some((object, told)) = plain_change(kind, text) {
            let item = Answered { item: Item::Object(object), length: told.len() };
            return Ok(Self::Changed { item, version: versions.of(told)? });
        }
        let (mut what, mut told) = (None, None);
        fields(text, |name, rest| {
            let value = rest.value()?;
            match name {
                "type" => what = Some(value),
                "object" => told = Some(value),
                _ => {}
            }
            Ok(())
        })?;
        let what: String = lenient(what)?;
        let told = told.ok_or_else(|| serde::de::Error::custom("no object"))?;
        Ok(match what.as_str() {
            "ADDED" | "MODIFIED" => Self::Changed { item: Answered::read(kind, told), version: versions.of(told)? },
            "DELETED" => {
                let deleted = outline(told)?;
                let key = deleted.key(kind).ok_or_else(|| serde::de::Error::custom("no metadata.name"))?;
                Self::Deleted { key, version: deleted.metadata.resource_version }
            }
            "BOOKMARK" => {
                let metadata = outline(told)?.metadata;
                let version = metadata.resource_version.filter(|version| !version.is_empty());
                let version = version.ok_or_else(|| serde::de::Error::custom("a bookmark without a version"))?;
                let ends = metadata.annotations.and_then(|annotations| annotations.initial_events_end);
                let initial = if ends.as_deref() == Some("true") { Initial::Complete } else { Initial::Unsaid };
                Self::Bookmark { version, initial }
            }
            "ERROR" => Self::Error(Refusal::read(0, told)),
            _ => Self::Unknown,
        })
    }
}

impl Versions {
    fn of(self, object: &[u8]) -> Result<Option<String>, serde_json::Error> {
        match self {
            Self::Read => Ok(outline(object)?.metadata.resource_version),
            Self::Skipped => Ok(None),
        }
    }
}

impl Refusal {
    /// Reads a v1 Status, or any other text that came with the HTTP status `code`; with code 0 the text's own counts.
    pub fn read(code: u16, text: &[u8]) -> Self {
        let status: Status = serde_json::from_slice(text).unwrap_or_default();
        let code = if code == 0 { status.code } else { code };
        let said = status.message.filter(|message| !message.is_empty()).or(status.reason);
        let message = said.map_or_else(|| first_line(text), |said| short(&said));
        let seconds = status.details.and_then(|details| details.retry_after_seconds);
        Self { code, message, retry_after: seconds.map(Duration::from_secs) }
    }
}

impl Outline {
    fn key(&self, kind: Kind) -> Option<ObjectKey> {
        let OutlineMetadata { namespace, name, .. } = &self.metadata;
        (!name.is_empty()).then(|| ObjectKey { kind, namespace: namespace.as_str().into(), name: name.as_str().into() })
    }
}

/// `403: services is forbidden`.
impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

/// The beginning of what cannot be read, for a log.
pub(super) fn beginning(text: &[u8]) -> String {
    let text = text.trim_ascii_start();
    let shown = &text[..text.len().min(SHOWN)];
    let more = if text.len() > SHOWN { "…" } else { "" };
    format!("\"{}{more}\"", String::from_utf8_lossy(shown).escape_debug())
}

/// Proxies before an API server answer in prose: its first line is enough.
fn first_line(text: &[u8]) -> String {
    let start = &text[..text.len().min(LONGEST_WORDS)];
    short(String::from_utf8_lossy(start).lines().next().unwrap_or_default())
}

/// What another program says, as long as a log can bear it.
pub(super) fn short(text: &str) -> String {
    match text.char_indices().nth(LONGEST_WORDS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The object of a line in the form in which API servers print it, and its text. Any other line, and an object that
/// cannot be read, is looked at field by field: that takes as long again.
fn plain_change(kind: Kind, text: &[u8]) -> Option<(Object, &[u8])> {
    let starts = [br#"{"type":"ADDED","object":"#.as_slice(), br#"{"type":"MODIFIED","object":"#];
    let told = starts.into_iter().find_map(|start| text.strip_prefix(start))?;
    let told = told.trim_ascii_end().strip_suffix(b"}")?;
    Some((object(kind, told).ok()?, told))
}

fn outline(text: &[u8]) -> Result<Outline, serde_json::Error> {
    serde_json::from_slice(text)
}

fn object(kind: Kind, text: &[u8]) -> Result<Object, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_slice(text);
    let object = kind.deserialize(&mut json)?;
    json.end()?;
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey { kind: Kind::Service, namespace: "shop".into(), name: name.into() }
    }

    #[test]
    fn a_page_is_its_items_a_version_and_what_follows() {
        let text = r#"{"kind":"ServiceList","apiVersion":"v1",
            "metadata":{"resourceVersion":"812","continue":"abc","remainingItemCount":4},
            "items":[{"metadata":{"name":"a","namespace":"shop","managedFields":[{"fieldsV1":{"f:spec":{}}}]},
                      "spec":{"clusterIP":"10.96.0.1"}},
                     {"metadata":{"name":"b","namespace":"shop"},"spec":{"ports":7}},
                     {"metadata":{"name":"c","namespace":"shop"}}]}"#;
        let page = Page::read(Kind::Service, text.as_bytes()).unwrap();
        assert_eq!((page.version.as_str(), page.rest.as_deref()), ("812", Some("abc")));
        let keys: Vec<_> = page
            .items
            .iter()
            .map(|answered| match &answered.item {
                Item::Object(object) => Ok(object.key()),
                Item::Unreadable { key, reason } => {
                    assert!(reason.contains("invalid type: integer `7`"), "{reason}");
                    Err(key.clone())
                }
            })
            .collect();
        assert_eq!(keys, [Ok(key("a")), Err(Some(key("b"))), Ok(key("c"))]);
    }

    #[test]
    fn the_last_page_has_no_rest_and_an_empty_list_no_items() {
        let text = br#"{"kind":"NodeList","metadata":{"resourceVersion":"9","continue":""},"items":null}"#;
        let page = Page::read(Kind::Node, text).unwrap();
        assert_eq!(page, Page { items: vec![], version: "9".into(), rest: None });
    }

    #[test]
    fn what_does_not_say_that_it_is_a_list_of_some_version_is_none() {
        for text in [
            "",
            "{}",
            "null",
            "<html>",
            r#"{"items":[]}"#,
            r#"{"metadata":{"resourceVersion":"9"},"items":[]}"#,
            r#"{"kind":"NodeList","metadata":{},"items":[]}"#,
            r#"{"kind":"NodeList","metadata":{"resourceVersion":""},"items":[]}"#,
            r#"{"kind":"NodeList","metadata":{"resourceVersion":"9"}}"#,
            r#"{"kind":"ServiceList","metadata":{"resourceVersion":"9"},"items":[]}"#,
        ] {
            assert!(Page::read(Kind::Node, text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn what_a_server_says_is_kept_short_and_escaped() {
        let status = format!(r#"{{"kind":"Status","message":"{}"}}"#, "no ".repeat(1 << 20));
        assert!(Refusal::read(403, status.as_bytes()).message.len() < 600);
        assert!(Refusal::read(502, "ä".repeat(1 << 20).as_bytes()).message.len() < 1100);
        assert_eq!(beginning(b"\n <html>\x1b[31m\n"), r#""<html>\u{1b}[31m\n""#);
        assert!(beginning(&[0xff; 1 << 20]).len() < 400);
        let text = format!(r#"{{"metadata":{{"name":"a"}},"spec":"{}"}}"#, "x".repeat(1 << 20));
        let Item::Unreadable { reason, .. } = Answered::read(Kind::Service, text.as_bytes()).item else { panic!() };
        assert!(reason.len() < 600);
    }

    fn line(text: &str) -> Line {
        let [plain, other] = [text.to_owned(), format!(" {text}")]
            .map(|text| Line::read(Kind::Service, text.as_bytes(), Versions::Read).unwrap());
        assert_eq!(plain, other);
        plain
    }

    #[test]
    fn lines_say_what_happened() {
        let object =
            r#"{"kind":"Service","apiVersion":"v1","metadata":{"name":"a","namespace":"shop","resourceVersion":"5"}}"#;
        for what in ["ADDED", "MODIFIED"] {
            let Line::Changed { item: Answered { item: Item::Object(object), .. }, version } =
                line(&format!(r#"{{"type":"{what}","object":{object}}}"#))
            else {
                panic!("{what}")
            };
            assert_eq!((object.key(), version.as_deref()), (key("a"), Some("5")));
        }
        let deleted = Line::Deleted { key: key("a"), version: Some("5".into()) };
        assert_eq!(line(&format!(r#"{{"type":"DELETED","object":{object}}}"#)), deleted);
        assert_eq!(line(r#"{"type":"SPARKLE","object":{}}"#), Line::Unknown);
    }

    #[test]
    fn what_follows_an_object_counts() {
        let object = r#"{"metadata":{"name":"a","namespace":"shop"}}"#;
        let deleted = line(&format!(r#"{{"type":"ADDED","object":{object},"type":"DELETED"}}"#));
        assert_eq!(deleted, Line::Deleted { key: key("a"), version: None });
        let text = format!(r#"{{"type":"ADDED","object":{object}"#);
        assert!(Line::read(Kind::Service, text.as_bytes(), Versions::Skipped).is_err());
    }

    #[test]
    fn a_list_reads_no_versions_of_its_objects() {
        let text = br#"{"type":"ADDED","object":{"metadata":{"name":"a","namespace":"shop","resourceVersion":"5"}}}"#;
        let Line::Changed { version, .. } = Line::read(Kind::Service, text, Versions::Skipped).unwrap() else {
            panic!()
        };
        assert_eq!(version, None);
    }

    #[test]
    fn a_bookmark_may_say_that_everything_was_told() {
        let bookmark = |annotations: &str| {
            line(&format!(r#"{{"type":"BOOKMARK","object":{{"metadata":{{"resourceVersion":"8"{annotations}}}}}}}"#))
        };
        let expected = |initial| Line::Bookmark { version: "8".into(), initial };
        assert_eq!(bookmark(""), expected(Initial::Unsaid));
        assert_eq!(bookmark(r#","annotations":null"#), expected(Initial::Unsaid));
        let ends = r#","annotations":{"k8s.io/initial-events-end":"true"}"#;
        assert_eq!(bookmark(ends), expected(Initial::Complete));
    }

    #[test]
    fn a_line_that_cannot_be_read_still_names_its_object() {
        let text = r#"{"type":"MODIFIED","object":{"metadata":{"name":"a","namespace":"shop","resourceVersion":"6"},"spec":{"ports":{}}}}"#;
        let Line::Changed { item: Answered { item: Item::Unreadable { key: named, .. }, .. }, version } = line(text)
        else {
            panic!()
        };
        assert_eq!((named, version.as_deref()), (Some(key("a")), Some("6")));
    }

    #[test]
    fn refusals_are_read_from_a_status_or_from_prose() {
        let status = br#"{"kind":"Status","status":"Failure","message":"too many requests","reason":"TooManyRequests",
            "details":{"retryAfterSeconds":3},"code":429}"#;
        let expected =
            Refusal { code: 429, message: "too many requests".into(), retry_after: Some(Duration::from_secs(3)) };
        assert_eq!(Refusal::read(0, status), expected);
        assert_eq!(Refusal::read(502, b"Bad Gateway\n<html>").to_string(), "502: Bad Gateway");
        let Line::Error(refusal) = line(r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}"#)
        else {
            panic!()
        };
        assert_eq!(refusal.to_string(), "410: Expired");
    }
}
