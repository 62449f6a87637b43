//! Asks for one kind of objects, again and again, and tells what comes.
//!
//! Thin: [`ListWatch`] says what an answer means and what to ask next.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reconcile::{Backoff, chance};
use tokio::time::{Instant, sleep};
use tracing::debug;

use super::body::BodyReader;
use super::outage::Outage;
use super::servers::{ConnectError, Reply, Servers};
use crate::objects::Kind;
use crate::source::list_watch::{AnswerForm, Completeness, Failure, ListWatch, Refusal, Remedy, Resource};
use crate::source::{Event, Sender, Trouble};

/// After how many seconds the server is to end a watch, at least; at most, twice that. As the API's own clients ask, so
/// that watches spread anew over the servers now and then.
const WATCH_SECONDS: u64 = 300;

/// A watch that lasted so long was good; the wait after it is short.
const GOOD: Duration = Duration::from_secs(1);

/// The longest wait that a server may demand.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How often a kind that a cluster need not have is asked for again.
const LOOK_AGAIN: Duration = Duration::from_secs(600);

/// What all kinds share.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) place: String,
    pub(super) servers: Servers,
    pub(super) outage: Outage,
    /// How long nothing may come.
    pub(super) silence: Duration,
    pub(super) told: Sender,
    /// How many kinds have not been listed yet.
    pub(super) unlisted: AtomicUsize,
}

/// The list and watch of one kind, with its connections and waits.
pub(super) struct KindWatcher {
    session: Arc<Session>,
    list_watch: ListWatch,
    backoff: Backoff,
    /// What was said last of why this kind is not to be had.
    denied: Option<String>,
    /// Which server answered last.
    server: Option<Arc<str>>,
    listed: Completeness,
}

