//! What established connections of IPVS need while the tables in force translate.
//!
//! Kept in tables of their own, `switchyard-leaving`: those in force are replaced as a whole, and know nothing of
//! connections that IPVS began. The chains are those of the tables that mark, as far as they see established packets.
//! That the tables exist tells a later process that such connections may be left. Where IPVS never ran, they do not
//! exist.
//!
//! **Invariant:** no packet of a new connection is changed by them
//! (`tests/leaving.rs::new_connections_are_not_marked`).

use backend_api::{Family, NodeNetwork, SyncError};

use crate::errors::{from_commit, from_open, from_read};
use crate::options::{Options, Others};
use crate::ownership::{Layout, Whose, foreign_table, ownership};
use crate::render::{base, rules};
use crate::ruleset::lower::{kernel_family, kernel_rule};
use crate::ruleset::{ChainName, Delivery, Label, Mark, Rule, Statement, TABLE};
use netlink::nftables::{Base, Batch, Chain, Hook, Nftables, Ownership, Rule as KernelRule, Table};

/// The name of the tables, one in `ip` and one in `ip6`.
pub const LEAVING_TABLE: &str = "switchyard-leaving";

/// Behind `undelivered`, which labels what is marked in the tables that mark.
const LATE_LABEL: i32 = -89;
/// Behind `nat-postrouting` of the tables that mark, which takes marks away.
const LATE: i32 = 101;

/// The tables `switchyard-leaving` of one network namespace.
#[derive(Debug)]
pub struct LeavingTables {
    nftables: Nftables,
    /// About the tables `switchyard`, to see whether they mark.
    in_force: Nftables,
    others: Others,
    /// How we own tables that we make, once it is known.
    ownership: Option<Ownership>,
}

/// Chains with their rules, as the kernel has them.
type Chains = Vec<(Chain, Vec<KernelRule>)>;

impl LeavingTables {
    /// Opens sockets in the network namespace that `options` name. Within a tokio runtime. Nothing is written.
    ///
    /// # Errors
    /// [`SyncError::Unsupported`] where the process lacks something.
    pub fn open(options: Options) -> Result<Self, SyncError> {
        let nftables = Nftables::open_in(&options.namespace, LEAVING_TABLE).map_err(from_open)?;
        let in_force = Nftables::open_in(&options.namespace, TABLE).map_err(from_open)?;
        Ok(Self { nftables, in_force, others: options.others, ownership: None })
    }

    /// Whether IPVS may have connections, as far as tables tell: these exist, or those in force mark.
    ///
    /// # Errors
    /// As [`backend_api::Dataplane::observe`].
    pub async fn tell(&mut self) -> Result<bool, SyncError> {
        let leaving = self.nftables.tables().await.map_err(from_read)?;
        let in_force = self.in_force.tables().await.map_err(from_read)?;
        let marks = in_force.iter().any(|table| Layout::Marking.whose(table) == Whose::Ours);
        Ok(marks || leaving.iter().any(is_ours))
    }

    /// Makes the tables be there, whole. Answers how many writes that took. To be called before the tables that mark
    /// go.
    ///
    /// # Errors
    /// The kernel's, and that a foreign table has this name. Nothing was written then.
    pub async fn establish(&mut self) -> Result<usize, SyncError> {
        let there = self.nftables.tables().await.map_err(from_read)?;
        let ownership = self.ownership().await?;
        let mut batch = Batch::new(LEAVING_TABLE);
        let mut writes = 0;
        for family in Family::ALL {
            let of = kernel_family(family);
            let table = Layout::Leaving.table(family, ownership);
            let wanted = wanted_chains(family);
            if let Some(found) = there.iter().find(|table| table.family == of) {
                match Layout::Leaving.whose(found) {
                    Whose::Foreign => return Err(foreign_table(family, LEAVING_TABLE)),
                    Whose::Ours if self.is_whole(family, &wanted).await? => {
                        // Left by a process that is gone; ours from now on, which is no change.
                        if ownership == Ownership::Kept && found.is_orphaned() {
                            batch.put_table(0, &table);
                        }
                        continue;
                    }
                    Whose::Ours | Whose::OursOfOld => batch.remove_table(0, of),
                }
            }
            put(&mut batch, &table, &wanted);
            writes += 1;
        }
        if !batch.is_empty() {
            self.nftables.commit(&mut batch).await.map_err(from_commit)?;
        }
        Ok(writes)
    }

    /// Removes the tables. Answers how many writes that took.
    ///
    /// # Errors
    /// The kernel's; nothing was removed then.
    pub async fn remove(&mut self) -> Result<usize, SyncError> {
        let there = self.nftables.tables().await.map_err(from_read)?;
        let mut batch = Batch::new(LEAVING_TABLE);
        for (operation, table) in (0..).zip(there.iter().filter(|table| is_ours(table))) {
            batch.remove_table(operation, table.family);
        }
        if batch.is_empty() {
            return Ok(0);
        }
        self.nftables.commit(&mut batch).await.map_err(from_commit)?;
        Ok(batch.len())
    }

