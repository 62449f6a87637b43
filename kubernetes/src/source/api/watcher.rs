//! Asks for one kind of objects, again and again, and tells what comes.
//!
//! Thin: [`ListWatch`] says what an answer means and what to ask next, [`waits`] when.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reconcile::chance;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{debug, info};

use super::body::BodyReader;
use super::coalesce::coalesce;
use super::outage::{Outage, Part, Said, is_news};
use super::servers::{ConnectError, Reply, Servers};
use super::waits;
use crate::objects::{Kind, UnservedKind};
use crate::source::list_watch::{AnswerForm, Completeness, Failure, ListWatch, Refusal, Remedy, Resource};
use crate::source::{Event, Sender, Trouble};

/// After how many seconds the server is to end a watch, at least; at most, twice that. As the API's own clients ask, so
/// that watches spread anew over the servers now and then.
const WATCH_SECONDS: u64 = 300;

/// A watch that lasted so long was good; the wait after it is short.
const GOOD: Duration = Duration::from_secs(1);

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
    /// Since when requests fail: there was no good watch since.
    failing_since: Option<Instant>,
    /// Whether the last request failed and was not answered in any way, nor was one since.
    unanswered: bool,
    /// What was said last of why this kind is not to be had.
    denied: Option<Said>,
    /// Changes when the API is there again.
    returns: watch::Receiver<u64>,
    /// Which server answered last.
    server: Option<Arc<str>>,
    listed: Completeness,
}

