//! The real side of [`Port`]: our tables in the kernel.

use backend_api::{Family, SyncError};
use tracing::{Instrument, trace_span};

use crate::ahead::Ahead;
use crate::content::Content;
use crate::encode::encode;
use crate::port::{Counters, Port};
use crate::probe;
use crate::read::{ASKED_FROM, Reader};
use crate::ruleset::layout::key_bytes;
use crate::ruleset::lower::kernel_family;
use crate::ruleset::{Key, SetName};
use crate::transaction::Transaction;
use netlink::ReadError;
use netlink::nftables::{Batch, CommitError, Counter, Flowtable, Nftables, Ownership, Table, Watch};

/// What the message that closes a batch takes, and some more.
const CLOSING: usize = 64;

/// The kernel.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// The socket.
    pub(crate) nftables: Nftables,
    /// For changes by others; none where the kernel keeps others off. As long as any program listens, the kernel builds
    /// a notification for each element that any program commits in any network namespace: more than a gigabyte for
    /// 150,000.
    pub(crate) watch: Option<Watch>,
    /// How we own tables that we make.
    pub(crate) ownership: Ownership,
    /// What was read while the first state was being collected.
    pub(crate) ahead: Ahead,
}

impl Port for Kernel {
    fn owner(&self) -> (u32, Ownership) {
        (self.nftables.port(), self.ownership)
    }

    async fn tables(&mut self) -> Result<Vec<Table>, ReadError> {
        self.nftables.tables().await
    }

    async fn lacks_flowtables(&mut self) -> Result<Option<String>, SyncError> {
        probe::lacks_flowtables(&mut self.nftables).await
    }

    async fn content(&mut self, family: Family, counters: Counters) -> Result<Content, ReadError> {
        if counters == Counters::Earlier
            && let Some(content) = self.ahead.take(family, &mut self.nftables).await
        {
            return Ok(content);
        }
        Reader { nftables: &mut self.nftables, asked_from: ASKED_FROM }.content(family).await
    }

    async fn flowtables(&mut self, family: Family) -> Result<Vec<Flowtable>, ReadError> {
        self.nftables.flowtables(kernel_family(family)).await
    }

    async fn counters(&mut self, places: &[(Family, SetName, Key)]) -> Result<Vec<Option<Counter>>, ReadError> {
        let mut counters = Vec::with_capacity(places.len());
        for run in places.chunk_by(|one, next| (one.0, one.1) == (next.0, next.1)) {
            let (family, set, _) = run[0];
            let keys: Vec<Vec<u8>> = run.iter().map(|(.., key)| key_bytes(*key)).collect();
            let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
            counters.extend(self.nftables.counters(kernel_family(family), set.as_str(), &keys).await?);
        }
        Ok(counters)
    }

    async fn remembered(&mut self, family: Family) -> Result<Option<u32>, ReadError> {
        let counts = self.nftables.counts(kernel_family(family)).await?;
        Ok(counts.into_iter().find(|(name, _)| name == SetName::Affinity.as_str()).and_then(|(_, count)| count))
    }

    async fn commit(&mut self, transaction: &Transaction) -> Result<(), CommitError> {
        let mut batch = trace_span!("encode").in_scope(|| encode(transaction, self.nftables.table(), self.ownership));
        let bytes = batch.bytes() + CLOSING;
        let room = self.nftables.room_for(bytes)?;
        if bytes > room {
            return self.commit_in_parts(transaction, bytes, room).await;
        }
        self.commit_batch(&mut batch).instrument(trace_span!("kernel")).await
    }
}

impl Kernel {
    async fn commit_batch(&mut self, batch: &mut Batch) -> Result<(), CommitError> {
        match &mut self.watch {
            Some(watch) => self.nftables.commit_unwatched(batch, watch).await,
            None => self.nftables.commit(batch).await,
        }
    }

    /// Commits what is too long for one message as several transactions. Each leaves every frontend as it was or as it
    /// shall be.
    ///
    /// # Errors
    /// As [`Port::commit`], and what came before may have been done. A refusal names no operations then.
    async fn commit_in_parts(
        &mut self,
        transaction: &Transaction,
        bytes: usize,
        room: usize,
    ) -> Result<(), CommitError> {
        // Elements differ in length: a third is left free.
        let each = bytes / transaction.len().max(1) + 1;
        let parts = transaction.parts((room / each * 2 / 3).max(1));
        let count = parts.len();
        tracing::warn!(
            bytes,
            room,
            parts = count,
            "change is longer than one message of this process to the kernel and is made in parts: raise net.core.wmem_max"
        );
        for part in parts {
            let mut batch = encode(&part, self.nftables.table(), self.ownership);
            match self.commit_batch(&mut batch).await {
                Ok(()) => {}
                Err(CommitError::Refused(mut refusals)) => {
                    refusals.iter_mut().for_each(|refusal| refusal.operations.clear());
                    return Err(CommitError::Refused(refusals));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
