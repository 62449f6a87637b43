//! Watches: what is there, what happens, how far that is.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Duration, Instant, sleep, sleep_until};

use super::refusals::Refused;
use super::requests::{Begins, WantedWatch, invalid};
use super::selector::Selector;
use super::store::{Change, Resource, Stored, bookmark};
use super::{Expires, Offered, Shared, State};

/// The version that its first events come to, and those.
type Beginning = (u64, VecDeque<String>);

/// A watch that is open.
struct Watch {
    shared: Arc<Shared>,
    news: watch::Receiver<u64>,
    serial: u64,
    resource: Resource,
    selector: Selector,
    /// Told until this version.
    version: u64,
    /// How many interjections were there before.
    interjected: usize,
    lines: VecDeque<String>,
    bookmark: Option<Instant>,
    ends: Option<Instant>,
    /// Whether it breaks off after its first lines.
    breaks: bool,
}

/// Begins a watch.
pub(super) fn watch(shared: Arc<Shared>, wanted: WantedWatch) -> Result<Response, Refused> {
    let WantedWatch { resource, selector, begins, bookmarks, seconds } = wanted;
    let news = shared.news.subscribe();
    let mut state = shared.state();
    let (version, lines) = begin(&state, resource, &selector, begins)?;
    let breaks = begins == Begins::WithList && state.abilities.streams == Offered::Broken;
    state.served += 1;
    let serial = state.served;
    state.watches.push((serial, resource));
    let now = Instant::now();
    let watch = Watch {
        news,
        serial,
        resource,
        selector,
        version,
        interjected: state.interjections.len(),
        lines,
        bookmark: bookmarks.then(|| now + state.abilities.bookmarks),
        ends: seconds.map(|seconds| now + Duration::from_secs(seconds)),
        shared: shared.clone(),
        breaks,
    };
    drop(state);
    let lines = stream::unfold(watch, |mut watch| async move {
        if watch.breaks && watch.lines.is_empty() {
            // When what came before is on its way.
            sleep(Duration::from_millis(10)).await;
            return Some((Err(io::Error::from(io::ErrorKind::ConnectionReset)), watch));
        }
        let lines = watch.next().await?;
        Some((Ok(Bytes::from(lines)), watch))
    });
    let mut response = Response::new(Body::from_stream(lines));
    let json = "application/json".parse().expect("a header's value");
    response.headers_mut().insert(CONTENT_TYPE, json);
    Ok(response)
}

fn begin(state: &State, resource: Resource, selector: &Selector, begins: Begins) -> Result<Beginning, Refused> {
    let latest = state.store.version();
    match begins {
        Begins::WithList if state.abilities.streams == Offered::No => {
            Err(invalid("sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"))
        }
        Begins::WithList if matches!(state.abilities.streams, Offered::Endless | Offered::Broken) => {
            Ok((latest, additions(state, resource, selector).collect()))
        }
        Begins::WithList => {
            let end = json!({"k8s.io/initial-events-end": "true"});
            let end = bookmark(resource, latest, &end).to_string();
            Ok((latest, additions(state, resource, selector).chain([end]).collect()))
        }
        Begins::WithObjects => Ok((latest, additions(state, resource, selector).collect())),
        Begins::Since(version) if version > latest => {
            Err(Refused::new(504, "Timeout", format!("Too large resource version: {version}, current: {latest}")))
        }
        Begins::Since(version) if state.store.knows(version) => Ok((version, VecDeque::new())),
        Begins::Since(version) => {
            let refused = Refused::expired(format!("too old resource version: {version} ({latest})"));
            match state.abilities.expires {
                Expires::AtOnce => Err(refused),
                Expires::InWatch => {
                    let line = json!({"type": "ERROR", "object": refused.printed()}).to_string();
                    Ok((u64::MAX, VecDeque::from([line])))
                }
            }
        }
    }
}

/// For each object that the selector chooses now, the line that adds it.
fn additions(state: &State, resource: Resource, selector: &Selector) -> impl Iterator<Item = String> {
    let objects = state.store.at(resource, state.store.version()).into_values();
    objects.filter(|stored| selector.chooses(&stored.value)).map(|stored| told("ADDED", &stored))
}

impl Watch {
    /// The next lines, or `None` at its end.
    async fn next(&mut self) -> Option<String> {
        loop {
            self.news.borrow_and_update();
            self.look()?;
            if !self.lines.is_empty() {
                let lines = self.lines.drain(..).flat_map(|line| [line, "\n".to_owned()]);
                return Some(lines.collect());
            }
            tokio::select! {
                changed = self.news.changed() => changed.ok()?,
                () = until(self.bookmark) => {
                    let mut state = self.shared.state();
                    state.bookmarks += 1;
                    self.version = state.store.version().max(self.version);
                    self.bookmark = Some(Instant::now() + state.abilities.bookmarks);
                    self.lines.push_back(bookmark(self.resource, self.version, &Value::Null).to_string());
                }
                () = until(self.ends) => return None,
            }
        }
    }

    /// Takes what has happened; `None` if it cannot be known any more.
    fn look(&mut self) -> Option<()> {
        if self.version == u64::MAX {
            // It was an error; that told, it ends.
            return (!self.lines.is_empty()).then_some(());
        }
        let shared = self.shared.clone();
        let state = shared.state();
        let interjected = state.interjections[self.interjected..].iter();
        if !state.store.follows(self.version) {
            return None;
        }
        let mut interjected = interjected.filter(|interjection| interjection.resource == self.resource).peekable();
        self.interjected = state.interjections.len();
        for change in state.store.since(self.version) {
            while let Some(earlier) = interjected.next_if(|interjection| interjection.after < change.version) {
                self.lines.push_back(earlier.line.clone());
            }
            if change.key.0 == self.resource {
                self.lines.extend(line(change, &self.selector));
            }
            self.version = change.version;
        }
        self.lines.extend(interjected.map(|interjection| interjection.line.clone()));
        Some(())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.state().watches.retain(|(serial, _)| *serial != self.serial);
    }
}

/// What a watch with this selector tells of a change: an object that it no longer chooses is gone for it.
fn line(change: &Change, selector: &Selector) -> Option<String> {
    let states = [&change.before, &change.after];
    match states.map(|stored| stored.clone().filter(|stored| selector.chooses(&stored.value))) {
        [None, None] => None,
        [None, Some(after)] => Some(told("ADDED", &after)),
        [Some(_), Some(after)] => Some(told("MODIFIED", &after)),
        [Some(before), None] => {
            let mut last = before.value.clone();
            last["metadata"]["resourceVersion"] = change.version.to_string().into();
            Some(json!({"type": "DELETED", "object": last}).to_string())
        }
    }
}

fn told(what: &str, stored: &Stored) -> String {
    format!(r#"{{"type":"{what}","object":{}}}"#, stored.whole)
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
