//! Asks for one kind of objects, again and again, and tells what comes.
//!
//! Thin: what an answer means is [`Course`]'s to say.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{debug, info};

use super::answer::{Line, Page, Refusal};
use super::body::Reading;
use super::course::{Completeness, Course, Failure, Remedy};
use super::outage::Outage;
use super::resource::{Ask, Resource};
use super::servers::{ConnectError, Reply, Servers};
use crate::objects::Kind;
use crate::settings::NodeName;
use crate::source::{Event, Sender, Trouble};
use reconcile::{Backoff, chance};

/// After how many seconds the server is to end a watch, at least; at most, twice that. As the API's own clients ask, so that
/// watches spread anew over the servers now and then.
const WATCH_SECONDS: u64 = 300;

/// A watch that lasted so long was good; the wait after it is short.
const GOOD: Duration = Duration::from_secs(1);

/// The longest wait that a server may demand.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How often a kind that a cluster need not have is asked for again.
const LOOK_AGAIN: Duration = Duration::from_secs(600);

/// What all kinds share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) place: String,
    pub(super) servers: Servers,
    pub(super) outage: Outage,
    /// How long nothing may come.
    pub(super) silence: Duration,
    pub(super) told: Sender,
    /// How many kinds have not been listed yet.
    pub(super) unlisted: AtomicUsize,
}

