//! A scenario as it is written down: the agent's flags, Kubernetes objects, steps, and what packets must meet.
//!
//! Plain data, read from one YAML file of `scenarios/<topic>/`. Kept apart from the runner so that a scenario can be
//! read, checked and listed without a kernel.
//!
//! ```text
//! file ──► parse ──► Scenario ──► objects::Cluster ──► the agent's own source and resolve
//!                       └──────► steps, probes ──► run
//! ```

mod embedded;
mod objects;
mod parse;
mod target;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;
use serde_saphyr::Spanned;

pub use embedded::cluster;
pub use objects::{Cluster, ObjectError, ObjectId, PodAddresses};
pub use parse::{ParseError, ScenarioFile, files, parse, scenarios};
pub use target::Target;

/// One scenario: a claim about packets, and the way to test it.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The folder that it is in.
    pub topic: String,
    /// Its file's name: the claim.
    pub claim: String,
    /// Where it was read.
    pub file: PathBuf,
    /// What the file says.
    pub script: Script,
    /// As it is written.
    pub text: String,
}

/// The content of a scenario file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Script {
    /// What is claimed and why, for a reader who knows Kubernetes.
    pub description: String,
    /// Backends that alone play it, each with the reason why the others cannot; every backend plays it without this.
    #[serde(default)]
    pub only_on: BTreeMap<String, String>,
    /// Flags of the agent, by kube-proxy's names without dashes in front, beyond the harness's own.
    #[serde(default)]
    pub agent: Flags,
    /// A cluster of `clusters/` whose objects, this node's Node among them, are there from the start.
    #[serde(default)]
    pub cluster: Option<String>,
    /// Kubernetes objects; `apiVersion` and the namespace `default` may be left out.
    #[serde(default)]
    pub objects: Vec<Value>,
    /// EndpointSlices in short: service name → pods and their condition.
    #[serde(default)]
    pub endpoints: BTreeMap<String, Members>,
    /// What happens, in order. Everything above is programmed before the first.
    pub steps: Vec<Spanned<Step>>,
}

/// Flags by name.
pub type Flags = BTreeMap<String, Flag>;

/// A flag's value as YAML writes it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Flag {
    /// A switch.
    Switch(bool),
    /// A number.
    Number(i64),
    /// Anything else.
    Text(String),
}

/// The pods behind a service.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Members {
    /// All of them ready.
    Ready(Vec<String>),
    /// Each with its condition.
    Each(BTreeMap<String, Member>),
}

/// One pod behind a service.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Member {
    /// By its condition alone.
    Condition(Condition),
    /// With topology hints.
    Hinted(Hinted),
}

/// A pod with topology hints.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Hinted {
    /// Its condition.
    #[serde(default)]
    pub condition: Condition,
    /// Zones that shall use it.
    #[serde(default)]
    pub for_zones: Vec<String>,
    /// Nodes that shall use it.
    #[serde(default)]
    pub for_nodes: Vec<String>,
}

/// What an EndpointSlice says of a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// Ready and serving.
    #[default]
    Ready,
    /// Nothing said: counts as ready.
    Unknown,
    /// Neither ready nor serving.
    NotReady,
    /// Serving, but not ready, and not terminating.
    ServingOnly,
    /// Terminating and still serving.
    Terminating,
    /// Terminating and no more serving.
    TerminatingNotServing,
    /// Ready although terminating (`publishNotReadyAddresses`).
    ReadyTerminating,
}

/// One thing that happens.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Objects come, or replace those of their kind and name.
    Apply(Vec<Value>),
    /// Files appear in the agent's folder, or get another content, as they are written here: broken ones too.
    WriteFile(BTreeMap<String, String>),
    /// Files that were written so are deleted.
    RemoveFile(Vec<String>),
    /// Objects change: `Kind/name` → a JSON merge patch (RFC 7386).
    Change(BTreeMap<String, Value>),
    /// The pods behind these services are now these.
    Endpoints(BTreeMap<String, Members>),
    /// The remembered endpoint leaves its service.
    RemoveEndpoint(Remembered),
    /// Every endpoint but the remembered one leaves its service.
    KeepOnlyEndpoint(Remembered),
    /// Objects go: `Kind/name`.
    Delete(Vec<String>),
    /// The agent's process ends and another starts, with these flags beyond the former.
    Restart(Flags),
    /// The agent's process is gone while objects change: the steps inside, then a new one starts.
    WhileDown(Vec<Spanned<Step>>),
    /// The node gets further addresses.
    AddNodeAddress(Vec<std::net::IpAddr>),
    /// The node loses addresses.
    RemoveNodeAddress(Vec<std::net::IpAddr>),
    /// Another program does this to what we have programmed.
    Sabotage(Sabotage),
    /// Packets.
    Probe(Box<Probe>),
    /// Several clients, or several targets, each of which always meets the same endpoint.
    ProbeEach(Box<ProbeEach>),
    /// A client that pauses is forgotten by session affinity: sooner or later it meets another endpoint.
    Forgotten(Box<Forgotten>),
    /// A TCP client sends its first packet, and waits for an answer during the next steps.
    Dial(Box<Dial>),
    /// Such clients get an answer in the end.
    LetIn(Box<LetIn>),
    /// A TCP connection is opened and held.
    Open(Box<Open>),
    /// These held connections still carry bytes, answered by the place that answered first.
    StillConnected(Vec<String>),
}

/// What another program does to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sabotage {
    /// Removes all of it. Only while the agent is down.
    RemoveAll,
}