/// How long to wait before the next request.
#[derive(Clone, Copy, Debug, Default)]
struct Wait {
    /// In any case.
    least: Duration,
    /// And then, unless the API returns.
    more: Duration,
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
            failing_since: None,
            unanswered: false,
            denied: None,
            returns: session.outage.returns(),
            session,
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
        // What happens from now on is news to this request.
        self.returns.mark_unchanged();
        let outcome = self.request().await;
        self.session.outage.answer_ended(self.kind());
        let failure = match outcome {
            Ok(()) => return Ok(()),
            Err(Stop::Unheard) => return Err(Stop::Unheard),
            Err(Stop::Failure(failure)) => failure,
        };
        debug!(kind = self.kind().as_str(), ?failure, "request failed");
        let now = Instant::now();
        let failing_for = now - *self.failing_since.get_or_insert(now);
        let wait = match self.list_watch.failed(&failure) {
            Remedy::Now => return Ok(()),
            Remedy::Later => Wait::up_to(waits::after(failing_for, waits::LONG, chance())),
            Remedy::Away { reason, not_before } => {
                let least = waits::demanded(not_before, chance());
                let wait = self.away(&failure, &reason, failing_for).await?;
                Wait { least, more: wait.saturating_sub(least) }
            }
            Remedy::Denied { reason } => {
                let optional = self.denied(reason).await?;
                let longest = if optional { waits::OPTIONAL } else { waits::LONG };
                Wait::up_to(waits::after(failing_for, longest, chance()))
            }
            Remedy::Unknown { reason } => match self.denied(reason).await? {
                true => Wait::up_to(waits::spread(waits::OPTIONAL, chance())),
                false => Wait::up_to(waits::after(failing_for, waits::LONG, chance())),
            },
        };
        self.wait(wait).await
    }

    async fn wait(&mut self, Wait { least, more }: Wait) -> Result<(), Stop> {
        let session = self.session.clone();
        tokio::select! {
            () = sleep(least) => {}
            () = session.told.closed() => return Err(Stop::Unheard),
        }
        tokio::select! {
            () = sleep(more) => {}
            Ok(()) = self.returns.changed() => self.failing_since = None,
            () = session.servers.changed() => self.failing_since = None,
            () = session.told.closed() => return Err(Stop::Unheard),
        }
        Ok(())
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
            error @ ConnectError::Unauthorized { .. } => Failure::Unauthorized(error.to_string()),
            error @ ConnectError::Unreachable { .. } => Failure::Unreachable(error.to_string()),
        })?;
        if self.server.as_ref() != Some(&server) {
            self.server = Some(server.clone());
            self.list_watch.meet_another_server();
        }
        let (head, body) = response.into_parts();
        let reading = BodyReader::new(body, self.session.silence);
        if !head.status.is_success() {
            let mut refusal = Refusal::read(head.status.as_u16(), &reading.start().await);
            refusal.retry_after = retry_after(&head.headers).or(refusal.retry_after);
            return self.refused(refusal, &server).await;
        }
        let outcome = match self.list_watch.answer_form() {
            AnswerForm::Page => self.page(reading).await,
            AnswerForm::Lines => self.watch(reading).await,
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
        let text = reading.whole(self.list_watch.longest_page()).await?;
        let mut events = Vec::new();
        let outcome = self.list_watch.page(&text, &mut events);
        drop(text);
        if outcome.is_ok() {
            self.answered();
        }
        self.tell(events).await?;
        Ok(outcome?)
    }

    async fn watch(&mut self, mut reading: BodyReader) -> Result<(), Stop> {
        let started = Instant::now();
        if self.list_watch.is_current() {
            self.current();
        }
        loop {
            let (mut events, mut outcome) = (Vec::new(), Ok(()));
            let watched = self.list_watch.is_current();
            let read = tokio::select! {
                read = reading.lines(|text| {
                    if outcome.is_ok() {
                        outcome = self.list_watch.line(text, &mut events);
                    }
                }) => read,
                () = self.session.told.closed() => return Err(Stop::Unheard),
            };
            let lasted = started.elapsed() >= GOOD;
            if watched && (lasted || !events.is_empty()) {
                self.failing_since = None;
            }
            if read?.is_none() {
                self.list_watch.ended();
                // One that ends as soon as it begins is not asked again at once.
                return if lasted { Ok(()) } else { Err(Failure::Cut.into()) };
            }
            if outcome.is_ok() {
                self.answered();
            }
            // A list holds each object once.
            self.tell(if watched { coalesce(events) } else { events }).await?;
            outcome?;
            if !watched && self.list_watch.is_current() {
                self.current();
            }
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

    /// The API has answered, and with sense.
    fn answered(&mut self) {
        self.unanswered = false;
        if self.session.outage.answered(self.kind()) {
            self.failing_since = None;
        }
    }

    /// Everything of this kind has been told, and what changes will be.
    fn current(&mut self) {
        self.answered();
        self.denied = None;
        self.over();
    }

    /// This kind is not away, or not any more.
    fn over(&self) {
        if let Some(after) = self.session.outage.ends(self.kind(), Instant::now()) {
            info!(?after, "{}: answers again", self.session.place);
        }
    }

    /// The API is away, for this kind at least. How long to wait.
    async fn away(&mut self, failure: &Failure, reason: &str, failing_for: Duration) -> Result<Duration, Stop> {
        let now = Instant::now();
        let first = !self.unanswered;
        self.unanswered = true;
        // One connection that fails is no outage.
        if !(first && matches!(failure, Failure::Unreachable(_)))
            && let Some(trouble) = self.session.outage.begins(self.kind(), reason, now)
        {
            self.send(vec![Event::Trouble(trouble)]).await?;
        }
        // What is too long was an answer.
        let alone = first || matches!(failure, Failure::TooLong(_));
        if alone {
            return Ok(waits::after(failing_for, waits::LONG, chance()));
        }
        let longest = if matches!(failure, Failure::Unauthorized(_)) { waits::UNAUTHORIZED } else { waits::SCOUT };
        Ok(match self.session.outage.unanswered(self.kind(), now) {
            Part::Scout(unanswered_for) => waits::after(unanswered_for, longest, chance()),
            Part::Follower => waits::spread(waits::LONG, chance()),
            Part::Alone => waits::after(failing_for, waits::LONG, chance()),
        })
    }

    /// This kind is not to be had. Whether the cluster need not have it.
    async fn denied(&mut self, reason: String) -> Result<bool, Stop> {
        self.answered();
        self.over();
        let kind = self.kind();
        self.session.outage.answer_ended(kind);
        let optional = self.list_watch.resource().is_optional();
        let mut events = Vec::new();
        if is_news(&mut self.denied, &reason, Instant::now()) {
            let consequence = if optional { "going on without" } else { "trying again, objects told before are kept" };
            let place = self.session.place.clone();
            let said = format!("{} cannot be listed: {reason}; {consequence}", plural(kind));
            events.push(Event::Trouble(Trouble { place, line: None, object: None, reason: said }));
        }
        if optional {
            self.list_watch.go_without();
        }
        self.tell(events).await?;
        Ok(optional)
    }
}

impl Wait {
    fn up_to(more: Duration) -> Self {
        Self { least: Duration::ZERO, more }
    }
}

fn plural(kind: Kind) -> &'static str {
    match kind {
        Kind::Service => "Services",
        Kind::EndpointSlice => "EndpointSlices",
        Kind::Endpoints => "Endpoints",
        Kind::Node => "Nodes",
        Kind::ServiceCidr => "ServiceCIDRs",
        Kind::Namespace => "Namespaces",
        Kind::IpAddressPool => "IPAddressPools",
        Kind::L2Advertisement => "L2Advertisements",
        Kind::ServiceAddresses => "ServiceAddresses",
        Kind::Unserved(UnservedKind::BgpPeer) => "BGPPeers",
        Kind::Unserved(UnservedKind::BgpAdvertisement) => "BGPAdvertisements",
        Kind::Unserved(UnservedKind::BfdProfile) => "BFDProfiles",
        Kind::Unserved(UnservedKind::Community) => "Communities",
    }
}

/// In seconds; a date is for browsers.
fn retry_after(headers: &http::HeaderMap) -> Option<Duration> {
    let value = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
}
