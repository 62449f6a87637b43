//! The connection to nf_tables: one socket for life, because the kernel ties a table's owner to its socket.

use super::batch::Batch;
use super::error::{CommitError, ReadError};
use super::expr::{Counter, Family};
use super::object::{Chain, Element, Rule, Set, Table};

/// A connection to nf_tables, about the tables of one name.
#[derive(Debug)]
pub struct Nftables {
    table: String,
}

/// What this kernel can do to keep others off a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// `NFT_TABLE_F_OWNER` and `NFT_TABLE_F_PERSIST` (Linux 6.9): others cannot touch it while we live, and it stays when we go.
    Kept,
    /// Nothing that would let the table stay when we go.
    None,
}

impl Nftables {
    /// Opens the socket in the network namespace of this thread.
    ///
    /// # Errors
    /// The socket's.
    pub fn open(table: &str) -> std::io::Result<Self> {
        Ok(Nftables { table: table.to_owned() })
    }

    /// The name of the tables.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// The netlink port id of the socket: the owner of its tables, and how [`super::Watch`] tells us from others.
    pub fn port(&self) -> u32 {
        todo!()
    }

    /// Does everything in the batch, or nothing. The kernel works while the thread waits: 100,000 elements take some 100 ms.
    ///
    /// # Errors
    /// Nothing was done, but for [`CommitError::Unclear`].
    pub async fn commit(&mut self, _batch: &mut Batch) -> Result<(), CommitError> {
        todo!()
    }

    /// The ruleset's generation: it changes with every commit by anybody.
    ///
    /// # Errors
    /// As [`ReadError`] says.
    pub async fn generation(&mut self) -> Result<u32, ReadError> {
        todo!()
    }

    /// The tables of our name, in both families.
    ///
    /// # Errors
    /// As [`ReadError`] says.
    pub async fn tables(&mut self) -> Result<Vec<Table>, ReadError> {
        todo!()
    }

    /// The chains.
    ///
    /// # Errors
    /// As [`ReadError`] says.
    pub async fn chains(&mut self, _family: Family) -> Result<Vec<Chain>, ReadError> {
        todo!()
    }

    /// The rules, in order within each chain.
    ///
    /// # Errors
    /// As [`ReadError`] says.
    pub async fn rules(&mut self, _family: Family) -> Result<Vec<Rule>, ReadError> {
        todo!()
    }

    /// The sets and maps, anonymous ones included.
    ///
    /// # Errors
    /// As [`ReadError`] says.
    pub async fn sets(&mut self, _family: Family) -> Result<Vec<Set>, ReadError> {
        todo!()
    }

    /// Folds over the elements of a set or a map, in no order. Starts again from `empty` if the ruleset changes meanwhile.
    ///
    /// # Errors
    /// As [`ReadError`] says.
    pub async fn elements<A>(
        &mut self,
        _family: Family,
        _set: &str,
        _empty: impl Fn() -> A,
        _add: impl FnMut(&mut A, &Element<'_>),
    ) -> Result<A, ReadError> {
        todo!()
    }

    /// The counters of some elements, in the order of their keys; none for a key that is not there, or has none.
    ///
    /// # Errors
    /// As [`ReadError`] says.
    pub async fn counters(
        &mut self,
        _family: Family,
        _set: &str,
        _keys: &[&[u8]],
    ) -> Result<Vec<Option<Counter>>, ReadError> {
        todo!()
    }

    /// What this kernel can do to keep others off our tables: probed once, on a table that is never committed.
    ///
    /// # Errors
    /// As [`ReadError`] says.
    pub async fn ownership(&mut self) -> Result<Ownership, ReadError> {
        todo!()
    }
}
