//! The connection to nf_tables: one socket for life, because the kernel ties a table's owner to its socket.
//!
//! This file holds the questions about the tables of that name. Commits and questions about other tables are beside it.

use std::io;

use nix::errno::Errno;

use super::abi::*;
use super::expr::{Counter, Family};
use super::notification::ElementList;
use super::object::{Chain, Element, Flowtable, Rule, Set, Table};
use super::watch::Watch;
use super::wire::{read_chain, read_flowtable, read_rule, read_set, read_table, table_name};
use crate::attr::put_str;
use crate::error::ReadError;
use crate::message::{self, Ack, Message};
use crate::namespace::Namespace;
use crate::socket::Socket;

mod commit;
mod find;
mod survey;
mod unwatched;

pub use commit::Ownership;
pub use survey::{Entry, ForeignChain, ForeignObject, Jump, Policy};

/// A connection to nf_tables, about the tables of one name in families `ip` and `ip6`.
#[derive(Debug)]
pub struct Nftables {
    pub(super) socket: Socket,
    namespace: Namespace,
    table: String,
}

impl Nftables {
    /// Opens the socket in the network namespace of this thread. Within a tokio runtime.
    ///
    /// # Errors
    /// The socket's.
    pub fn open(table: &str) -> io::Result<Self> {
        Self::open_in(&Namespace::Current, table)
    }

    /// Opens the socket in a network namespace. Within a tokio runtime.
    ///
    /// # Errors
    /// The socket's, and those of [`Namespace::run`].
    pub fn open_in(namespace: &Namespace, table: &str) -> io::Result<Self> {
        Ok(Nftables { socket: Socket::netfilter(namespace)?, namespace: namespace.clone(), table: table.to_owned() })
    }

    /// The name of the tables.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// The netlink port id of the socket: the owner of the tables that it puts with `NFT_TABLE_F_OWNER`.
    pub fn port(&self) -> u32 {
        self.socket.port()
    }

    /// How long a batch may be that the kernel takes from this process, `bytes` if it can be: see [`Socket::room_for`].
    ///
    /// # Errors
    /// The kernel's.
    pub fn room_for(&mut self, bytes: usize) -> io::Result<usize> {
        self.socket.room_for(bytes)
    }

    /// Bytes that were sent to the kernel since this was opened.
    pub fn sent(&self) -> u64 {
        self.socket.sent()
    }

    /// Begins to watch for changes of the tables of this name by other sockets, in the namespace that this was opened
    /// in. If that was [`Namespace::Current`], the calling thread must still be in it.
    ///
    /// # Errors
    /// The socket's, and those of [`Namespace::run`].
    pub fn watch(&self) -> io::Result<Watch> {
        Watch::open(&self.namespace, &self.table, self.port())
    }

    /// The ruleset's generation: it changes with every commit in the network namespace, of any program.
    ///
    /// # Errors
    /// As [`ReadError`] says.
    pub async fn generation(&mut self) -> Result<u32, ReadError> {
        let mut request = Vec::new();
        let start = begin(&mut request, NFT_MSG_GETGEN, 0);
        message::end(&mut request, start);
        let mut answer = Err(Ack { errno: 0, offset: None, text: String::new() });
        self.socket
            .ask(request, |_, message| {
                answer = match message.ack() {
                    Some(ack) => Err(ack),
                    None => Ok(message.attrs().find(NFTA_GEN_ID).and_then(|attr| attr.be32()).unwrap_or_default()),
                };
            })
            .await?;
        answer.map_err(|ack| refused("generation", ack))
    }

    /// The tables of this name: none, one, or one in each family.
    ///
    /// # Errors
    /// As [`ReadError`] says.
    pub async fn tables(&mut self) -> Result<Vec<Table>, ReadError> {
        let Nftables { socket, table, .. } = self;
        let mut request = Vec::new();
        let start = begin(&mut request, NFT_MSG_GETTABLE, 0);
        message::end(&mut request, start);
        socket
            .dump("tables", request, Vec::new, |tables, message| {
                let family = Family::from_abi(message.family().into());
                if let Some(family) = family.filter(|_| table_name(message.attrs()) == Some(table)) {
                    tables.push(read_table(family, message.attrs()));
                }
            })
            .await
    }

    /// The chains of the table.
    ///
    /// # Errors
    /// As [`ReadError`] says.
    pub async fn chains(&mut self, family: Family) -> Result<Vec<Chain>, ReadError> {
        self.list("chains", NFT_MSG_GETCHAIN, NFTA_CHAIN_TABLE, family, |message| read_chain(message.attrs())).await
    }

    /// The rules of the table, in order within each chain.
    ///
    /// # Errors
    /// As [`ReadError`] says.
    pub async fn rules(&mut self, family: Family) -> Result<Vec<Rule>, ReadError> {
        self.list("rules", NFT_MSG_GETRULE, NFTA_RULE_TABLE, family, |message| read_rule(message.attrs())).await
    }

