//! What kube-proxy's IPVS mode left: virtual servers, and the device that has the services' addresses.
//!
//! Reads and writes; [`super::servers`] decides.

use std::collections::BTreeSet;
use std::net::IpAddr;

use netlink::conntrack::Conntrack;
use netlink::ipvs::Ipvs;
use netlink::nftables::Family;

use super::device::{Device, KUBE_IPVS};
use super::report::{CleanupReport, Failed, Left, Removed};
use super::servers::{IpvsLeftovers, OldServer, Step, Wait, step};

/// TCP, UDP, SCTP.
const PROTOCOLS: [u8; 3] = [6, 17, 132];

/// How far a call of [`drain`] came, beside what the report says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drained {
    /// Nothing is left, or nothing was there.
    Wholly,
    /// Some connections have not ended.
    NotYet {
        /// How many real servers would have taken new connections before this call.
        open: usize,
    },
    /// It failed.
    Unknown,
}

/// Removes what has no connections, or everything if `wait` says so.
pub(super) async fn drain(wait: Wait, report: &mut CleanupReport) -> Drained {
    match try_to_drain(wait, report).await {
        Ok(drained) => drained,
        Err(reason) => {
            report.failed.push(Failed { object: format!("device {KUBE_IPVS}"), reason });
            Drained::Unknown
        }
    }
}

async fn try_to_drain(wait: Wait, report: &mut CleanupReport) -> Result<Drained, String> {
    // Without the device there is nothing of IPVS mode, or it cannot be told from virtual servers of other programs.
    let Some(device) = Device::find().await? else { return Ok(Drained::Wholly) };
    let mut ipvs = Ipvs::open().await.map_err(|error| error.to_string())?;
    let bound = device.addresses();
    let found = IpvsLeftovers { servers: read_servers(&mut ipvs).await?, sources: read_sources(&bound).await?, bound };
    let Step { operations, release, gone, draining, open, stay, others } = step(&found, wait);
    let refusals = ipvs.execute(&operations).await.map_err(|error| format!("netlink socket: {error}"))?;
    if let Some(first) = refusals.first() {
        return Err(first.to_string());
    }
    device.release(&release).await?;
    if stay.is_empty() {
        device.remove().await?;
    }
    if gone > 0 {
        report.removed.push(Removed::VirtualServers(gone));
    }
    if !release.is_empty() {
        report.removed.push(Removed::Addresses(release.len()));
    }
    if others > 0 {
        report.left.push(Left::VirtualServers(others));
    }
    if stay.is_empty() {
        report.removed.push(Removed::Device(KUBE_IPVS));
        Ok(Drained::Wholly)
    } else {
        report.left.push(Left::Draining { servers: draining, addresses: stay });
        Ok(Drained::NotYet { open })
    }
}

async fn read_servers(ipvs: &mut Ipvs) -> Result<Vec<OldServer>, String> {
    let mut servers = Vec::new();
    for entry in ipvs.virtual_servers().await.map_err(|error| error.to_string())? {
        let key = entry.server.key;
        let reals = ipvs.real_servers(&key).await.map_err(|error| error.to_string())?;
        servers.push(OldServer { key, reals });
    }
    Ok(servers)
}

/// Those of the addresses that connections start from.
async fn read_sources(addresses: &BTreeSet<IpAddr>) -> Result<BTreeSet<IpAddr>, String> {
    let mut sources = BTreeSet::new();
    let mut conntrack = Conntrack::open().map_err(|error| format!("netlink socket: {error}"))?;
    for family in [Family::Ipv4, Family::Ipv6] {
        if !addresses.iter().any(|address| address.is_ipv4() == (family == Family::Ipv4)) {
            continue;
        }
        for protocol in PROTOCOLS {
            conntrack
                .flows(family, protocol, |flow| {
                    if addresses.contains(&flow.original.source) {
                        sources.insert(flow.original.source);
                    }
                })
                .await
                .map_err(|error| error.to_string())?;
        }
    }
    Ok(sources)
}
