//! The seam between programming and the kernel: its two sides are the kernel itself and a fake that refuses what the
//! kernel refuses.

use std::fmt::Debug;
use std::future::Future;

use backend_api::{Family, SyncError};

use crate::content::Content;
use crate::ruleset::{Key, SetName};
use crate::transaction::Transaction;
use netlink::ReadError;
use netlink::nftables::{CommitError, Counter, Flowtable, Ownership, Table};

/// Which counters what was read shall have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counters {
    /// Those of now.
    Current,
    /// Those of any time since the port was opened: they do not matter.
    Earlier,
}

/// Where our tables are.
pub(crate) trait Port: Debug + Send {
    /// What tells us from other owners of tables, and whether we own those that we make.
    fn owner(&self) -> (u32, Ownership);

    /// The tables of our name.
    fn tables(&mut self) -> impl Future<Output = Result<Vec<Table>, ReadError>> + Send;

    /// Why connections cannot be handed to a flowtable; none where they can.
    fn lacks_flowtables(&mut self) -> impl Future<Output = Result<Option<String>, SyncError>> + Send;

    /// Everything in the table of `family`.
    fn content(
        &mut self,
        family: Family,
        counters: Counters,
    ) -> impl Future<Output = Result<Content, ReadError>> + Send;

    /// The flowtables in the table of `family`.
    fn flowtables(&mut self, family: Family) -> impl Future<Output = Result<Vec<Flowtable>, ReadError>> + Send;

    /// The counters of the elements at these places; none for one that is not there.
    fn counters(
        &mut self,
        places: &[(Family, SetName, Key)],
    ) -> impl Future<Output = Result<Vec<Option<Counter>>, ReadError>> + Send;

    /// How many clients session affinity remembers in the table of `family`; none where the kernel does not tell (before
    /// Linux 6.16).
    fn remembered(&mut self, family: Family) -> impl Future<Output = Result<Option<u32>, ReadError>> + Send;

    /// Does all of it or nothing.
    fn commit(&mut self, transaction: &Transaction) -> impl Future<Output = Result<(), CommitError>> + Send;
}
