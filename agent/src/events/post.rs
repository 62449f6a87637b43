//! Posts notices as events.k8s.io/v1 Events.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use super::{Notice, Rate, RateLimiter, Severity, Subject, Uids};
use crate::log::escaped;
use kubernetes::settings::NodeName;

/// How long the API may take for one event; meanwhile other notices wait in the outbox.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much is logged of an error, in which a server can say what it likes.
const ERROR: usize = 300;
/// The API's limit for `note`, in bytes (events.k8s.io/v1: 1 KiB).
const NOTE: usize = 1024;

/// Posts `notices` as events of `node` and of services, until every outbox is dropped.
pub async fn post(mut notices: mpsc::Receiver<Notice>, client: Client, node: NodeName, uids: Uids) {
    let reporter = Reporter { controller: "switchyard".to_owned(), instance: Some(node.as_str().to_owned()) };
    let recorder = Recorder::new(client, reporter);
    let mut limiter = RateLimiter::new(Rate::default(), Instant::now());
    let mut failing = false;
    while let Some(notice) = notices.recv().await {
        if !limiter.admits(&notice, Instant::now()) {
            continue;
        }
        let regarding = reference(&notice.subject(), &node, &uids);
        let posted = match timeout(PATIENCE, recorder.publish(&event(&notice), &regarding)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(bounded(&error.to_string())),
            Err(_) => Err(format!("no answer within {PATIENCE:?}")),
        };
        match &posted {
            Ok(()) if failing => info!("events are posted again"),
            Ok(()) => {}
            Err(error) if failing => debug!(%notice, error, "event dropped"),
            Err(error) => {
                warn!(%notice, error, "event dropped: the API server did not accept it; until it does, further ones are logged at debug level")
            }
        }
        failing = posted.is_err();
    }
}

fn event(notice: &Notice) -> Event {
    // People read it on a terminal.
    let mut note = escaped(notice);
    let fits = note.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= NOTE).last();
    note.truncate(fits.unwrap_or(0));
    Event {
        type_: match notice.severity() {
            Severity::Normal => EventType::Normal,
            Severity::Warning => EventType::Warning,
        },
        reason: notice.reason().to_owned(),
        note: Some(note),
        action: notice.action().to_owned(),
        secondary: None,
    }
}

/// One line of at most [`ERROR`] characters.
fn bounded(error: &str) -> String {
    error.chars().take(ERROR).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn reference(subject: &Subject, node: &NodeName, uids: &Uids) -> ObjectReference {
    match subject {
        Subject::ThisNode => ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Node".to_owned()),
            name: Some(node.as_str().to_owned()),
            // By custom of kubelet and kube-proxy; `kubectl describe node` asks for it.
            uid: Some(node.as_str().to_owned()),
            ..ObjectReference::default()
        },
        Subject::Service(service) => ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Service".to_owned()),
            namespace: Some(service.namespace.to_string()),
            name: Some(service.name.to_string()),
            uid: uids.of(service).map(|uid| uid.to_string()),
            ..ObjectReference::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_one_short_line() {
        assert_eq!(bounded("no\n\u{1b}[31mforged"), "no  [31mforged");
        assert_eq!(bounded(&"x".repeat(10_000_000)).len(), ERROR);
    }

    #[test]
    fn a_note_is_one_line_that_fits_whatever_the_reason_holds() {
        let note = |reason: &str| event(&Notice::BackendUnavailable { reason: reason.to_owned() }).note.unwrap();
        assert_eq!(note("a\nb\u{1b}[2J\u{202e}"), "a\\nb\\u{1b}[2J\\u{202e}");
        assert_eq!(note(&"é".repeat(NOTE)).len(), NOTE);
    }
}
