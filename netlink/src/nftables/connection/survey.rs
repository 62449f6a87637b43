//! Chains and rules of other programs, as far as one must know them to remove some: which there are, and which rule
//! jumps where.
//!
//! Kept apart from [`Nftables`]'s other lists, which read objects to the last attribute: another program may have
//! hundreds of thousands of rules, in forms that this crate never writes.

use super::{Nftables, begin};
use crate::attr::{Attr, Attrs, put_str};
use crate::error::ReadError;
use crate::message;
use crate::nftables::abi::*;
use crate::nftables::expr::{Family, Verdict};
use crate::nftables::object::Hook;
use crate::nftables::wire::{read_verdict, table_name};

/// `NFPROTO_UNSPEC` (linux/netfilter.h).
const ALL_FAMILIES: u8 = 0;

/// A chain of any table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ForeignChain {
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Where packets enter it; none for a chain that only others jump to.
    pub entry: Option<Entry>,
}

/// Where packets enter a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The hook; none for one that is not of IP, `ingress` for example.
    pub hook: Option<Hook>,
    /// What becomes of a packet that no rule has decided.
    pub policy: Policy,
}

/// What becomes of a packet that no rule of a base chain has decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Policy {
    /// `NF_ACCEPT`
    Accept,
    /// `NF_DROP`
    Drop,
}

/// A rule that leads to other chains.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Jump {
    /// The chain that it is in.
    pub chain: String,
    /// The kernel's name for it, within its table.
    pub handle: u64,
    /// Where it leads.
    pub targets: Vec<String>,
}

/// A table, chain, rule or set of any table and family, as the kernel describes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ForeignObject {
    /// What it is: `table`, `chain`, `rule` or `set`.
    pub kind: &'static str,
    /// `NFPROTO_*`
    pub family: u8,
    /// Its attributes as bytes. An object with other bytes is another object.
    pub attributes: Vec<u8>,
}

impl Nftables {
    /// Tables, chains, rules and sets of all tables and families, for a comparison with an earlier answer. Elements are
    /// not in it.
    ///
    /// # Errors
    /// As [`ReadError`] says.
    pub async fn foreign_objects(&mut self) -> Result<Vec<ForeignObject>, ReadError> {
        let kinds = [
            ("table", NFT_MSG_GETTABLE),
            ("chain", NFT_MSG_GETCHAIN),
            ("rule", NFT_MSG_GETRULE),
            ("set", NFT_MSG_GETSET),
        ];
        let mut all = Vec::new();
        for (kind, get) in kinds {
            let mut request = Vec::new();
            let start = begin(&mut request, get, ALL_FAMILIES);
            message::end(&mut request, start);
            let objects = self.socket.dump(kind, request, Vec::new, |objects, message| {
                let attributes = message.attrs().0.to_vec();
                objects.push(ForeignObject { kind, family: message.family(), attributes });
            });
            all.extend(objects.await?);
        }
        Ok(all)
    }

    /// The chains of all tables.
    ///
    /// # Errors
    /// As [`ReadError`] says.
    pub async fn foreign_chains(&mut self, family: Family) -> Result<Vec<ForeignChain>, ReadError> {
        let mut request = Vec::new();
        let start = begin(&mut request, NFT_MSG_GETCHAIN, family.abi() as u8);
        message::end(&mut request, start);
        self.socket
            .dump("chains", request, Vec::new, |all, message| {
                if message.family() == family.abi() as u8 {
                    all.extend(read_chain(message.attrs()));
                }
            })
            .await
    }

    /// The rules of the table that contain a jump or goto, in order within each chain. The elements of verdict maps are
    /// not looked at.
    ///
    /// # Errors
    /// As [`ReadError`] says.
    pub async fn jumps(&mut self, family: Family) -> Result<Vec<Jump>, ReadError> {
        let table = self.table().to_owned();
        let mut request = Vec::new();
        let start = begin(&mut request, NFT_MSG_GETRULE, family.abi() as u8);
        put_str(&mut request, NFTA_RULE_TABLE, &table);
        message::end(&mut request, start);
        self.socket
            .dump(&format!("rules of table {table}"), request, Vec::new, |all, message| {
                if message.family() == family.abi() as u8 && table_name(message.attrs()) == Some(&table) {
                    all.extend(read_jump(message.attrs()));
                }
            })
            .await
    }
}

fn read_chain(attrs: Attrs<'_>) -> Option<ForeignChain> {
    let entry = attrs.find(NFTA_CHAIN_HOOK).map(|hook| Entry {
        hook: hook.nested().find(NFTA_HOOK_HOOKNUM).and_then(Attr::be32).and_then(Hook::from_abi),
        policy: match attrs.find(NFTA_CHAIN_POLICY).and_then(Attr::be32) {
            Some(NF_DROP) => Policy::Drop,
            _ => Policy::Accept,
        },
    });
    Some(ForeignChain {
        table: attrs.find(NFTA_CHAIN_TABLE)?.str()?.to_owned(),
        name: attrs.find(NFTA_CHAIN_NAME)?.str()?.to_owned(),
        entry,
    })
}

/// None for a rule that leads nowhere.
fn read_jump(attrs: Attrs<'_>) -> Option<Jump> {
    let mut targets = Vec::new();
    for expr in attrs.find(NFTA_RULE_EXPRESSIONS)?.nested() {
        targets.extend(target(expr.nested()).map(str::to_owned));
    }
    if targets.is_empty() {
        return None;
    }
    Some(Jump {
        chain: attrs.find(NFTA_RULE_CHAIN)?.str()?.to_owned(),
        handle: attrs.find(NFTA_RULE_HANDLE)?.be64()?,
        targets,
    })
}

fn target(expr: Attrs<'_>) -> Option<&str> {
    if expr.find(NFTA_EXPR_NAME)?.str()? != "immediate" {
        return None;
    }
    match read_verdict(expr.find(NFTA_EXPR_DATA)?.nested().find(NFTA_IMMEDIATE_DATA)?.nested())? {
        Verdict::Jump(chain) | Verdict::Goto(chain) => Some(chain),
        Verdict::Accept | Verdict::Drop | Verdict::Continue | Verdict::Return => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nftables::expr::Expr;
    use crate::nftables::object::Rule;
    use crate::nftables::wire::put_rule;

    fn check(exprs: Vec<Expr>, expected: &[&str]) {
        let rule = Rule::new("PREROUTING", exprs);
        let mut bytes = Vec::new();
        put_rule(&mut bytes, "nat", &rule);
        crate::attr::put_be64(&mut bytes, NFTA_RULE_HANDLE, 7);
        let targets: Vec<_> = expected.iter().map(|target| (*target).to_owned()).collect();
        let expected = (!targets.is_empty()).then(|| Jump { chain: "PREROUTING".into(), handle: 7, targets });
        assert_eq!(read_jump(Attrs(&bytes)), expected);
    }

    #[test]
    fn only_rules_that_lead_somewhere_are_jumps() {
        let unknown = Expr::Unknown { name: "match".into(), data: vec![0; 8] };
        let to = |chain: &str| Expr::Verdict(Verdict::Jump(chain.to_owned()));
        check(vec![unknown.clone(), to("KUBE-SERVICES")], &["KUBE-SERVICES"]);
        check(vec![Expr::Verdict(Verdict::Goto("elsewhere".into()))], &["elsewhere"]);
        check(vec![unknown], &[]);
        check(vec![Expr::Verdict(Verdict::Accept)], &[]);
    }
}
