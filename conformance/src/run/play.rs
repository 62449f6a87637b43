//! Plays one scenario: builds its world, runs the agent in it, and takes its steps.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use serde_saphyr::Spanned;
use testbed::{Begun, Held, World};

use super::agent::{Awaited, NodeAgent};
use super::failure::Failure;
use super::foreign::Foreign;
use super::judge::{Met, describe, judge};
use super::listing::ruleset;
use super::patience::{patient, stretch_affinity};
use super::probes::{Dialling, begin, control, dial_all, open, place};
use super::stage::{node_object, plan_for, pod_addresses};
use super::subject::{Promise, Subject};
use crate::scenario::{
    self, Cluster, Flags, Forgotten, LetIn, Members, Open, Probe, ProbeEach, Remembered, Sabotage, Scenario, Step,
    Targets, cluster,
};

/// How often a client may meet the endpoint again that it should forget: by chance once in ten billion.
const FORGETTING: u32 = 16;

/// What was sent and checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Probes that were judged.
    pub probes: usize,
    /// Connections that were tried.
    pub connections: usize,
    /// Checks that a sync of what is there writes nothing, and that foreign rules are untouched.
    pub checks: usize,
}

impl Counts {
    /// Adds another's.
    pub fn add(&mut self, other: Self) {
        self.probes += other.probes;
        self.connections += other.connections;
        self.checks += other.checks;
    }
}

/// Plays `scenario` against `subject` in a world of its own. Blocks.
pub fn play(subject: &Subject, scenario: &Scenario) -> (Result<(), Box<Failure>>, Counts) {
    let world = match World::build(&plan_for(scenario)) {
        Ok(world) => world,
        Err(error) => return (Err(bare(scenario, error.to_string())), Counts::default()),
    };
    let mut play = match Play::new(subject, scenario, world) {
        Ok(play) => play,
        Err(reason) => return (Err(bare(scenario, reason)), Counts::default()),
    };
    let outcome = play.whole().map_err(|reason| play.failure(reason));
    play.counts.checks += play.agent.checks();
    (outcome, play.counts)
}

fn bare(scenario: &Scenario, reason: String) -> Box<Failure> {
    Box::new(Failure { file: scenario.file.clone(), line: 0, reason, listing: String::new(), entrance: None })
}

struct Play<'a> {
    subject: &'a Subject,
    scenario: &'a Scenario,
    // Before the world: its threads are in the world's namespaces.
    agent: NodeAgent<'a>,
    world: World,
    cluster: Cluster,
    files: BTreeMap<String, String>,
    /// The endpoints of each service in short form.
    members: BTreeMap<String, Members>,
    remembered: BTreeMap<String, String>,
    held: BTreeMap<String, (Held, String)>,
    begun: BTreeMap<String, Begun>,
    line: u64,
    counts: Counts,
}

impl<'a> Play<'a> {
    fn new(subject: &'a Subject, scenario: &'a Scenario, world: World) -> Result<Self, String> {
        let agent = NodeAgent::new(subject, &world.node().namespace, &scenario.script.agent);
        Ok(Self {
            subject,
            scenario,
            world,
            agent: agent.map_err(|error| error.to_string())?,
            cluster: Cluster::default(),
            files: BTreeMap::new(),
            members: BTreeMap::new(),
            remembered: BTreeMap::new(),
            held: BTreeMap::new(),
            begun: BTreeMap::new(),
            line: 0,
            counts: Counts::default(),
        })
    }

    fn whole(&mut self) -> Result<(), String> {
        let foreign = Foreign::plant(&self.world.node().namespace)?;
        self.set_up()?;
        self.agent.start(&Flags::new())?;
        self.agent.settle(Awaited::default())?;
        self.steps(&self.scenario.script.steps)?;
        self.line = 0;
        self.clean_up(&foreign)
    }

    fn set_up(&mut self) -> Result<(), String> {
        let script = &self.scenario.script;
        match &script.cluster {
            Some(name) => self.files = cluster(name)?,
            None => self.apply(&[node_object()])?,
        }
        self.apply(&script.objects)?;
        self.set_endpoints(&script.endpoints)?;
        self.publish()
    }

