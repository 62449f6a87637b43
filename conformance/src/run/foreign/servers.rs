//! Foreign virtual servers, one by address and one by a mark that is not ours; and every virtual server as text.

use std::collections::BTreeMap;

use netlink::Family;
use netlink::ipvs::{Flags, Forwarding, Ipvs, OpenError, Operation, RealServer, Thresholds, VirtualKey, VirtualServer};

/// A foreign mark: its first byte is not ours, its last might be.
const MARK: u32 = 0x5200_0001;

pub(super) async fn plant() -> Result<(), String> {
    let Some(mut ipvs) = open().await? else { return Ok(()) };
    let address = "198.51.100.7".parse().expect("an address");
    let keys =
        [VirtualKey::Address { protocol: 6, address, port: 80 }, VirtualKey::Mark { family: Family::Ipv4, mark: MARK }];
    let mut operations = Vec::new();
    for key in keys {
        operations.push(Operation::AddVirtual(VirtualServer {
            key,
            scheduler: "rr".into(),
            flags: Flags::default(),
            persistence: None,
            engine: None,
        }));
        let address = "192.168.67.100:8080".parse().expect("an address and a port");
        let (forwarding, thresholds) = (Forwarding::Masquerade, Thresholds::default());
        operations.push(Operation::AddReal(key, RealServer { address, forwarding, weight: 1, thresholds }));
    }
    let refused = ipvs.execute(&operations).await.map_err(|error| format!("foreign virtual servers: {error}"))?;
    if refused.is_empty() { Ok(()) } else { Err(format!("foreign virtual servers: {refused:?}")) }
}

/// Every virtual server with its real servers, and the timeouts of all.
pub(super) async fn list() -> Result<BTreeMap<String, String>, String> {
    let Some(mut ipvs) = open().await? else { return Ok(BTreeMap::new()) };
    let mut all = BTreeMap::new();
    for entry in ipvs.virtual_servers().await.map_err(failed)? {
        let key = entry.server.key;
        let real = ipvs.real_servers(&key).await.map_err(failed)?;
        let real: Vec<_> = real.into_iter().map(|entry| entry.server).collect();
        all.insert(format!("virtual server {key}"), format!("{:?} {real:?}", entry.server));
    }
    let timeouts = ipvs.timeouts().await.map_err(failed)?;
    all.insert("timeouts of IPVS".to_owned(), format!("{timeouts:?}"));
    Ok(all)
}

fn failed(error: impl std::fmt::Display) -> String {
    format!("virtual servers: {error}")
}

/// Nothing where the kernel has no IPVS.
async fn open() -> Result<Option<Ipvs>, String> {
    match Ipvs::open().await {
        Ok(ipvs) => Ok(Some(ipvs)),
        Err(OpenError::Missing) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}
