//! Dials at a steady rate, and whether each was answered by a pod that may.
//!
//! A datagram that is on its way while its endpoint leaves the service has no answer: the kernel has forgotten its flow.
//! Clients of UDP ask again, and so does this one where a service changes. A service that does not change answers the
//! first question.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{io, mem};

use testbed::{Answer, Dial, Outcome, Place, Protocol, World, probe};

use super::changes::Tenants;
use super::cluster::{CHANGING, CLIENT, Dialled, OUTSIDER, PODS, STEADY, TENANTS, pod_number};
use crate::scale::Spread;

/// How long a pod that has left a service may still get its connections: on a machine that does much else, the agent
/// waits its turn.
const LATE: Duration = Duration::from_secs(5);
/// How long an answer may take: over TCP a lost packet is repeated after 1, 3 and 7 seconds.
const TCP_DEADLINE: Duration = Duration::from_secs(10);
const UDP_DEADLINE: Duration = Duration::from_secs(1);
/// Questions to a changing service over UDP.
const QUESTIONS: usize = 3;
/// Failures that are told in words, of each sample.
const TOLD: usize = 5;

/// Clients that dial until they are finished.
#[derive(Debug)]
pub(super) struct Dials {
    stop: Arc<AtomicBool>,
    counted: Arc<Mutex<Counted>>,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

/// What came of some dials.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    /// How many there were.
    pub dials: u64,
    /// How many datagrams to changing services had to be sent again.
    pub asked_again: u64,
    /// How many were not answered, or by a pod that may not.
    pub failures: u64,
    /// The first failures, in words.
    pub failed: Vec<String>,
    pub(super) latency: Spread,
}

/// Where a client stands, and what it dials from there.
#[derive(Clone, Copy, Debug)]
enum Way {
    ClusterAddress,
    NodePort,
}

impl Dials {
    /// Begins with so many a second in all.
    pub(super) fn start(world: &World, rate: u32, tenants: Arc<Tenants>) -> Result<Self, String> {
        let (stop, counted) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Counted>>::default());
        let place = |name: &str| world.place(name).expect("the world was planned with it").clone();
        let clients = [
            (place(CLIENT), Way::ClusterAddress),
            (place(CLIENT), Way::NodePort),
            (place(OUTSIDER), Way::NodePort),
            (world.node().clone(), Way::ClusterAddress),
        ];
        let pause = Duration::from_secs_f64(clients.len() as f64 / f64::from(rate));
        let mut threads = Vec::new();
        for (place, way) in clients {
            let client = Client { place, way, pause, tenants: tenants.clone(), counted: counted.clone() };
            let (namespace, stopped) = (client.place.namespace.clone(), stop.clone());
            let started = namespace.spawn("dials", move || client.dial_until(&stopped));
            threads.push(started.map_err(|error| format!("client: {error}"))?);
        }
        Ok(Self { stop, counted, threads })
    }

    /// What came of the dials since the last call.
    pub(super) fn take(&self) -> Counted {
        mem::take(&mut self.counted.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends them; what came of the last ones.
    pub(super) fn finish(mut self) -> Result<Counted, String> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in mem::take(&mut self.threads) {
            let ended = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            ended.map_err(|error| format!("a client never got into its namespace: {error}"))?;
        }
        Ok(self.take())
    }
}

impl Drop for Dials {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Client {
    place: Place,
    way: Way,
    pause: Duration,
    tenants: Arc<Tenants>,
    counted: Arc<Mutex<Counted>>,
}

impl Client {
    fn dial_until(&self, stopped: &AtomicBool) {
        let start = Instant::now();
        let mut number = 0;
        while !stopped.load(Ordering::Relaxed) {
            self.dial(number);
            number += 1;
            let due = start + self.pause * number;
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }

    fn dial(&self, number: u32) {
        let number = number as usize;
        let service = Dialled::of(number);
        let to = match self.way {
            Way::ClusterAddress => service.cluster_address(),
            Way::NodePort => service.node_address(),
        };
        // Another protocol at each round.
        let (protocol, deadline) = match number / (STEADY + CHANGING) % 2 {
            0 => (Protocol::Tcp, TCP_DEADLINE),
            _ => (Protocol::Udp, UDP_DEADLINE),
        };
        let dial = self.place.sourced(&Dial::new(protocol, to).within(deadline));
        let begun = Instant::now();
        let mut outcome = probe::dial_here(&dial);
        let mut questions = 1;
        while outcome == Outcome::Silent && questions < questions_to(service, protocol) {
            outcome = probe::dial_here(&dial);
            questions += 1;
        }
        let took = begun.elapsed();
        let verdict = match &outcome {
            Outcome::Answered(answer) => self.judge(service, answer, begun),
            other => Err(other.to_string()),
        };
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.dials += 1;
        counted.asked_again += questions as u64 - 1;
        match verdict {
            Ok(()) => counted.latency.add(took),
            Err(reason) => {
                let from = &self.place.name;
                counted.fail(format!("{from} dialled {} at {to} over {protocol}: {reason}", service.name()));
            }
        }
    }

    /// Whether this pod may answer for the service.
    fn judge(&self, service: Dialled, answer: &Answer, begun: Instant) -> Result<(), String> {
        let pod = pod_number(&answer.name).ok_or_else(|| format!("{} answered", answer.name))?;
        if service.residents().contains(&pod) {
            return Ok(());
        }
        match (service, pod.checked_sub(PODS - TENANTS)) {
            (Dialled::Changing(index), Some(tenant)) => match self.tenants.gone_at(index, tenant, begun) {
                gone if gone > LATE => Err(format!("{} answered, gone for {gone:?}", answer.name)),
                _ => Ok(()),
            },
            _ => Err(format!("{} answered, never an endpoint", answer.name)),
        }
    }
}

fn questions_to(service: Dialled, protocol: Protocol) -> usize {
    match (service, protocol) {
        (Dialled::Changing(_), Protocol::Udp) => QUESTIONS,
        _ => 1,
    }
}

impl Counted {
    fn fail(&mut self, failure: String) {
        self.failures += 1;
        if self.failed.len() < TOLD {
            self.failed.push(failure);
        }
    }

    /// Adds what came of other dials.
    pub(super) fn merge(&mut self, other: &Self) {
        self.dials += other.dials;
        self.asked_again += other.asked_again;
        self.failures += other.failures;
        self.latency.merge(&other.latency);
    }
}
