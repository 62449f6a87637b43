//! Sends a scenario's packets.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use backend_api::Family;
use testbed::{Answer, Begun, Dial, Held, Outcome, Place, World, probe};

use super::judge::Met;
use super::listing::children_are_gone;
use super::patience::patient;
use super::stage::{CONTROL_PORT, CONTROLS, NODE};
use crate::scenario::{self, Probe, Target};

/// How long an answer or a refusal is waited for. Generous: it passes on a busy machine only.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a client that dialled before there was an answer may wait.
const LET_IN: Duration = Duration::from_secs(8);

/// How long silence has to last. TCP sends its second SYN after a second; one is enough.
const SILENCE: Duration = Duration::from_millis(400);

/// How long a closed port may stay in use.
const FREED: Duration = Duration::from_secs(1);

/// What a fair choice misses an endpoint by: less than once in ten million probes.
const MISS: f64 = 1e-7;

/// What is dialled, how often, and when to stop early.
#[derive(Clone, Debug)]
pub(super) struct Dialling {
    dial: Dial,
    times: u32,
    pause: Option<Duration>,
    /// Stop when each of these has answered, and so many connections were made.
    enough: Option<(BTreeSet<String>, u32)>,
}

impl Dialling {
    /// As a probe says.
    pub(super) fn of(probe: &Probe) -> Self {
        let plain = dial(&probe.to);
        let from = SocketAddr::new(probe.from_address.unwrap_or(plain.from.ip()), probe.source_port.unwrap_or(0));
        let patience = if probe.expect == Some(scenario::Outcome::Silent) { SILENCE } else { PATIENCE };
        let patience = patient(patience);
        let names: BTreeSet<String> = probe.answered_by.iter().flatten().cloned().collect();
        let fair = fair_times(names.len());
        let times = probe.times.unwrap_or(match (&probe.expect, names.len()) {
            (Some(scenario::Outcome::Silent), _) => 1,
            (Some(_), _) => 2,
            (None, 0 | 1) => 4,
            (None, _) => fair,
        });
        let least = 3 * u32::try_from(names.len()).unwrap_or(u32::MAX);
        let enough = (probe.times.is_none() && probe.expect.is_none()).then_some((names, least));
        let pause = probe.pause_milliseconds.map(|pause| patient(Duration::from_millis(pause)));
        Self { dial: plain.from(from).within(patience), times, pause, enough }
    }

    /// A number of connections to a target.
    pub(super) fn times(target: &Target, times: u32) -> Self {
        Self { dial: dial(target).within(patient(PATIENCE)), times, pause: None, enough: None }
    }

    /// Pausing before each.
    pub(super) fn pausing(self, pause: Duration) -> Self {
        Self { pause: Some(pause), ..self }
    }
}

/// Dials from `place` as often as it takes.
pub(super) fn dial_all(place: &Place, dialling: &Dialling) -> Vec<Met> {
    let dial = place.sourced(&dialling.dial);
    place.namespace.run(|| {
        let mut met = Vec::new();
        let mut names = BTreeSet::new();
        for count in 1..=dialling.times {
            if let Some(pause) = dialling.pause {
                // Time itself is what is tested: session affinity ends by it.
                std::thread::sleep(pause);
            }
            if dial.from.port() != 0 {
                children_are_gone(); // a copy of the former socket would hold the port
            }
            let one = dial_once(&dial);
            names.extend(one.outcome.name().map(str::to_owned));
            met.push(one);
            if let Some((awaited, least)) = &dialling.enough
                && count >= *least
                && awaited.is_subset(&names)
            {
                break;
            }
        }
        met
    })
}

fn dial_once(dial: &Dial) -> Met {
    match open_free(dial) {
        Ok((held, answer)) => Met { client: Some(held.local()), outcome: Outcome::Answered(answer) },
        Err(outcome) => Met { client: None, outcome },
    }
}

/// Opens from the thread's namespace. A program that a backend starts has copies of our sockets until it executes, so a
/// port that is closed may stay in use for a moment: that is waited for.
fn open_free(dial: &Dial) -> Result<(Held, Answer), Outcome> {
    let deadline = Instant::now() + patient(FREED);
    loop {
        match probe::open_here(dial) {
            Err(Outcome::Failed(reason)) if reason.contains("EADDRINUSE") && Instant::now() < deadline => {
                std::thread::yield_now();
            }
            opened => return opened,
        }
    }
}

/// Opens a connection that is held, from a port of the client's or any.
pub(super) fn open(place: &Place, target: &Target, source_port: u16) -> Result<(Held, Answer), Outcome> {
    let plain = dial(target).within(patient(PATIENCE));
    let from = SocketAddr::new(plain.from.ip(), source_port);
    let sourced = place.sourced(&plain.from(from));
    place.namespace.run(|| open_free(&sourced))
}

/// Sends the first packet of a TCP connection. Its answer is waited for as long as a client that repeats it three times
/// needs: after one, three and seven seconds.
pub(super) fn begin(place: &Place, target: &Target, source_port: u16) -> Result<Begun, Outcome> {
    let plain = dial(target).within(patient(LET_IN));
    let from = SocketAddr::new(plain.from.ip(), source_port);
    let sourced = place.sourced(&plain.from(from));
    place.namespace.run(|| probe::begin_here(&sourced))
}

/// Whether packets of this family and protocol get from `from` to a pod and back at all, past every service: silence
/// means something only then.
pub(super) fn control(world: &World, from: &str, target: &Target) -> Result<(), String> {
    let answerer = CONTROLS.into_iter().find(|name| *name != from).expect("there are two");
    let family = Family::of(target.address);
    let client = place(world, from)?;
    let pod = place(world, answerer)?;
    let address = pod.address(family).ok_or_else(|| format!("{answerer}: no {family} address"))?;
    let dial = Dial::new(target.protocol, SocketAddr::new(address, CONTROL_PORT)).within(patient(PATIENCE));
    match probe::dial(&client.namespace, &client.sourced(&dial)) {
        Outcome::Answered(answer) if answer.name == answerer => Ok(()),
        other => Err(format!("{from}: silence means nothing: a control probe of {answerer} met: {other}")),
    }
}

/// A place of the world by a scenario's word for it.
pub(super) fn place<'a>(world: &'a World, name: &str) -> Result<&'a Place, String> {
    let name = if name == "node" { NODE } else { name };
    world.place(name).ok_or_else(|| format!("{name}: no such place in the world"))
}

fn dial(target: &Target) -> Dial {
    let any: IpAddr =
        if target.address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    Dial::new(target.protocol, SocketAddr::new(target.address, target.port)).from(SocketAddr::new(any, 0))
}

/// How many fair choices among `endpoints` miss one of them as seldom as [`MISS`].
fn fair_times(endpoints: usize) -> u32 {
    let endpoints = endpoints.max(2) as f64;
    let needed = (MISS / endpoints).ln() / (1.0 - 1.0 / endpoints).ln();
    needed.ceil() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_endpoints_need_more_connections() {
        assert_eq!((fair_times(1), fair_times(2), fair_times(3)), (25, 25, 43));
        assert!(fair_times(7) < 150);
    }
}
