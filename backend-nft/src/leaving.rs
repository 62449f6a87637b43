//! What established connections of IPVS need, while the tables in force translate by themselves.
//!
//! Kept in tables of their own, `switchyard-leaving`: those in force are replaced as a whole, and know nothing of connections
//! that somebody else began. The chains are those of the tables that mark, as far as they see established packets; whether
//! they are there says to whoever comes later that such connections may be left. Where IPVS never was, they never are.
//!
//! **Invariant:** no packet of a new connection is changed by them (`tests/leaving.rs::new_connections_are_not_marked`).

use backend_api::{Family, NodeNetwork, SyncError};

use crate::content::{Whose, leaving_signature, table_text_of, whose, whose_leaving};
use crate::dataplane::{Options, Others};
use crate::errors::{from_commit, from_open, from_read};
use crate::port::Kernel;
use crate::render::{base, rules};
use crate::ruleset::lower::{kernel_family, lower};
use crate::ruleset::{ChainName, Delivery, Label, Mark, Rule, Statement, TABLE};
use netlink::nftables::object::{TABLE_OWNER, TABLE_PERSIST};
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
    ours: Nftables,
    others: Others,
    /// `NFT_TABLE_F_*` of tables that we make, once it is known.
    flags: Option<u32>,
}

/// A chain with its rules, as the kernel has them.
type Chains = Vec<(Chain, Vec<KernelRule>)>;

impl LeavingTables {
    /// Opens sockets in the network namespace of this thread. Within a tokio runtime. Nothing is written.
    ///
    /// # Errors
    /// [`SyncError::Unsupported`] where the process lacks something.
    pub fn open(options: Options) -> Result<Self, SyncError> {
        let nftables = Nftables::open(LEAVING_TABLE).map_err(from_open)?;
        let ours = Nftables::open(TABLE).map_err(from_open)?;
        Ok(Self { nftables, ours, others: options.others, flags: None })
    }

    /// Whether IPVS may have connections, as far as tables tell: these are there, or those that mark.
    ///
    /// # Errors
    /// As [`backend_api::Dataplane::observe`].
    pub async fn tell(&mut self) -> Result<bool, SyncError> {
        let leaving = self.nftables.tables().await.map_err(from_read)?;
        let in_force = self.ours.tables().await.map_err(from_read)?;
        let marks = in_force.iter().any(|table| whose(table, Delivery::Mark) == Whose::Ours);
        Ok(marks || leaving.iter().any(|table| whose_leaving(table) != Whose::Strange))
    }

    /// Makes them be there, whole; how many writes that took. To be called before the tables that mark go.
    ///
    /// # Errors
    /// The kernel's, nothing was written then; or a table of this name is somebody else's.
    pub async fn establish(&mut self) -> Result<usize, SyncError> {
        let there = self.nftables.tables().await.map_err(from_read)?;
        let flags = self.flags().await?;
        let mut batch = Batch::new(LEAVING_TABLE);
        let mut writes = 0;
        for family in Family::ALL {
            let of = kernel_family(family);
            let table = Table { family: of, flags, owner: None, userdata: leaving_signature() };
            let wanted = wanted(family);
            match there.iter().find(|table| table.family == of) {
                None => {}
                Some(found) if whose_leaving(found) == Whose::Strange => return Err(strange(family)),
                Some(found) if whose_leaving(found) == Whose::Ours && self.is_whole(family, &wanted).await? => {
                    // Left by a process that is gone; ours from now on, which is no change.
                    if found.flags & (TABLE_OWNER | TABLE_PERSIST) == TABLE_PERSIST && flags == Kernel::OWNED {
                        batch.put_table(0, &table);
                    }
                    continue;
                }
                Some(_) => batch.remove_table(0, of),
            }
            put(&mut batch, &table, &wanted);
            writes += 1;
        }
        if !batch.is_empty() {
            self.nftables.commit(&mut batch).await.map_err(from_commit)?;
        }
        Ok(writes)
    }

