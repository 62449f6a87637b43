//! What kube-proxy's IPVS mode leaves: virtual servers, and the device that has the services' addresses.

use std::collections::BTreeSet;
use std::net::IpAddr;

use netlink::conntrack::Conntrack;
use netlink::ipvs::Ipvs;
use netlink::nftables::Family;

use super::device::{self, Device};
use super::links::KUBE_IPVS;
use super::report::{Failed, Left, Removed, Report};
use super::servers::{Found, Patience, Server, Step, step};

/// TCP, UDP, SCTP.
const PROTOCOLS: [u8; 3] = [6, 17, 132];

/// What became of a step, beside what the report says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drained {
    /// Nothing is left, or nothing was there.
    Wholly,
    /// Connections are waited for; so many real servers were found open to new ones.
    NotYet {
        /// How many.
        open: usize,
    },
    /// It failed.
    Unknown,
}

/// Goes as far as connections allow.
pub(super) async fn drain(patience: Patience, report: &mut Report) -> Drained {
    match device::find().await {
        // Without it, there is nothing of IPVS mode, or it cannot be told from others'.
        Ok(None) => Drained::Wholly,
        Ok(Some(device)) => match drain_device(device, patience, report).await {
            Ok(drained) => drained,
            Err(reason) => fail(report, reason),
        },
        Err(reason) => fail(report, reason),
    }
}

fn fail(report: &mut Report, reason: String) -> Drained {
    report.failed.push(Failed { object: format!("device {}", KUBE_IPVS), reason });
    Drained::Unknown
}

async fn drain_device(device: Device, patience: Patience, report: &mut Report) -> Result<Drained, String> {
    let mut ipvs = Ipvs::open().await.map_err(|error| error.to_string())?;
    let servers = read(&mut ipvs).await?;
    let found = Found { bound: device.addresses(), servers, sources: sources(&device.addresses()).await? };
    let Step { operations, release, gone, draining, open, stay, others } = step(&found, patience);
    let refusals = ipvs.execute(&operations).await.map_err(|error| format!("netlink socket: {error}"))?;
    if let Some(first) = refusals.first() {
        return Err(first.to_string());
    }
    device.release(&release).await?;
    if stay.is_empty() {
        device.remove().await?;
    }
    let counted = [(gone, Removed::VirtualServers(gone)), (release.len(), Removed::Addresses(release.len()))];
    report.removed.extend(counted.into_iter().filter(|(count, _)| *count > 0).map(|(_, removed)| removed));
    if stay.is_empty() {
        report.removed.push(Removed::Device(KUBE_IPVS));
    } else {
        report.left.push(Left::Draining { servers: draining, addresses: stay.clone() });
    }
    if others > 0 {
        report.left.push(Left::VirtualServers(others));
    }
    Ok(if stay.is_empty() { Drained::Wholly } else { Drained::NotYet { open } })
}

async fn read(ipvs: &mut Ipvs) -> Result<Vec<Server>, String> {
    let mut servers = Vec::new();
    for entry in ipvs.virtual_servers().await.map_err(|error| error.to_string())? {
        let key = entry.server.key;
        let reals = ipvs.real_servers(&key).await.map_err(|error| error.to_string())?;
        servers.push(Server { key, reals });
    }
    Ok(servers)
}

/// Those of the addresses that connections start from.
async fn sources(addresses: &BTreeSet<IpAddr>) -> Result<BTreeSet<IpAddr>, String> {
    let mut sources = BTreeSet::new();
    let mut conntrack = Conntrack::open().map_err(|error| format!("netlink socket: {error}"))?;
    for family in Family::ALL.iter().copied() {
        let is_family = |address: &IpAddr| address.is_ipv4() == (family == Family::Ipv4);
        if !addresses.iter().any(is_family) {
            continue;
        }
        for protocol in PROTOCOLS {
            let each = |flow: netlink::conntrack::Flow| {
                sources.extend(Some(flow.original.source).filter(|source| addresses.contains(source)));
            };
            conntrack.flows(family, protocol, each).await.map_err(|error| error.to_string())?;
        }
    }
    Ok(sources)
}
