//! Hands a batch to the kernel and finds out what became of it.
//!
//! Kept apart from reading: here alone something changes. The kernel answers while a batch is sent, so there is
//! nothing to wait for. It names every operation that it refuses; an answer to the header is about the whole batch.

use nix::errno::Errno;

use super::Nftables;
use crate::error::ReadError;
use crate::message::Ack;
use crate::nftables::batch::Batch;
use crate::nftables::error::{CommitError, Refusal};
use crate::nftables::expr::Family;
use crate::nftables::object::{TABLE_KEPT, Table};

/// What this kernel can do to keep other programs off a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// [`TABLE_KEPT`] (Linux 6.9): other programs cannot change it while its owner
    /// lives, and it stays when the owner goes.
    Kept,
    /// Nothing that would let the table stay when its owner goes.
    None,
}

impl Ownership {
    /// The flags of a table that others are kept off as far as the kernel can: [`TABLE_KEPT`], or none.
    pub const fn table_flags(self) -> u32 {
        match self {
            Ownership::Kept => TABLE_KEPT,
            Ownership::None => 0,
        }
    }
}

impl Nftables {
    /// Does everything in the batch, or nothing. An empty batch asks nothing of the kernel.
    ///
    /// The kernel does its work on this thread, before the first suspension: 100,000 elements take it 0.1 to 0.2 s. A
    /// future that is dropped has committed.
    ///
    /// # Errors
    /// Nothing was done, but for [`CommitError::Unclear`] and [`CommitError::Socket`].
    pub async fn commit(&mut self, batch: &mut Batch) -> Result<(), CommitError> {
        if batch.is_empty() {
            return Ok(());
        }
        match self.hand_over(batch)? {
            Outcome::Done => Ok(()),
            Outcome::Refused(refusals) => Err(CommitError::Refused(refusals)),
            Outcome::Lost => self.resolve(batch).await,
        }
    }

    /// Sends a batch, and reads what the kernel says to it.
    pub(super) fn hand_over(&mut self, batch: &mut Batch) -> Result<Outcome, CommitError> {
        let first = self.socket.reserve(batch.messages() + 1);
        if let Err(error) = self.socket.send(batch.encoded(first)) {
            return Err(match Errno::from_raw(error.raw_os_error().unwrap_or_default()) {
                errno @ Errno::EMSGSIZE => {
                    let room = self.socket.room_for(batch.bytes()).unwrap_or_default();
                    let text = format!("{} bytes, {room} is the most here: raise net.core.wmem_max", batch.bytes());
                    CommitError::Whole { errno, text }
                }
                errno @ (Errno::EPERM | Errno::ENOMEM) => {
                    CommitError::Whole { errno, text: format!("{} bytes", batch.bytes()) }
                }
                _ => CommitError::Socket(error),
            });
        }
        self.outcome(batch, first)
    }

    /// Reads what the kernel said of a batch. Nothing to wait for: it answers while the batch is sent.
    fn outcome(&mut self, batch: &Batch, first: u32) -> Result<Outcome, CommitError> {
        let mut refusals = Vec::new();
        let (mut acknowledged, mut lost) = (false, false);
        loop {
            let messages = match self.socket.pending() {
                Ok(Some(messages)) => messages,
                Ok(None) => break,
                // The answers did not fit into the buffer, which says nothing about the batch.
                Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => {
                    lost = true;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            lost |= !messages.is_whole();
            for message in messages {
                let index = message.sequence.wrapping_sub(first);
                let Some(ack) = message.ack().filter(|_| index < batch.messages()) else { continue };
                match (index, ack.errno) {
                    (_, 0) => acknowledged = true,
                    // The header stands for the batch.
                    (0, errno) => return Err(whole(Errno::from_raw(errno), ack.text)),
                    (index, errno) => refusals.push(refusal(batch, index, Errno::from_raw(errno), ack)),
                }
            }
        }
        Ok(match (refusals.is_empty(), acknowledged && !lost) {
            (false, _) => Outcome::Refused(refusals),
            (true, true) => Outcome::Done,
            (true, false) => Outcome::Lost,
        })
    }

    /// Decides by the generation whether a batch was done whose answers were lost: it moves on by one with each that
    /// was.
    async fn resolve(&mut self, batch: &Batch) -> Result<(), CommitError> {
        let now = match self.generation().await {
            Ok(now) => now,
            Err(ReadError::Socket(error)) => return Err(CommitError::Socket(error)),
            Err(ReadError::Refused { .. } | ReadError::Raced { .. }) => return Err(CommitError::Unclear),
        };
        match batch.expected_generation() {
            0 => Err(CommitError::Unclear),
            expected if now == after(expected) => Ok(()),
            _ => Err(CommitError::Unclear),
        }
    }

    /// What this kernel can do to keep others off a table: asked with a batch that cannot succeed, so that nothing
    /// is ever created.
    ///
    /// # Errors
    /// As [`CommitError`] says, for other reasons than the question.
    pub async fn ownership(&mut self) -> Result<Ownership, CommitError> {
        const ASKED: u32 = 0;
        let name = format!("{}-probe-{}", self.table(), self.port());
        let mut batch = Batch::new(&name);
        batch.put_table(ASKED, &Table::new(Family::Ipv4).with_flags(TABLE_KEPT));
        batch.remove_chain(1, Family::Ipv4, "absent");
        match self.commit(&mut batch).await {
            Err(CommitError::Refused(refusals)) => {
                let known = refusals.iter().all(|refusal| !refusal.operations.contains(&ASKED));
                Ok(if known { Ownership::Kept } else { Ownership::None })
            }
            Err(error) => Err(error),
            Ok(()) => Ok(Ownership::None),
        }
    }
}

/// What became of a batch.
pub(super) enum Outcome {
    /// It was done.
    Done,
    /// Nothing of it was.
    Refused(Vec<Refusal>),
    /// The kernel said neither.
    Lost,
}

/// The generation after one commit.
pub(super) fn after(generation: u32) -> u32 {
    // 0 stands for any, and is passed over.
    generation.wrapping_add(1).max(1)
}

fn whole(errno: Errno, text: String) -> CommitError {
    match errno {
        Errno::ERESTART | Errno::EINTR | Errno::EAGAIN => CommitError::Raced,
        errno => CommitError::Whole { errno, text },
    }
}

fn refusal(batch: &Batch, index: u32, errno: Errno, ack: Ack) -> Refusal {
    Refusal {
        operations: batch.operations_of(index, ack.offset),
        object: batch.object_of(index),
        errno,
        text: ack.text,
    }
}
