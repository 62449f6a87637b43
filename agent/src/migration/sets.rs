//! The IP sets of kube-proxy's IPVS mode.

use std::path::Path;
use std::time::Duration;

use netlink::ipset::{Destroyed, IpSets};

use super::report::{CleanupReport, Failed, Left, Removed};

/// The kernel's module of IP sets. Looked for first, because a request for sets would load it.
const MODULE: &str = "/sys/module/ip_set";

/// How long a removed rule may keep its set: the kernel releases it on another thread.
const RELEASE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(20);

/// kube-proxy's, behind `KUBE-` for IPv4, and behind `KUBE-6-` and cut at 31 bytes for IPv6. kube-router has others
/// that begin with `KUBE-`.
const NAMES: [&str; 17] = [
    "LOOP-BACK",
    "CLUSTER-IP",
    "EXTERNAL-IP",
    "EXTERNAL-IP-LOCAL",
    "LOAD-BALANCER",
    "LOAD-BALANCER-LOCAL",
    "LOAD-BALANCER-FW",
    "LOAD-BALANCER-SOURCE-IP",
    "LOAD-BALANCER-SOURCE-CIDR",
    "NODE-PORT-TCP",
    "NODE-PORT-LOCAL-TCP",
    "NODE-PORT-UDP",
    "NODE-PORT-LOCAL-UDP",
    "NODE-PORT-SCTP-HASH",
    "NODE-PORT-LOCAL-SCTP-HASH",
    "HEALTH-CHECK-NODE-PORT",
    "IPVS-IPS",
];
const NAME_LENGTH: usize = 31;

/// Destroys them. The rules that refer to them must be gone.
pub(super) async fn remove(report: &mut CleanupReport) {
    if !Path::new(MODULE).exists() {
        return;
    }
    if let Err(reason) = destroy_all(report).await {
        report.failed.push(Failed { object: "IP sets".to_owned(), reason });
    }
}

async fn destroy_all(report: &mut CleanupReport) -> Result<(), String> {
    let mut sets = IpSets::open().map_err(|error| format!("netlink socket: {error}"))?;
    let mut names = sets.names().await.map_err(|error| error.to_string())?;
    names.retain(|name| is_kube_proxys(name));
    let all = names.len();
    let deadline = tokio::time::Instant::now() + RELEASE;
    loop {
        let mut in_use = Vec::new();
        for name in names {
            match sets.destroy(&name).await.map_err(|error| error.to_string())? {
                Destroyed::Gone => {}
                Destroyed::InUse => in_use.push(name),
            }
        }
        names = in_use;
        if names.is_empty() || tokio::time::Instant::now() > deadline {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    if all > names.len() {
        report.removed.push(Removed::IpSets(all - names.len()));
    }
    report.left.extend(names.into_iter().map(Left::IpSet));
    Ok(())
}

fn is_kube_proxys(name: &str) -> bool {
    NAMES.iter().any(|known| {
        let mut v6 = format!("KUBE-6-{known}");
        v6.truncate(NAME_LENGTH);
        name == v6 || name.strip_prefix("KUBE-") == Some(known)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_kube_proxys_own_sets_are_kube_proxys() {
        for name in
            ["KUBE-CLUSTER-IP", "KUBE-6-LOOP-BACK", "KUBE-LOAD-BALANCER-SOURCE-CIDR", "KUBE-6-LOAD-BALANCER-SOURCE-CID"]
        {
            assert!(is_kube_proxys(name), "{name}");
        }
        for name in
            ["KUBE-SRC-ABCDEFGHIJ234567", "KUBE-6-LOAD-BALANCER-SOURCE-CIDR", "kube-router-svip", "KUBE-", "CLUSTER-IP"]
        {
            assert!(!is_kube_proxys(name), "{name}");
        }
    }
}