/// An endpoint that an earlier probe remembered, of a service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Remembered {
    /// The service that it belongs to.
    pub service: String,
    /// The name that it was remembered by.
    pub remembered: String,
}

/// Connections from one place to one address, and what they must meet.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Probe {
    /// The client: a pod, `node` (the one under test), `outsider`, or another node.
    pub from: String,
    /// What is dialled: `10.96.0.80:80/TCP`, `[fd00::80]:53/UDP`.
    pub to: Target,
    /// How often; by default as often as a fair choice needs to show every endpoint.
    #[serde(default)]
    pub times: Option<u32>,
    /// The client's port; else one of the kernel's choice for each connection.
    #[serde(default)]
    pub source_port: Option<u16>,
    /// The client's address, where it has several; else the one that the kernel's routing chooses.
    #[serde(default)]
    pub from_address: Option<std::net::IpAddr>,
    /// How long to wait between two connections.
    #[serde(default)]
    pub pause_milliseconds: Option<u64>,
    /// Each of these answers at least once, and no other place ever.
    #[serde(default)]
    pub answered_by: Option<Vec<String>>,
    /// Only these answer, not necessarily each.
    #[serde(default)]
    pub answered_by_one_of: Option<Vec<String>>,
    /// Shares of the answers: by default nothing is said of them.
    #[serde(default)]
    pub shares: Option<Shares>,
    /// Whose address the endpoint sees.
    #[serde(default)]
    pub source: Option<Source>,
    /// No answer of an endpoint, but this.
    #[serde(default)]
    pub expect: Option<Outcome>,
    /// Every connection of this probe is answered by the same endpoint.
    #[serde(default)]
    pub same_endpoint: bool,
    /// The endpoint that answers is remembered by this name (and it is always the same).
    #[serde(default)]
    pub remember: Option<String>,
    /// Answered by the endpoint that was remembered by this name.
    #[serde(default)]
    pub same_endpoint_as: Option<String>,
    /// Answered by another endpoint than the one remembered by this name.
    #[serde(default)]
    pub another_endpoint_than: Option<String>,
}

/// Several clients or targets with session affinity.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ProbeEach {
    /// The client.
    pub from: Vec<String>,
    /// What each of them dials.
    pub to: Targets,
    /// How often each dials each.
    pub times: u32,
    /// Only these answer, at least two of them, and each client meets the same one at each target every time.
    pub answered_by_several_of: Vec<String>,
}

/// One target or several.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Targets {
    /// One.
    One(Target),
    /// Several.
    Several(Vec<Target>),
}

/// A client that comes back after a pause.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Forgotten {
    /// The client.
    pub from: String,
    /// What it dials.
    pub to: Target,
    /// The remembered endpoint that it meets no more, sooner or later.
    pub endpoint: String,
    /// How long it pauses before each connection; longer than the affinity's timeout.
    pub pause_milliseconds: u64,
}

/// How answers are shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shares {
    /// Every endpoint the same, as far as chance allows.
    Even,
}

/// Whose address an endpoint sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The client's own.
    Client,
    /// One of the node's, and not the client's own.
    Node,
}

/// What meets a packet that no endpoint answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// TCP by RST, all else by ICMP port unreachable.
    Refused,
    /// Nothing, while a control probe of the same client gets through.
    Silent,
    /// It leaves the node untranslated, and the owner of the address outside answers.
    Untouched,
    /// The node's own listener answers: it was not translated.
    Node,
}

/// A TCP client that gets no answer at first.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Dial {
    /// What it is called in later steps.
    pub name: String,
    /// The client.
    pub from: String,
    /// What is dialled.
    pub to: Target,
    /// From which port of its own.
    pub source_port: u16,
}

/// TCP clients that dialled are answered, sooner or later.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LetIn {
    /// Which.
    pub clients: Vec<String>,
    /// Places that may answer.
    pub answered_by_one_of: Vec<String>,
}

/// A TCP connection that is held open.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Open {
    /// What it is called in later steps.
    pub name: String,
    /// The client.
    pub from: String,
    /// What is dialled.
    pub to: Target,
    /// From which port of its own; the kernel's choice without it.
    #[serde(default)]
    pub source_port: Option<u16>,
    /// Places that may answer.
    pub answered_by_one_of: Vec<String>,
    /// The endpoint is remembered by this name.
    #[serde(default)]
    pub remember: Option<String>,
}

impl Script {
    /// Why it is not for `backend`, if it is not.
    pub fn not_for(&self, backend: &str) -> Option<String> {
        let meant = self.only_on.is_empty() || self.only_on.contains_key(backend);
        let reasons = self.only_on.iter().map(|(backend, reason)| format!("only on {backend}: {reason}"));
        (!meant).then(|| reasons.collect::<Vec<_>>().join("; "))
    }

    /// Why it is for the file source alone, if it is.
    pub fn about_files(&self) -> Option<String> {
        write_files(&self.steps).then(|| "only for files: it writes what no API server would hold".to_owned())
    }
}

fn write_files(steps: &[Spanned<Step>]) -> bool {
    steps.iter().any(|step| match &step.value {
        Step::WriteFile(_) | Step::RemoveFile(_) => true,
        Step::WhileDown(inner) => write_files(inner),
        _ => false,
    })
}

impl Scenario {
    /// `topic/claim`, the name of its test.
    pub fn name(&self) -> String {
        format!("{}/{}", self.topic, self.claim)
    }
}