    fn steps(&mut self, steps: &'a [Spanned<Step>]) -> Result<(), String> {
        for step in steps {
            self.line = step.referenced.line();
            self.step(&step.value)?;
        }
        Ok(())
    }

    fn step(&mut self, step: &'a Step) -> Result<(), String> {
        match step {
            Step::Probe(probe) => self.probe(probe),
            Step::ProbeEach(probe) => self.probe_each(probe),
            Step::Forgotten(forgotten) => self.forgotten(forgotten),
            Step::Dial(dial) => self.begin(dial),
            Step::LetIn(let_in) => self.let_in(let_in),
            Step::Open(open) => self.open(open),
            Step::StillConnected(names) => names.iter().try_for_each(|name| self.still_connected(name)),
            Step::Restart(flags) => self.restart(flags),
            Step::WhileDown(inner) => self.while_down(inner),
            Step::Sabotage(Sabotage::RemoveAll) if self.agent.runs() => Err("the agent runs".into()),
            Step::Sabotage(Sabotage::RemoveAll) => self.remove_all(),
            Step::AddNodeAddress(addresses) => self.add_addresses(addresses),
            Step::RemoveNodeAddress(addresses) => self.remove_addresses(addresses),
            change => {
                self.change(change)?;
                self.publish()?;
                if self.agent.runs() { self.agent.settle(Awaited::default()).map(drop) } else { Ok(()) }
            }
        }
    }