/// Follows one kind.
pub(super) struct Follower {
    shared: Arc<Shared>,
    resource: Resource,
    course: Course,
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
    /// Nobody listens any more.
    Unheard,
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl Follower {
    pub(super) fn new(shared: Arc<Shared>, resource: Resource) -> Self {
        Self {
            course: Course::new(shared.place.clone()),
            shared,
            resource,
            backoff: Backoff::default(),
            denied: None,
            server: None,
            listed: Completeness::Listing,
        }
    }

    /// Follows these objects until nobody listens.
    pub(super) async fn follow(mut self) {
        while let Ok(()) = self.turn().await {}
    }

    /// Follows the Node object of whichever name this node has, until nobody listens.
    pub(super) async fn follow_node(mut self, mut nodes: watch::Receiver<NodeName>) {
        loop {
            let resource = Resource::node(&nodes.borrow_and_update());
            if resource != self.resource {
                info!(node = %nodes.borrow().as_str(), "following another Node object");
                self.resource = resource;
                self.course.start_over();
            }
            tokio::select! {
                // Whoever decided the name may be gone; then it stays.
                Ok(()) = nodes.changed() => {}
                () = async { while let Ok(()) = self.turn().await {} } => return,
            }
        }
    }

    /// One request and its answer, and the wait after it.
    async fn turn(&mut self) -> Result<(), Stop> {
        let failure = match self.request().await {
            Ok(()) => return Ok(()),
            Err(Stop::Unheard) => return Err(Stop::Unheard),
            Err(Stop::Failure(failure)) => failure,
        };
        debug!(kind = self.resource.kind.as_str(), ?failure, "request failed");
        let wait = match self.course.failed(&failure) {
            Remedy::Now => Duration::ZERO,
            Remedy::Later => self.backoff.after_failure(),
            Remedy::Away { reason, not_before } => {
                self.away(&reason).await?;
                let demanded = not_before.min(LONGEST_WAIT);
                // Not all at once: those who were sent away together.
                self.backoff.after_failure().max(demanded + demanded.mul_f64(chance() / 8.0))
            }
            Remedy::Denied { reason } => self.denied(reason).await?,
        };
        tokio::select! {
            () = sleep(wait) => Ok(()),
            () = self.shared.told.closed() => Err(Stop::Unheard),
        }
    }

    /// One request and its answer.
    async fn request(&mut self) -> Result<(), Stop> {
        let seconds = WATCH_SECONDS + (chance() * WATCH_SECONDS as f64) as u64;
        let path = self.resource.request(self.course.ask(), seconds);
        let asked = tokio::select! {
            asked = self.shared.servers.ask(&path) => asked,
            () = self.shared.told.closed() => return Err(Stop::Unheard),
        };
        let Reply { response, server } = asked.map_err(|error| match error {
            ConnectError::Config(reason) => Failure::Unreachable(reason),
            error @ ConnectError::Unreachable { .. } => Failure::Unreachable(error.to_string()),
        })?;
        if self.server.as_ref() != Some(&server) {
            self.server = Some(server.clone());
            self.course.meet_another_server();
        }
        let (head, body) = response.into_parts();
        let reading = Reading::new(body, self.shared.silence);
        if !head.status.is_success() {
            let text = reading.whole().await.unwrap_or_default();
            let mut refusal = Refusal::read(head.status.as_u16(), &text);
            refusal.retry_after = retry_after(&head.headers).or(refusal.retry_after);
            return self.refused(refusal, &server).await;
        }
        let outcome = match self.course.ask() {
            Ask::Page { .. } => self.page(reading).await,
            Ask::Stream | Ask::Watch { .. } => {
                let started = Instant::now();
                let outcome = self.watch(reading).await;
                if started.elapsed() >= GOOD {
                    self.backoff.reset();
                }
                outcome
            }
        };
        if let Err(Stop::Failure(Failure::Silent)) = outcome {
            self.shared.servers.leave(&server).await;
        }
        outcome
    }

    async fn refused(&mut self, refusal: Refusal, server: &Arc<str>) -> Result<(), Stop> {
        match refusal.code {
            401 => self.shared.servers.forget().await,
            500.. => self.shared.servers.leave(server).await,
            _ => {}
        }
        Err(Failure::Refused(refusal).into())
    }

    async fn page(&mut self, reading: Reading) -> Result<(), Stop> {
        let text = reading.whole().await?;
        let page = Page::read(self.resource.kind, &text).map_err(|error| Failure::Nonsense(error.to_string()))?;
        drop(text);
        self.granted();
        let mut events = Vec::new();
        self.course.page(page, &mut events);
        self.tell(events).await
    }

    async fn watch(&mut self, mut reading: Reading) -> Result<(), Stop> {
        let started = Instant::now();
        self.granted();
        loop {
            let (kind, mut lines) = (self.resource.kind, Vec::new());
            let read = |text: &[u8]| lines.push(Line::read(kind, text));
            let more = tokio::select! {
                more = reading.lines(read) => more?,
                () = self.shared.told.closed() => return Err(Stop::Unheard),
            };
            if more.is_none() {
                self.course.ended();
                // One that ends as soon as it begins is not asked again at once.
                return if started.elapsed() < GOOD { Err(Failure::Cut.into()) } else { Ok(()) };
            }
            let mut events = Vec::new();
            let outcome = lines.into_iter().try_for_each(|line| match line {
                Ok(line) => self.course.line(line, &mut events),
                Err(error) => Err(Failure::Nonsense(format!("a line of a watch cannot be read: {error}"))),
            });
            self.tell(events).await?;
            outcome?;
        }
    }

    /// Tells these, and if it is so, that everything there was has been told.
    async fn tell(&mut self, mut events: Vec<Event>) -> Result<(), Stop> {
        if self.listed == Completeness::Listing && self.course.completeness() == Completeness::Listed {
            self.listed = Completeness::Listed;
            // What others told before they counted down is in the channel before us.
            if !events.is_empty() {
                self.send(std::mem::take(&mut events)).await?;
            }
            if self.shared.unlisted.fetch_sub(1, Ordering::AcqRel) == 1 {
                events.push(Event::Listed);
            }
        }
        if events.is_empty() { Ok(()) } else { self.send(events).await }
    }

    async fn send(&self, events: Vec<Event>) -> Result<(), Stop> {
        self.shared.told.send(events).await.map_err(|_| Stop::Unheard)
    }

    /// The API does what was asked.
    fn granted(&mut self) {
        self.denied = None;
        self.shared.outage.ends(self.resource.kind);
    }

    async fn away(&mut self, reason: &str) -> Result<(), Stop> {
        match self.shared.outage.begins(self.resource.kind, reason) {
            // Perhaps it is another version that comes back.
            Some(trouble) => self.send(vec![Event::Trouble(trouble)]).await,
            None => Ok(()),
        }
    }

    /// This kind is not to be had. How long to wait.
    async fn denied(&mut self, reason: String) -> Result<Duration, Stop> {
        self.shared.outage.ends(self.resource.kind);
        let kind = self.resource.kind;
        let optional = self.resource.is_optional();
        let mut events = Vec::new();
        if self.denied.as_ref() != Some(&reason) {
            let consequence =
                if optional { "going on without" } else { "trying again, all that was told before holds" };
            let place = self.shared.place.clone();
            let said = format!("{} cannot be listed: {reason}; {consequence}", plural(kind));
            events.push(Event::Trouble(Trouble { place, line: None, object: None, reason: said }));
            self.denied = Some(reason);
        }
        if optional {
            self.course.go_without();
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
