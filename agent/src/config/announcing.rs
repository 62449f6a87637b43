//! Whether and how addresses are announced.

use std::str::FromStr;
use std::sync::Arc;

use allocation::AddressRange;
use announce::election::Incumbency;
use clap::ValueEnum;
use serde_json::{Value, json};

/// MetalLB's.
pub(crate) const POOL_NAMESPACE: &str = "metallb-system";

/// Whether and how addresses of LoadBalancer services are announced on the node's network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnounceConfig {
    /// Whether they are.
    pub announce: Announce,
    /// What becomes of the addresses that are held when the agent is told to end.
    pub on_stop: OnStop,
    /// Whether another node's addresses come back to this one, if it is the first in the order.
    pub incumbency: Incumbency,
    /// The namespace whose pools and advertisements count.
    pub namespace: Arc<str>,
    /// The class whose services count; none: those without.
    pub class: Option<Box<str>>,
    /// Addresses that are announced on all interfaces without any object that says so.
    pub pool: Vec<AddressRange>,
}

/// Whether addresses are announced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Announce {
    /// Nothing is answered, opened or read for it.
    #[default]
    Off,
    /// They are announced.
    On,
}

/// What becomes of the addresses that an agent holds when it is told to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum OnStop {
    /// Other nodes answer in its place and keep them for it until it is back, or seems not to come back.
    #[default]
    Pause,
    /// Other nodes take them over first.
    Leave,
}

impl Default for AnnounceConfig {
    fn default() -> Self {
        Self {
            announce: Announce::Off,
            on_stop: OnStop::Pause,
            incumbency: Incumbency::Sticky,
            namespace: POOL_NAMESPACE.into(),
            class: None,
            pool: Vec::new(),
        }
    }
}

/// `switchyard.announce` of the file.
pub(super) struct AnnounceWord(pub(super) Announce);

/// `switchyard.announceOnStop` of the file.
pub(super) struct OnStopWord(pub(super) OnStop);

impl FromStr for AnnounceWord {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        <Announce as ValueEnum>::from_str(text, true).map(Self).map_err(|_| "must be off or on")
    }
}

impl FromStr for OnStopWord {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        <OnStop as ValueEnum>::from_str(text, true).map(Self).map_err(|_| "must be pause or leave")
    }
}

/// As the file has it.
pub(super) fn write_announcing(config: &AnnounceConfig) -> Value {
    let AnnounceConfig { announce, on_stop, incumbency, namespace, class, pool } = config;
    json!({
        "switchyard": {
            "announce": word_of(announce),
            "announceOnStop": word_of(on_stop),
            "announceFailback": *incumbency == Incumbency::Failback,
            "loadBalancerNamespace": &**namespace,
            "loadBalancerClass": class.as_deref().unwrap_or_default(),
            "loadBalancerPool": pool.iter().map(ToString::to_string).collect::<Vec<_>>(),
        },
    })
}

/// A word as the flag takes it.
fn word_of(value: &impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |word| word.get_name().to_owned())
}
