//! kube-proxy's tables and chains: finds those in nf_tables and removes them, and reports what only the kernel's files
//! show.
//!
//! The chains are those of iptables where iptables writes nf_tables (`iptables-nft`), as it does on every recent
//! distribution. Rules of the old iptables (`iptables-legacy`) can only be read and removed by its own program.

use std::fs;

use netlink::ReadError;
use netlink::nftables::{Batch, CommitError, Family, ForeignChain, Nftables};

use super::chains::{Decision, Removal, TABLES, decide, is_kube_proxys, serves};
use super::report::{CleanupReport, Failed, Left, Removed};

/// The name of the tables of kube-proxy's nftables mode.
const TABLE: &str = "kube-proxy";

/// How often everything is read again because another program writes meanwhile.
const ATTEMPTS: usize = 16;

/// Removes tables and chains, and adds to `report` what became of them and what stays.
pub(super) async fn remove(report: &mut CleanupReport) {
    match remove_tables().await {
        Ok(0) => {}
        Ok(tables) => report.removed.push(Removed::Tables(tables)),
        Err(reason) => report.failed.push(Failed { object: format!("tables {TABLE}"), reason }),
    }
    if let Err(reason) = remove_chains(report).await {
        report.failed.push(Failed { object: "chains of iptables".to_owned(), reason });
    }
}

/// Whether there are rules that only a kube-proxy makes that forwards services.
pub(super) async fn are_there() -> Result<bool, String> {
    let mut nftables = open(TABLE)?;
    if !nftables.tables().await.map_err(text)?.is_empty() {
        return Ok(true);
    }
    for family in [Family::Ipv4, Family::Ipv6] {
        if nftables.foreign_chains(family).await.map_err(text)?.iter().any(serves) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Removes the tables of nftables mode, and returns how many there were.
async fn remove_tables() -> Result<usize, String> {
    let mut nftables = open(TABLE)?;
    let tables = nftables.tables().await.map_err(text)?;
    let mut batch = Batch::new(TABLE);
    for (operation, table) in (0..).zip(&tables) {
        batch.remove_table(operation, table.family);
    }
    nftables.commit(&mut batch).await.map_err(|error| error.to_string())?;
    Ok(tables.len())
}

/// Removes the chains of iptables mode and of IPVS mode, in all tables and both families at once.
async fn remove_chains(report: &mut CleanupReport) -> Result<(), String> {
    let mut nftables = open(TABLE)?;
    for _ in 0..ATTEMPTS {
        // What is read is true of this generation, and of no later one.
        let generation = nftables.generation().await.map_err(text)?;
        let old = read_chains(&mut nftables).await?;
        let mut batch = removals(&old);
        batch.expect_generation(generation);
        match nftables.commit(&mut batch).await {
            Ok(()) => {
                old.iter().for_each(|table| table.add_to(report));
                return Ok(());
            }
            Err(CommitError::Raced) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Err(format!("another program changed nf_tables while they were read, {ATTEMPTS} times"))
}

/// A table of iptables with chains of kube-proxy's in it, and what is to be done to it.
struct OldTable {
    family: Family,
    table: &'static str,
    decision: Decision,
}

async fn read_chains(nftables: &mut Nftables) -> Result<Vec<OldTable>, String> {
    let mut old = Vec::new();
    for family in [Family::Ipv4, Family::Ipv6] {
        let mut chains = nftables.foreign_chains(family).await.map_err(text)?;
        for table in TABLES {
            let of_table: Vec<ForeignChain> = chains.extract_if(.., |chain| chain.table == table).collect();
            if of_table.iter().any(|chain| is_kube_proxys(table, chain)) {
                let jumps = open(table)?.jumps(family).await.map_err(text)?;
                old.push(OldTable { family, table, decision: decide(table, &of_table, &jumps) });
            }
        }
    }
    Ok(old)
}

fn removals(old: &[OldTable]) -> Batch {
    let mut batch = Batch::new(TABLE);
    let mut operation = 0;
    for OldTable { family, table, decision } in old {
        batch.turn_to(table);
        for removal in &decision.removals {
            match removal {
                Removal::Rule { chain, handle } => batch.remove_rule(operation, *family, chain, *handle),
                Removal::Rules(chain) => batch.flush_chain(operation, *family, chain),
                Removal::Chain(chain) => batch.remove_chain(operation, *family, chain),
            }
            operation += 1;
        }
    }
    batch
}

impl OldTable {
    fn add_to(&self, report: &mut CleanupReport) {
        let family = match self.family {
            Family::Ipv4 => "ip",
            Family::Ipv6 => "ip6",
        };
        let table = format!("{family} {}", self.table);
        let (mut chains, mut jumps) = (0, 0);
        for removal in &self.decision.removals {
            match removal {
                Removal::Chain(_) => chains += 1,
                Removal::Rule { .. } => jumps += 1,
                Removal::Rules(_) => {}
            }
        }
        if chains > 0 {
            report.removed.push(Removed::Chains { table: table.clone(), chains, jumps });
        }
        for (chain, need) in &self.decision.kept {
            report.left.push(Left::Chain { table: table.clone(), chain: chain.clone(), need: need.clone() });
        }
    }
}

/// Reports tables of the old iptables, and a setting of kube-proxy's iptables mode. `report` has what was removed
/// already.
pub(super) fn report_legacy(report: &mut CleanupReport) {
    for (program, path) in
        [("iptables", "/proc/thread-self/net/ip_tables_names"), ("ip6tables", "/proc/thread-self/net/ip6_tables_names")]
    {
        if let Ok(names) = fs::read_to_string(path) {
            report.left.extend(legacy_tables(program, &names));
        }
    }
    // Without chains of kube-proxy's iptables mode, another program has set it.
    let had_chains =
        report.removed.iter().any(|removed| matches!(removed, Removed::Chains { table, .. } if table == "ip nat"));
    if had_chains && route_localnet_is_on() {
        report.left.push(Left::RouteLocalnet);
    }
}

/// None unless there may be services among them, which are in `nat`.
fn legacy_tables(program: &'static str, names: &str) -> Option<Left> {
    let tables: Vec<String> = names.lines().map(str::to_owned).collect();
    tables.iter().any(|table| table == "nat").then_some(Left::LegacyTables { program, tables })
}

fn route_localnet_is_on() -> bool {
    fs::read_to_string("/proc/sys/net/ipv4/conf/all/route_localnet").is_ok_and(|text| text.trim() == "1")
}

fn open(table: &str) -> Result<Nftables, String> {
    Nftables::open(table).map_err(|error| format!("netlink socket: {error}"))
}

fn text(error: ReadError) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legacy_tables_are_told_of_where_services_could_be() {
        assert_eq!(legacy_tables("iptables", ""), None);
        assert_eq!(legacy_tables("iptables", "filter\nmangle\n"), None);
        let left = legacy_tables("ip6tables", "nat\nfilter\n").unwrap();
        assert!(
            left.to_string().contains("`ip6tables-legacy-save | grep -v KUBE- | ip6tables-legacy-restore`"),
            "{left}"
        );
    }
}