    /// The sets and maps of the table, anonymous ones included. Elements are not in it: see [`Nftables::elements`].
    ///
    /// # Errors
    /// As [`ReadError`] says.
    pub async fn sets(&mut self, family: Family) -> Result<Vec<Set>, ReadError> {
        self.list("sets", NFT_MSG_GETSET, NFTA_SET_TABLE, family, |message| read_set(message.attrs())).await
    }

    /// The flowtables of the table, with their devices; none where the kernel has no flowtables.
    ///
    /// # Errors
    /// As [`ReadError`] says.
    pub async fn flowtables(&mut self, family: Family) -> Result<Vec<Flowtable>, ReadError> {
        self.list("flowtables", NFT_MSG_GETFLOWTABLE, NFTA_FLOWTABLE_TABLE, family, |message| {
            read_flowtable(message.attrs())
        })
        .await
    }

    /// Folds over the elements of a set or a map, in no order. Begins again from `empty` if the ruleset changes
    /// meanwhile.
    ///
    /// The kernel walks the set from its beginning for each 32 KiB of answer, so the cost grows with the square:
    /// 50,000 elements of a map take 0.1 s, 200,000 take 1.4 s. [`Nftables::find`] asks for what is known, at a constant
    /// price, and is cheaper from about 35,000 on.
    ///
    /// # Errors
    /// As [`ReadError`] says; a set that is not there is refused with `ENOENT`.
    pub async fn elements<A>(
        &mut self,
        family: Family,
        set: &str,
        empty: impl Fn() -> A,
        mut add: impl FnMut(&mut A, &Element<'_>),
    ) -> Result<A, ReadError> {
        let mut request = Vec::new();
        let start = begin(&mut request, NFT_MSG_GETSETELEM, family.abi() as u8);
        put_str(&mut request, NFTA_SET_ELEM_LIST_TABLE, &self.table);
        put_str(&mut request, NFTA_SET_ELEM_LIST_SET, set);
        message::end(&mut request, start);
        let object = object(family, &self.table, &format!("set {set}"));
        self.socket
            .dump(&object, request, empty, |all, message| {
                ElementList::of(message.attrs()).iter().for_each(|element| add(all, &element));
            })
            .await
    }

    /// The number of elements in each set, by the set's name; none where the kernel does not tell (before Linux
    /// 6.16).
    ///
    /// # Errors
    /// As [`ReadError`] says.
    pub async fn counts(&mut self, family: Family) -> Result<Vec<(String, Option<u32>)>, ReadError> {
        self.list("sets", NFT_MSG_GETSET, NFTA_SET_TABLE, family, |message| {
            let attrs = message.attrs();
            let name = attrs.find(NFTA_SET_NAME)?.str()?.to_owned();
            Some((name, attrs.find(NFTA_SET_COUNT).and_then(|attr| attr.be32())))
        })
        .await
    }

    /// The counters of some elements, in the order of their keys; none for a key that is not there, or has none.
    ///
    /// # Errors
    /// As [`Nftables::find`].
    pub async fn counters(
        &mut self,
        family: Family,
        set: &str,
        keys: &[&[u8]],
    ) -> Result<Vec<Option<Counter>>, ReadError> {
        let mut counters = vec![None; keys.len()];
        self.find(family, set, keys, |index, element| counters[index] = element.counter).await?;
        Ok(counters)
    }

    async fn list<T>(
        &mut self,
        what: &str,
        kind: u16,
        table_attr: u16,
        family: Family,
        read: impl Fn(&Message<'_>) -> Option<T>,
    ) -> Result<Vec<T>, ReadError> {
        let Nftables { socket, table, .. } = self;
        let mut request = Vec::new();
        let start = begin(&mut request, kind, family.abi() as u8);
        put_str(&mut request, table_attr, table);
        message::end(&mut request, start);
        socket
            .dump(&object(family, table, what), request, Vec::new, |all, message| {
                // Older kernels overlook the name for some kinds of object.
                if table_name(message.attrs()) == Some(table) {
                    all.extend(read(&message));
                }
            })
            .await
    }
}

fn refused(object: &str, ack: Ack) -> ReadError {
    ReadError::Refused { object: object.to_owned(), errno: Errno::from_raw(ack.errno), text: ack.text }
}

fn object(family: Family, table: &str, what: &str) -> String {
    format!("{family} {table} {what}")
}

fn begin(bytes: &mut Vec<u8>, kind: u16, family: u8) -> usize {
    message::begin(bytes, (NFNL_SUBSYS_NFTABLES << 8) | kind, 0, family)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A dataplane is driven from any thread of a runtime.
    #[test]
    fn connections_and_batches_can_change_threads() {
        fn check<T: Send>() {}
        check::<(Nftables, Watch, super::super::Monitor, crate::conntrack::Conntrack, super::super::Batch)>();
    }
}