    /// Removes them; how many writes that took.
    ///
    /// # Errors
    /// The kernel's; nothing was removed then.
    pub async fn remove(&mut self) -> Result<usize, SyncError> {
        let there = self.nftables.tables().await.map_err(from_read)?;
        let mut batch = Batch::new(LEAVING_TABLE);
        for (operation, table) in (0..).zip(there.iter().filter(|table| whose_leaving(table) != Whose::Strange)) {
            batch.remove_table(operation, table.family);
        }
        if batch.is_empty() {
            return Ok(0);
        }
        self.nftables.commit(&mut batch).await.map_err(from_commit)?;
        Ok(batch.len())
    }

    async fn flags(&mut self) -> Result<u32, SyncError> {
        if let Some(flags) = self.flags {
            return Ok(flags);
        }
        let flags = match self.others {
            Others::LetIn => 0,
            Others::KeptOut => match self.nftables.ownership().await.map_err(from_commit)? {
                Ownership::Kept => Kernel::OWNED,
                Ownership::None => 0,
            },
        };
        self.flags = Some(flags);
        Ok(flags)
    }

    /// Whether a table has these chains and rules, and nothing else.
    async fn is_whole(&mut self, family: Family, wanted: &Chains) -> Result<bool, SyncError> {
        let of = kernel_family(family);
        let chains = self.nftables.chains(of).await.map_err(from_read)?;
        let rules = self.nftables.rules(of).await.map_err(from_read)?;
        let of_chain = |name: &str| rules.iter().filter(|rule| rule.chain == name).map(|rule| &rule.exprs).collect();
        let is_there = |(chain, wanted): &(Chain, Vec<KernelRule>)| {
            let there: Vec<_> = of_chain(&chain.name);
            chains.contains(chain) && wanted.iter().map(|rule| &rule.exprs).eq(there)
        };
        Ok(chains.len() == wanted.len() && wanted.iter().all(is_there))
    }
}

fn strange(family: Family) -> SyncError {
    let reason = "a table of this name is there that does not say it is ours: rename or remove it".to_owned();
    SyncError::Refused { object: table_text_of(family, LEAVING_TABLE), reason }
}

/// A whole table. Its operations need no numbers: an error names its object, and all are of one mind.
fn put(batch: &mut Batch, table: &Table, chains: &Chains) {
    batch.put_table(0, table);
    for (chain, rules) in chains {
        batch.put_chain(0, table.family, chain);
        rules.iter().for_each(|rule| batch.append_rule(0, table.family, rule));
    }
}

fn wanted(family: Family) -> Chains {
    let node = NodeNetwork::unknown();
    let same = |chain: ChainName| {
        (chain.to_string(), base(chain, Delivery::Mark), rules(chain, &node, family, Delivery::Mark))
    };
    let late = |name: &str, hook, priority, rules: Vec<Rule>| {
        (name.to_owned(), Some(Base { kind: "nat".to_owned(), hook, priority }), rules)
    };
    let route_output = ChainName::RouteOutput;
    let all = [
        same(ChainName::Deliver),
        (route_output.to_string(), base(route_output, Delivery::Mark), self::route_output()),
        same(ChainName::Unmark),
        same(ChainName::Bystander),
        same(ChainName::Veil),
        same(ChainName::Unveil),
        late("late-prerouting", Hook::Prerouting, LATE_LABEL, late_label()),
        late("late-output", Hook::Output, LATE_LABEL, late_label()),
        late("late-postrouting", Hook::Postrouting, LATE, late_source()),
    ];
    let kernel_rule = |chain: &str, rule: &Rule| KernelRule {
        chain: chain.to_owned(),
        handle: 0,
        exprs: lower(rule, family),
        userdata: Vec::new(),
    };
    all.into_iter()
        .map(|(name, base, rules)| {
            let rules = rules.iter().map(|rule| kernel_rule(&name, rule)).collect();
            (Chain { name, base }, rules)
        })
        .collect()
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

/// First packets that were marked just when the tables that mark went, and before those had labelled the connection.
fn late_label() -> Vec<Rule> {
    vec![
        // meta mark & 0xff000000 == 0x53000000 ct label set 117
        Rule(vec![Statement::Marked, Statement::SetLabel(Label::SERVED)]),
    ]
}

/// First packets that were on their way when the tables that mark went. Nobody knows any more whose source is to be
/// rewritten, and an answer that does not come back is worse than a source that is not the client's.
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