/// Why an answer was not read to its end.
enum Stop {
    Failure(Failure),
    /// The receiver of events is dropped.
    Unheard,
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl KindWatcher {
    pub(super) fn new(session: Arc<Session>, resource: Resource) -> Self {
        Self {
            list_watch: ListWatch::new(resource, session.place.clone()),
            session,
            backoff: Backoff::default(),
            denied: None,
            server: None,
            listed: Completeness::Listing,
        }
    }

    /// Tells of these objects until the receiver is dropped.
    pub(super) async fn watch_kind(mut self) {
        while let Ok(()) = self.turn().await {}
    }

    /// One request and its answer, and the wait after it.
    async fn turn(&mut self) -> Result<(), Stop> {
        let failure = match self.request().await {
            Ok(()) => return Ok(()),
            Err(Stop::Unheard) => return Err(Stop::Unheard),
            Err(Stop::Failure(failure)) => failure,
        };
        debug!(kind = self.kind().as_str(), ?failure, "request failed");
        let wait = match self.list_watch.failed(&failure) {
            Remedy::Now => Duration::ZERO,
            Remedy::Later => self.backoff.after_failure(),
            Remedy::Away { reason, not_before } => {
                self.away(&reason).await?;
                let demanded = not_before.min(LONGEST_WAIT);
                // Spread, because the server sends many clients away together.
                self.backoff.after_failure().max(demanded + demanded.mul_f64(chance() / 8.0))
            }
            Remedy::Denied { reason } => self.denied(reason).await?,
        };
        tokio::select! {
            () = sleep(wait) => Ok(()),
            () = self.session.servers.changed() => Ok(()),
            () = self.session.told.closed() => Err(Stop::Unheard),
        }
    }

    /// One request and its answer.
    async fn request(&mut self) -> Result<(), Stop> {
        let seconds = WATCH_SECONDS + (chance() * WATCH_SECONDS as f64) as u64;
        let path = self.list_watch.request(seconds);
        let asked = tokio::select! {
            asked = self.session.servers.ask(&path) => asked,
            () = self.session.told.closed() => return Err(Stop::Unheard),
        };
        let Reply { response, server } = asked.map_err(|error| match error {
            ConnectError::Config(reason) => Failure::Unreachable(reason),
            other => Failure::Unreachable(other.to_string()),
        })?;
        if self.server.as_ref() != Some(&server) {
            self.server = Some(server.clone());
            self.list_watch.meet_another_server();
        }
        let (head, body) = response.into_parts();
        let reading = BodyReader::new(body, self.session.silence);
        if !head.status.is_success() {
            let text = reading.whole().await.unwrap_or_default();
            let mut refusal = Refusal::read(head.status.as_u16(), &text);
            refusal.retry_after = retry_after(&head.headers).or(refusal.retry_after);
            return self.refused(refusal, &server).await;
        }
        let outcome = match self.list_watch.answer_form() {
            AnswerForm::Page => self.page(reading).await,
            AnswerForm::Lines => {
                let started = Instant::now();
                let outcome = self.watch(reading).await;
                if started.elapsed() >= GOOD {
                    self.backoff.reset();
                }
                outcome
            }
        };
        if let Err(Stop::Failure(Failure::Silent)) = outcome {
            self.session.servers.leave(&server).await;
        }
        outcome
    }

    async fn refused(&mut self, refusal: Refusal, server: &Arc<str>) -> Result<(), Stop> {
        if refusal.code >= 500 {
            self.session.servers.leave(server).await;
        }
        Err(Failure::Refused(refusal).into())
    }

    async fn page(&mut self, reading: BodyReader) -> Result<(), Stop> {
        let text = reading.whole().await?;
        let mut events = Vec::new();
        self.list_watch.page(&text, &mut events)?;
        drop(text);
        self.granted();
        self.tell(events).await
    }

    async fn watch(&mut self, mut reading: BodyReader) -> Result<(), Stop> {
        let started = Instant::now();
        self.granted();
        loop {
            let (mut events, mut outcome) = (Vec::new(), Ok(()));
            let more = tokio::select! {
                more = reading.lines(|text| {
                    if outcome.is_ok() {
                        outcome = self.list_watch.line(text, &mut events);
                    }
                }) => more?,
                () = self.session.told.closed() => return Err(Stop::Unheard),
            };
            if more.is_none() {
                self.list_watch.ended();
                // One that ends as soon as it begins is not asked again at once.
                return if started.elapsed() < GOOD { Err(Failure::Cut.into()) } else { Ok(()) };
            }
            self.tell(events).await?;
            outcome?;
        }
    }

    /// Tells these, and if it is so, that everything there was has been told.
    async fn tell(&mut self, mut events: Vec<Event>) -> Result<(), Stop> {
        if self.listed == Completeness::Listing && self.list_watch.completeness() == Completeness::Listed {
            self.listed = Completeness::Listed;
            // What others told before they counted down is in the channel before us.
            if !events.is_empty() {
                self.send(std::mem::take(&mut events)).await?;
            }
            if self.session.unlisted.fetch_sub(1, Ordering::AcqRel) == 1 {
                events.push(Event::Listed);
            }
        }
        if events.is_empty() { Ok(()) } else { self.send(events).await }
    }

    async fn send(&self, events: Vec<Event>) -> Result<(), Stop> {
        self.session.told.send(events).await.map_err(|_| Stop::Unheard)
    }

    fn kind(&self) -> Kind {
        self.list_watch.resource().kind()
    }

    /// The API does what was asked.
    fn granted(&mut self) {
        self.denied = None;
        self.session.outage.ends(self.kind());
    }

    async fn away(&mut self, reason: &str) -> Result<(), Stop> {
        match self.session.outage.begins(self.kind(), reason) {
            // Perhaps it is another version that comes back.
            Some(trouble) => self.send(vec![Event::Trouble(trouble)]).await,
            None => Ok(()),
        }
    }

    /// This kind is not to be had. How long to wait.
    async fn denied(&mut self, reason: String) -> Result<Duration, Stop> {
        self.session.outage.ends(self.kind());
        let kind = self.kind();
        let optional = self.list_watch.resource().is_optional();
        let mut events = Vec::new();
        if self.denied.as_ref() != Some(&reason) {
            let consequence = if optional { "going on without" } else { "trying again, objects told before are kept" };
            let place = self.session.place.clone();
            let said = format!("{} cannot be listed: {reason}; {consequence}", plural(kind));
            events.push(Event::Trouble(Trouble { place, line: None, object: None, reason: said }));
            self.denied = Some(reason);
        }
        if optional {
            self.list_watch.go_without();
        }
        self.tell(events).await?;
        Ok(if optional { LOOK_AGAIN.mul_f64(1.0 + chance()) } else { self.backoff.after_failure() })
    }
}

fn plural(kind: Kind) -> &'static str {
    match kind {
        Kind::Service => "Services",
        Kind::EndpointSlice => "EndpointSlices",
        Kind::Endpoints => "Endpoints",
        Kind::Node => "Nodes",
        Kind::ServiceCidr => "ServiceCIDRs",
    }
}

/// In seconds; a date is for browsers.
fn retry_after(headers: &http::HeaderMap) -> Option<Duration> {
    let value = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
}
