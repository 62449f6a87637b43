//! The kernel that is asked: one world and one dataplane for all cases.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use backend_api::oracle::{Arrival, Judgement, Packet, Payload, SeenSource, Verdict, judge};
use backend_api::{Dataplane, Protocol, Scope, Service, ServiceName, ServiceState};
use testbed::{Dial, Executor, Listen, Outcome, World, sink};

use super::arbitrary::{Attempt, Case, Client, Dialled, PORTS};
use crate::{Promise, Subject};

/// How often each packet is sent, each time from another port.
const TIMES: usize = 3;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long silence has to last.
const SILENCE: Duration = Duration::from_millis(150);

pub(super) struct Laboratory {
    subject: Subject,
    executor: Executor,
    // After the executor: its tasks are in the world's namespaces.
    world: World,
    dataplane: Option<Box<dyn Dataplane>>,
    /// The next source port: never the same twice, so that no packet is taken for a part of an earlier connection.
    port: u16,
    pub(super) tried: Tried,
}

/// How much was tried, and how packets were judged.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Tried {
    /// Cases.
    pub cases: usize,
    /// Connections.
    pub connections: usize,
    /// Packets that an endpoint answered, as judged.
    pub balanced: usize,
    /// Packets that were refused, as judged.
    pub rejected: usize,
    /// Packets that were dropped, as judged.
    pub dropped: usize,
    /// Packets that were not translated, as judged.
    pub untouched: usize,
    /// Answers that could not come back in this world, whatever the dataplane does.
    pub unobservable: usize,
}

impl Laboratory {
    pub(super) fn new(subject: &Subject) -> Result<Self, String> {
        let mut world_plan = crate::plan();
        let every = PORTS.iter().flat_map(|port| [Listen::tcp(*port), Listen::udp(*port), Listen::sctp(*port)]);
        world_plan.node.listens = every.collect();
        let world = World::build(&world_plan).map_err(|error| error.to_string())?;
        let executor = world.node().namespace.executor().map_err(|error| error.to_string())?;
        let tried = Tried::default();
        Ok(Self { subject: subject.clone(), executor, world, dataplane: None, port: 20_000, tried })
    }

    /// Programs each stage of the case, and sends its packets.
    pub(super) fn try_case(&mut self, case: &Case) -> Result<(), String> {
        self.tried.cases += 1;
        let mut node = case.node.clone();
        node.addresses = self.world.node_addresses().clone();
        let mut state = ServiceState::new(node);
        let mut changed = None; // anything, at first
        for (number, stage) in case.stages.iter().enumerate() {
            let touched = change(&mut state, &stage.services)?;
            changed = changed.map(|_: BTreeSet<ServiceName>| touched);
            self.program(&state, changed, stage.restarted).map_err(in_stage(number))?;
            for attempt in &stage.packets {
                self.try_packet(&state, attempt, stage.dialled(attempt)).map_err(in_stage(number))?;
            }
            changed = Some(BTreeSet::new());
        }
        Ok(())
    }

    /// Syncs what changed (`None`: anything), and sees that the same process, or the one that takes over, finds nothing
    /// left to do.
    fn program(
        &mut self,
        state: &ServiceState,
        changed: Option<BTreeSet<ServiceName>>,
        restarted: bool,
    ) -> Result<(), String> {
        let (before, state, subject) = (self.dataplane.take(), state.clone(), self.subject.clone());
        let (dataplane, outcome) = self.executor.run(async move {
            let mut dataplane = match before {
                Some(dataplane) => dataplane,
                None => match subject.open().await {
                    Ok(dataplane) => dataplane,
                    Err(error) => return (None, Err(format!("open: {error}"))),
                },
            };
            let scope = changed.as_ref().map_or(Scope::All, Scope::Services);
            let first = dataplane.sync(&state, scope).await;
            if restarted {
                drop(dataplane);
                dataplane = match subject.open().await {
                    Ok(dataplane) => dataplane,
                    Err(error) => return (None, Err(format!("open: {error}"))),
                };
            }
            let again = dataplane.sync(&state, Scope::All).await;
            let both = first.and_then(|first| Ok((first, again?)));
            (Some(dataplane), both.map_err(|error| format!("sync: {error}")))
        });
        self.dataplane = dataplane;
        let (first, again) = outcome?;
        if !first.failed.is_empty() {
            return Err(format!("sync: {:?}", first.failed));
        }
        let (what, promise) =
            if restarted { ("a new process", Promise::Adopts) } else { ("the same again", Promise::Steady) };
        if again.writes > 0 && self.subject.keeps(promise) {
            return Err(format!("{what}: {} writes", again.writes));
        }
        Ok(())
    }

