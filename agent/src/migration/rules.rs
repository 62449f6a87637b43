//! kube-proxy's tables and chains in nf_tables: finds them, and removes them in one transaction each.
//!
//! The chains are those of iptables where iptables writes nf_tables (`iptables-nft`), as it does on every recent
//! distribution.

use netlink::ReadError;
use netlink::nftables::{Batch, CommitError, Family, ForeignChain, Nftables};

use super::chains::{Decision, Removal, TABLES, decide, is_kube_proxys, serves};
use super::report::{Failed, Left, Removed, Report};

/// What kube-proxy's nftables mode calls its tables.
const TABLE: &str = "kube-proxy";

/// How often everything is looked at again because somebody writes meanwhile.
const ATTEMPTS: usize = 16;

/// Removes both, and says in `report` what became of them.
pub(super) async fn remove(report: &mut Report) {
    match remove_tables().await {
        Ok(0) => {}
        Ok(tables) => report.removed.push(Removed::Tables(tables)),
        Err(reason) => report.failed.push(Failed { object: format!("tables {TABLE}"), reason }),
    }
    if let Err(reason) = remove_chains(report).await {
        report.failed.push(Failed { object: "chains of iptables".to_owned(), reason });
    }
}

/// Whether there is what only a kube-proxy makes that serves.
pub(super) async fn are_there() -> Result<bool, String> {
    let mut nftables = open(TABLE)?;
    if !nftables.tables().await.map_err(text)?.is_empty() {
        return Ok(true);
    }
    for family in Family::ALL {
        if nftables.foreign_chains(*family).await.map_err(text)?.iter().any(serves) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The tables of nftables mode. How many.
async fn remove_tables() -> Result<usize, String> {
    let mut nftables = open(TABLE)?;
    let tables = nftables.tables().await.map_err(text)?;
    let mut batch = Batch::new(TABLE);
    (0..).zip(&tables).for_each(|(operation, table)| batch.remove_table(operation, table.family));
    nftables.commit(&mut batch).await.map_err(|error| error.to_string())?;
    Ok(tables.len())
}

/// The chains of iptables mode and of IPVS mode, in all tables and both families at once.
async fn remove_chains(report: &mut Report) -> Result<(), String> {
    let mut nftables = open(TABLE)?;
    for _ in 0..ATTEMPTS {
        // What is found is true of this generation, and of no later one.
        let generation = nftables.generation().await.map_err(text)?;
        let found = look(&mut nftables).await?;
        let mut batch = batch(&found);
        batch.expect_generation(generation);
        match nftables.commit(&mut batch).await {
            Ok(()) => {
                found.iter().for_each(|found| found.tell(report));
                return Ok(());
            }
            Err(CommitError::Raced) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Err(format!("changed by somebody else while they were read, {ATTEMPTS} times"))
}

/// A table of iptables with chains of kube-proxy's in it.
struct Found {
    family: Family,
    table: &'static str,
    decision: Decision,
}

async fn look(nftables: &mut Nftables) -> Result<Vec<Found>, String> {
    let mut all = Vec::new();
    for family in Family::ALL.iter().copied() {
        let chains = nftables.foreign_chains(family).await.map_err(text)?;
        for table in TABLES {
            let chains: Vec<ForeignChain> = chains.iter().filter(|chain| chain.table == table).cloned().collect();
            if chains.iter().any(|chain| is_kube_proxys(table, chain)) {
                let jumps = open(table)?.jumps(family).await.map_err(text)?;
                all.push(Found { family, table, decision: decide(table, &chains, &jumps) });
            }
        }
    }
    Ok(all)
}

fn batch(found: &[Found]) -> Batch {
    let mut batch = Batch::new(TABLE);
    let mut operation = 0;
    for Found { family, table, decision } in found {
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

impl Found {
    fn tell(&self, report: &mut Report) {
        let Self { family, table, decision } = self;
        let table = match family {
            Family::Ipv4 => format!("ip {table}"),
            Family::Ipv6 => format!("ip6 {table}"),
        };
        let count = |counted: fn(&Removal) -> bool| decision.removals.iter().filter(|removal| counted(removal)).count();
        let chains = count(|removal| matches!(removal, Removal::Chain(_)));
        let jumps = count(|removal| matches!(removal, Removal::Rule { .. }));
        if chains > 0 {
            report.removed.push(Removed::Chains { table: table.clone(), chains, jumps });
        }
        let kept = decision.kept.iter();
        report.left.extend(kept.map(|(chain, need)| {
            let (table, chain, need) = (table.clone(), chain.clone(), need.clone());
            Left::Chain { table, chain, need }
        }));
    }
}

fn open(table: &str) -> Result<Nftables, String> {
    Nftables::open(table).map_err(|error| format!("netlink socket: {error}"))
}

fn text(error: ReadError) -> String {
    error.to_string()
}