    /// A change of objects or files.
    fn change(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Apply(objects) => self.apply(objects),
            Step::WriteFile(files) => {
                self.files.extend(files.clone());
                Ok(())
            }
            Step::RemoveFile(files) => {
                self.files.retain(|name, _| !files.contains(name));
                Ok(())
            }
            Step::Change(patches) => patches
                .iter()
                .try_for_each(|(id, patch)| self.cluster.change(id, patch))
                .map_err(|error| error.to_string()),
            Step::Endpoints(members) => self.set_endpoints(members),
            Step::RemoveEndpoint(which) => self.retain_endpoints(which, |name, remembered| name != remembered),
            Step::KeepOnlyEndpoint(which) => self.retain_endpoints(which, |name, remembered| name == remembered),
            Step::Delete(ids) => {
                ids.iter().try_for_each(|id| self.cluster.delete(id)).map_err(|error| error.to_string())
            }
            Step::Probe(_)
            | Step::ProbeEach(_)
            | Step::Forgotten(_)
            | Step::Dial(_)
            | Step::LetIn(_)
            | Step::Open(_)
            | Step::StillConnected(_)
            | Step::Restart(_)
            | Step::WhileDown(_)
            | Step::Sabotage(_)
            | Step::AddNodeAddress(_)
            | Step::RemoveNodeAddress(_) => unreachable!("told apart above"),
        }
    }

    fn apply(&mut self, objects: &[serde_json::Value]) -> Result<(), String> {
        for object in objects {
            let mut object = object.clone();
            stretch_affinity(&mut object);
            self.cluster.apply(&object).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn set_endpoints(&mut self, services: &BTreeMap<String, Members>) -> Result<(), String> {
        for (service, members) in services {
            self.cluster.set_endpoints(service, members, &pod_addresses).map_err(|error| error.to_string())?;
            self.members.insert(service.clone(), members.clone());
        }
        Ok(())
    }

    fn retain_endpoints(&mut self, which: &Remembered, keep: impl Fn(&str, &str) -> bool) -> Result<(), String> {
        let remembered = self.remembered.get(&which.remembered);
        let remembered =
            remembered.ok_or_else(|| format!("{}: no step has remembered this", which.remembered))?.clone();
        let members = self.members.get(&which.service);
        let members = members.ok_or_else(|| format!("{}: no endpoints in short form", which.service))?;
        let kept = members.retaining(|name| keep(name, &remembered));
        self.set_endpoints(&BTreeMap::from([(which.service.clone(), kept)]))
    }

    fn publish(&mut self) -> Result<(), String> {
        self.agent.publish(&self.cluster, &self.files)
    }

    fn restart(&mut self, flags: &Flags) -> Result<(), String> {
        self.agent.stop()?;
        self.agent.start(flags)?;
        let progress = self.agent.settle(Awaited::default())?;
        match progress.first_writes {
            Some(writes) if writes > 0 && flags.is_empty() && self.subject.keeps(Promise::Adopts) => {
                Err(format!("a new process, nothing changed: {writes} writes, awaited none"))
            }
            _ => Ok(()),
        }
    }

    fn while_down(&mut self, steps: &'a [Spanned<Step>]) -> Result<(), String> {
        self.agent.stop()?;
        self.steps(steps)?;
        self.publish()?;
        self.agent.start(&Flags::new())?;
        self.agent.settle(Awaited::default()).map(drop)
    }

    fn add_addresses(&mut self, addresses: &[IpAddr]) -> Result<(), String> {
        let added = addresses.iter().try_for_each(|address| self.world.add_node_address(*address));
        added.map_err(|error| error.to_string())?;
        self.agent.settle(Awaited { present: addresses.to_vec(), absent: Vec::new() }).map(drop)
    }

    fn remove_addresses(&mut self, addresses: &[IpAddr]) -> Result<(), String> {
        let removed = addresses.iter().try_for_each(|address| self.world.remove_node_address(*address));
        removed.map_err(|error| error.to_string())?;
        self.agent.settle(Awaited { present: Vec::new(), absent: addresses.to_vec() }).map(drop)
    }

    fn remove_all(&mut self) -> Result<(), String> {
        let subject = self.subject.clone();
        self.agent.executor().run(async move {
            let mut dataplane = subject.open().await.map_err(|error| error.to_string())?;
            dataplane.remove_all().await.map_err(|error| error.to_string())
        })
    }

    /// Everything of ours goes, nothing else does, and a second time there is nothing to do.
    fn clean_up(&mut self, foreign: &Foreign) -> Result<(), String> {
        self.agent.stop()?;
        self.agent.holds_nevertheless()?;
        for time in ["first", "second"] {
            self.remove_all().map_err(|error| format!("remove_all, {time} time: {error}"))?;
            if let Some(difference) = foreign.difference(&self.world.node().namespace) {
                return Err(format!("remove_all, {time} time: the ruleset is not as it was before:\n{difference}"));
            }
            self.counts.checks += 1;
        }
        Ok(())
    }

    fn probe(&mut self, probe: &Probe) -> Result<(), String> {
        let mut names = probe.answered_by.iter().chain(&probe.answered_by_one_of).flatten();
        names.try_for_each(|name| place(&self.world, name).map(drop))?;
        if probe.expect == Some(scenario::Outcome::Silent) {
            control(&self.world, &probe.from, &probe.to)?;
        }
        let met = self.dial(&probe.from, &Dialling::of(probe))?;
        self.counts.probes += 1;
        let endpoint = judge(probe, &met, self.world.node_addresses(), &self.remembered)?;
        if let (Some(name), Some(endpoint)) = (&probe.remember, endpoint) {
            self.remembered.insert(name.clone(), endpoint);
        }
        Ok(())
    }

    fn probe_each(&mut self, probe: &ProbeEach) -> Result<(), String> {
        let targets = match &probe.to {
            Targets::One(target) => std::slice::from_ref(target),
            Targets::Several(targets) => targets,
        };
        let mut answered = BTreeSet::new();
        for from in &probe.from {
            for target in targets {
                let met = self.dial(from, &Dialling::times(target, probe.times))?;
                let names: BTreeSet<_> = met.iter().map(|met| met.outcome.name().map(str::to_owned)).collect();
                let one = names.first().filter(|_| names.len() == 1).cloned().flatten();
                let one = one.filter(|name| probe.answered_by_several_of.contains(name));
                let Some(one) = one else {
                    let awaited = format!("one of {} every time", probe.answered_by_several_of.join(", "));
                    return Err(complaint(from, &target.to_string(), &awaited, &met));
                };
                answered.insert(one);
                self.counts.probes += 1;
            }
        }
        match answered.len() {
            0 | 1 => Err(format!("awaited: several endpoints between all; came: only {answered:?}")),
            _ => Ok(()),
        }
    }

    fn forgotten(&mut self, forgotten: &Forgotten) -> Result<(), String> {
        let Forgotten { from, to, endpoint, pause_milliseconds } = forgotten;
        let former =
            self.remembered.get(endpoint).ok_or_else(|| format!("{endpoint}: no step has remembered this"))?.clone();
        let dialling = Dialling::times(to, 1).pausing(patient(Duration::from_millis(*pause_milliseconds)));
        self.counts.probes += 1;
        for _ in 0..FORGETTING {
            let met = self.dial(from, &dialling)?;
            match met[0].outcome.name() {
                Some(name) if name != former => return Ok(()),
                Some(_) => {}
                None => return Err(complaint(from, &to.to_string(), "an answer", &met)),
            }
        }
        Err(format!(
            "{from} → {to}: awaited: another endpoint than {former} after a pause; came: {former} {FORGETTING} times"
        ))
    }

    fn begin(&mut self, wanted: &scenario::Dial) -> Result<(), String> {
        let scenario::Dial { name, from, to, source_port } = wanted;
        let begun = begin(place(&self.world, from)?, to, *source_port)
            .map_err(|outcome| format!("{from} → {to}: awaited: a packet on its way; came: {outcome}"))?;
        self.begun.insert(name.clone(), begun);
        Ok(())
    }

    fn let_in(&mut self, wanted: &LetIn) -> Result<(), String> {
        let LetIn { clients, answered_by_one_of } = wanted;
        for name in clients {
            let begun = self.begun.remove(name).ok_or_else(|| format!("{name}: no step has dialled this"))?;
            self.counts.probes += 1;
            self.counts.connections += 1;
            let outcome = begun.finish();
            if !outcome.name().is_some_and(|name| answered_by_one_of.iter().any(|allowed| allowed == name)) {
                let awaited = answered_by_one_of.join(" or ");
                return Err(format!("client {name}: awaited: let in by {awaited}; came: {outcome}"));
            }
        }
        Ok(())
    }

    fn open(&mut self, wanted: &Open) -> Result<(), String> {
        let Open { name, from, to, source_port, answered_by_one_of, remember } = wanted;
        let (held, answer) = open(place(&self.world, from)?, to, source_port.unwrap_or(0))
            .map_err(|outcome| format!("{from} → {to}: awaited: a connection; came: {outcome}"))?;
        self.counts.probes += 1;
        self.counts.connections += 1;
        if !answered_by_one_of.contains(&answer.name) {
            let awaited = answered_by_one_of.join(" or ");
            return Err(format!("{from} → {to}: awaited: a connection to {awaited}; came: one to {}", answer.name));
        }
        if let Some(remember) = remember {
            self.remembered.insert(remember.clone(), answer.name.clone());
        }
        self.held.insert(name.clone(), (held, answer.name));
        Ok(())
    }

    fn still_connected(&mut self, name: &str) -> Result<(), String> {
        let (held, endpoint) = self.held.get_mut(name).ok_or_else(|| format!("{name}: no step has opened this"))?;
        self.counts.probes += 1;
        let outcome = held.ask();
        if outcome.name() == Some(endpoint.as_str()) {
            Ok(())
        } else {
            Err(format!("connection {name}: awaited: still answered by {endpoint}; came: {outcome}"))
        }
    }

    fn dial(&mut self, from: &str, dialling: &Dialling) -> Result<Vec<Met>, String> {
        let met = dial_all(place(&self.world, from)?, dialling);
        self.counts.connections += met.len();
        Ok(met)
    }

    fn failure(&mut self, reason: String) -> Box<Failure> {
        let node = self.world.node();
        let listing = ruleset(&node.namespace).unwrap_or_else(|error| error);
        let keep = std::env::var_os("SWITCHYARD_KEEP").is_some();
        let entrance = keep.then(|| node.entrance());
        let failure = Failure { file: self.scenario.file.clone(), line: self.line, reason, listing, entrance };
        if keep {
            eprintln!("{failure}");
            let _ = std::io::stdin().read_line(&mut String::new());
        }
        Box::new(failure)
    }
}

fn complaint(from: &str, to: &str, awaited: &str, met: &[Met]) -> String {
    format!("{from} → {to}: awaited: {awaited}\ncame: {}", describe(met))
}