    fn try_packet(&mut self, state: &ServiceState, attempt: &Attempt, dialled: Dialled) -> Result<(), String> {
        let from = &attempt.from;
        let packet = Packet {
            arrival: from.enters.map_or(Arrival::Sent, |name| Arrival::Interface(name.to_owned())),
            source: from.source(dialled.address),
            destination: dialled.address,
            payload: Payload::Transport(dialled.protocol, dialled.port),
        };
        let judgement = judge(state, &packet, None);
        if self.is_unobservable(&packet, &judgement.verdict) {
            self.tried.unobservable += 1;
            return Ok(());
        }
        let mut answered = BTreeSet::new();
        for _ in 0..TIMES {
            let outcome = self.dial(from, dialled, &judgement.verdict);
            answered.extend(outcome.name().map(str::to_owned));
            self.compare(&packet, &judgement, &outcome)
                .map_err(|difference| complaint(&packet, &judgement, &difference))?;
            if judgement.verdict == Verdict::Dropped {
                break;
            }
        }
        let sticky = matches!(judgement.verdict, Verdict::Balanced { memory: Some(_), .. });
        if sticky && answered.len() > 1 {
            return Err(complaint(&packet, &judgement, &format!("session affinity, but {answered:?} answered")));
        }
        self.count(&judgement.verdict);
        Ok(())
    }

    fn dial(&mut self, client: &Client, dialled: Dialled, verdict: &Verdict) -> Outcome {
        self.port = if self.port >= 60_000 { 20_000 } else { self.port + 1 };
        self.tried.connections += 1;
        let to = SocketAddr::new(dialled.address, dialled.port);
        let from = SocketAddr::new(client.source(dialled.address), self.port);
        let patience = if *verdict == Verdict::Dropped { SILENCE } else { PATIENCE };
        self.world.dial(client.place, &Dial::new(dialled.protocol, to).from(from).within(patience))
    }

    fn compare(&self, packet: &Packet, judgement: &Judgement, outcome: &Outcome) -> Result<(), String> {
        let right = match (&judgement.verdict, outcome) {
            (Verdict::Rejected, Outcome::Refused(_)) | (Verdict::Dropped, Outcome::Silent) => true,
            (Verdict::Untouched, Outcome::Answered(answer)) => answer.name == self.own(packet.destination),
            (Verdict::Balanced { candidates, .. }, Outcome::Answered(answer)) => candidates.iter().any(|candidate| {
                let seen = answer.source.ip();
                let source_right = match candidate.seen {
                    SeenSource::Preserved => seen == packet.source,
                    SeenSource::Node => self.world.node_addresses().contains(&seen),
                };
                self.name(candidate.endpoint.ip) == Some(answer.name.as_str()) && source_right
            }),
            _ => false,
        };
        if right { Ok(()) } else { Err(outcome.to_string()) }
    }

    /// The place that answers on an address that is not translated.
    fn own(&self, destination: IpAddr) -> &str {
        let is_node = self.world.node_addresses().contains(&destination);
        if is_node { &self.world.node().name } else { sink::NAME }
    }

    fn name(&self, address: IpAddr) -> Option<&str> {
        self.world.places().find(|place| place.addresses.contains(&address)).map(|place| place.name.as_str())
    }

    /// Two pods of other nodes share a namespace, and a pod's own address is its own: answers that keep to such a way
    /// never pass the node again, so they are not translated back.
    fn is_unobservable(&self, packet: &Packet, verdict: &Verdict) -> bool {
        verdict.candidates().iter().any(|candidate| {
            let short = candidate.endpoint.ip == packet.source
                || (self.is_remote(packet.source) && self.is_remote(candidate.endpoint.ip));
            short && candidate.seen == SeenSource::Preserved
        })
    }

    fn is_remote(&self, address: IpAddr) -> bool {
        let place = self.world.places().find(|place| place.addresses.contains(&address));
        let shared = self.world.place("remote").map(|remote| &remote.namespace);
        place.zip(shared).is_some_and(|(place, shared)| std::sync::Arc::ptr_eq(&place.namespace, shared))
    }

    fn count(&mut self, verdict: &Verdict) {
        *match verdict {
            Verdict::Balanced { .. } => &mut self.tried.balanced,
            Verdict::Rejected => &mut self.tried.rejected,
            Verdict::Dropped => &mut self.tried.dropped,
            Verdict::Untouched => &mut self.tried.untouched,
        } += 1;
    }
}

fn in_stage(number: usize) -> impl Fn(String) -> String {
    move |reason| format!("stage {number}: {reason}")
}

/// Makes `state` hold these services; returns the services that this touched.
fn change(state: &mut ServiceState, services: &[Service]) -> Result<BTreeSet<ServiceName>, String> {
    let mut gone: BTreeSet<_> = state.services().map(|service| service.name.clone()).collect();
    for service in services {
        gone.remove(&service.name);
    }
    let mut touched = BTreeSet::new();
    for name in gone {
        touched.extend(state.remove(&name).touched);
    }
    for service in services {
        touched.extend(state.upsert(service.clone()).map_err(|flawed| flawed.to_string())?.touched);
    }
    Ok(touched)
}

fn complaint(packet: &Packet, judgement: &Judgement, met: &str) -> String {
    let reasons: Vec<_> = judgement.reasons.iter().map(ToString::to_string).collect();
    let protocol = match packet.payload {
        Payload::Transport(Protocol::Tcp, _) => "TCP",
        Payload::Transport(Protocol::Udp, _) => "UDP",
        Payload::Transport(Protocol::Sctp, _) => "SCTP",
        Payload::Other => "other",
    };
    format!("{packet:?} ({protocol})\noracle: {:?}\nbecause: {}\nkernel: {met}", judgement.verdict, reasons.join("; "))
}
