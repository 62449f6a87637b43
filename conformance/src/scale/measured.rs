//! Everything that is measured at one size, as it is printed in JSON.

use serde::{Deserialize, Serialize};

use super::dials::Dialled;
use super::memory::Resident;
use super::phases::Phases;
use super::rate::Sustained;
use super::spread::Percentiles;
use super::throughput::Throughput;

/// What was measured at one size; seconds and bytes unless said otherwise.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// The backend.
    pub backend: String,
    /// Its release.
    pub kernel: String,
    /// Services, of one port each.
    pub services: u32,
    /// Endpoints of each.
    pub endpoints: u32,
    /// From the first object told to the commit, in an empty kernel.
    pub first_sync_seconds: f64,
    /// Where that went.
    pub sync_phases: Phases,
    /// Changes that the kernel was told then.
    pub first_sync_writes: usize,
    /// One endpoint changed: from the object told to the commit.
    pub change_seconds: Option<Percentiles>,
    /// The most that one of these wrote.
    pub change_writes: usize,
    /// How many of them.
    pub changes: u64,
    /// The first sync of a new process that finds everything as it should be.
    pub restart_seconds: f64,
    /// Where that went.
    pub restart_phases: Phases,
    /// What that process wrote.
    pub restart_writes: usize,
    /// Resident memory of the process that did all this.
    pub rss_bytes: Resident,
    /// What the kernel holds more, by the machine's totals.
    pub kernel_bytes: u64,
    /// What was sent to the kernel in the first sync.
    pub netlink_bytes: u64,
    /// First packets.
    pub connect: Option<Connect>,
    /// What one established connection carries, where that was asked for.
    #[serde(default)]
    pub throughput: Option<Throughput>,
    /// Changes at a steady rate, where one was asked for.
    pub sustained: Option<Sustained>,
    /// The same state by other means.
    pub compared: Compared,
    /// Waiting and running tasks of the machine before all this: whether it did anything else.
    pub load: f64,
}

/// First packets through each kind of rules, in turns: how long the tenth part of new connections took at most, from
/// the first packet to the endpoint's refusal, in seconds; the median of the rounds, and of the rounds' ratios.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Connect {
    /// Through ours.
    pub seconds: f64,
    /// Through one static DNAT rule.
    pub single_dnat_seconds: f64,
    /// Through one static DNAT rule for all services, of which as many are dialled as of ours.
    pub single_dnat_for_all_seconds: f64,
    /// Through a chain for each service, where that was loaded.
    pub chain_per_service_seconds: Option<f64>,
    /// Ours over the static rule's.
    pub ratio_to_single_dnat: f64,
    /// Ours over the static rule's for all services.
    pub ratio_to_single_dnat_for_all: f64,
    /// Ours over the chains'.
    pub ratio_to_chain_per_service: Option<f64>,
    /// All connections through ours.
    pub first_packet_seconds: Percentiles,
    /// All connections through the static rule.
    pub single_dnat_first_packet_seconds: Percentiles,
}

/// The same state by other means.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Compared {
    /// Our own tables as text, by `nft -f`; or the virtual servers by `ipvsadm -R`.
    pub as_text_seconds: Option<f64>,
    /// A chain for each service: loading it by `nft -f`.
    pub chain_per_service_load_seconds: Option<f64>,
    /// One endpoint changed there by `nft -f`, the process included.
    pub chain_per_service_change_seconds: Option<f64>,
    /// kube-proxy, if one was given: from its start until every service is programmed.
    pub peer_first_sync_seconds: Option<f64>,
    /// Why something was left out.
    pub left_out: Vec<String>,
}

impl Connect {
    pub(super) fn of(ours: &Dialled, [single, for_all]: [&Dialled; 2], chains: Option<&Dialled>) -> Self {
        Self {
            seconds: ours.seconds(),
            single_dnat_seconds: single.seconds(),
            single_dnat_for_all_seconds: for_all.seconds(),
            chain_per_service_seconds: chains.map(Dialled::seconds),
            ratio_to_single_dnat: ours.ratio(single),
            ratio_to_single_dnat_for_all: ours.ratio(for_all),
            ratio_to_chain_per_service: chains.map(|chains| ours.ratio(chains)),
            first_packet_seconds: ours.latency,
            single_dnat_first_packet_seconds: single.latency,
        }
    }
}