    async fn ownership(&mut self) -> Result<Ownership, SyncError> {
        match self.ownership {
            Some(known) => Ok(known),
            None => Ok(*self.ownership.insert(ownership(&mut self.nftables, self.others).await?)),
        }
    }

    /// Whether a table has these chains and rules, and nothing else.
    async fn is_whole(&mut self, family: Family, wanted: &Chains) -> Result<bool, SyncError> {
        let of = kernel_family(family);
        let chains = self.nftables.chains(of).await.map_err(from_read)?;
        let rules = self.nftables.rules(of).await.map_err(from_read)?;
        Ok(chains.len() == wanted.len()
            && wanted.iter().all(|(chain, wanted)| {
                let there = rules.iter().filter(|rule| rule.chain == chain.name).map(|rule| &rule.exprs);
                chains.contains(chain) && wanted.iter().map(|rule| &rule.exprs).eq(there)
            }))
    }
}

/// Whether a table `switchyard-leaving` is ours, of any layout.
fn is_ours(table: &Table) -> bool {
    Layout::Leaving.whose(table) != Whose::Foreign
}

/// A whole table. Its operations need no numbers: an error names its object, and all stand for the same thing.
fn put(batch: &mut Batch, table: &Table, chains: &Chains) {
    batch.put_table(0, table);
    for (chain, rules) in chains {
        batch.put_chain(0, table.family, chain);
        rules.iter().for_each(|rule| batch.append_rule(0, table.family, rule));
    }
}

/// The chains of a whole table, in the order in which they are put.
fn wanted_chains(family: Family) -> Chains {
    vec![
        as_marking(ChainName::Deliver, family),
        chain(ChainName::RouteOutput.to_string(), base(ChainName::RouteOutput, Delivery::Mark), route_output(), family),
        as_marking(ChainName::Unmark, family),
        as_marking(ChainName::Bystander, family),
        as_marking(ChainName::Veil, family),
        as_marking(ChainName::Unveil, family),
        late("late-prerouting", (Hook::Prerouting, LATE_LABEL), late_label(), family),
        late("late-output", (Hook::Output, LATE_LABEL), late_label(), family),
        late("late-postrouting", (Hook::Postrouting, LATE), late_source(), family),
    ]
}

/// A chain as the tables that mark have it.
fn as_marking(name: ChainName, family: Family) -> (Chain, Vec<KernelRule>) {
    let of_chain = rules(name, &NodeNetwork::unknown(), family, Delivery::Mark);
    chain(name.to_string(), base(name, Delivery::Mark), of_chain, family)
}

/// A chain for first packets that were on their way when the tables that mark went.
fn late(name: &str, (hook, priority): (Hook, i32), rules: Vec<Rule>, family: Family) -> (Chain, Vec<KernelRule>) {
    chain(name.to_owned(), Some(Base::new("nat", hook, priority)), rules, family)
}

fn chain(name: String, base: Option<Base>, rules: Vec<Rule>, family: Family) -> (Chain, Vec<KernelRule>) {
    let rules = rules.iter().map(|rule| kernel_rule(&name, rule, family)).collect();
    (Chain { name, base }, rules)
}

/// As in the tables that mark; but they know the node's addresses, and here the kernel is asked.
fn route_output() -> Vec<Rule> {
    vec![
        // oifname != "lo" ct direction original ct label 117 fib daddr type local meta mark set 0x53000000
        Rule(vec![
            Statement::NotLeavingThroughLo,
            Statement::FromClient,
            Statement::Labelled(Label::SERVED),
            Statement::DestinationIsLocal,
            Statement::SetMark(Mark::DELIVER),
        ]),
    ]
}

/// First packets that were marked just when the tables that mark went, before those had labelled the connection.
fn late_label() -> Vec<Rule> {
    vec![
        // meta mark & 0xff000000 == 0x53000000 ct label set 117
        Rule(vec![Statement::Marked, Statement::SetLabel(Label::SERVED)]),
    ]
}

/// First packets that were on their way when the tables that mark went. What says whose source is to be rewritten went
/// with them, and an answer that does not come back is worse than a source that is not the client's.
fn late_source() -> Vec<Rule> {
    vec![
        // meta mark & 0xff000000 != 0x53000000 accept
        Rule(vec![Statement::NotMarked, Statement::Accept]),
        // meta mark set 0x00000000
        Rule(vec![Statement::SetMark(Mark(0))]),
        // masquerade fully-random
        Rule(vec![Statement::Masquerade]),
    ]
}
