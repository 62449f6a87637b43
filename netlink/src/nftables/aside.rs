//! Commits a large batch while our own watch stands aside.
//!
//! For each element that is committed the kernel builds a notification, if anybody at all listens: 100,000 of them take it
//! longer than the elements. The watch's filter drops ours, but only once they are built. So the watch leaves its group for
//! that long, and what others may have done meanwhile is found by the generation, which counts every commit:
//!
//! ```text
//!  generation g ─► barrier: g is settled ─► leave ─► commit, only at g ─► join ─► generation g + 1? nobody else wrote
//!                  all up to g is queued            (else: nothing done)          another? somebody may have, unseen
//! ```
//!
//! Small batches do without: their few notifications cost less than the questions.

use super::batch::Batch;
use super::commit::{Outcome, after};
use super::connection::Nftables;
use super::error::CommitError;
use super::notify::Watch;
use crate::error::ReadError;

/// Pushes from which it pays to ask.
const MANY: usize = 256;

/// How often others may commit in between before we let the watch listen.
const ATTEMPTS: u32 = 3;

impl Nftables {
    /// As [`Nftables::commit`]; `watch`, which is about the same tables, is spared the batch if it is large. What others
    /// do meanwhile is noticed as ever, and at worst they are suspected although they did something else.
    ///
    /// # Errors
    /// As [`Nftables::commit`].
    pub async fn commit_aside(&mut self, batch: &mut Batch, watch: &mut Watch) -> Result<(), CommitError> {
        if batch.len() < MANY || batch.expected_generation() != 0 {
            return self.commit(batch).await;
        }
        for _ in 0..ATTEMPTS {
            let Some(generation) = self.settled().await? else { continue };
            batch.expect_generation(generation);
            let outcome = self.unheard(batch, watch);
            batch.expect_generation(0);
            match outcome {
                Err(CommitError::Raced) => {
                    watch.suspect();
                }
                Err(error) => return Err(error),
                Ok(Outcome::Refused(refusals)) => return Err(CommitError::Refused(refusals)),
                Ok(outcome) => return self.only_ours(generation, outcome, watch).await,
            }
        }
        self.commit(batch).await
    }

    /// The generation, once everything up to it has been told to whoever watches; none if somebody commits just now.
    async fn settled(&mut self) -> Result<Option<u32>, CommitError> {
        let generation = match self.generation().await {
            Ok(generation) => generation,
            Err(ReadError::Socket(error)) => return Err(error.into()),
            Err(ReadError::Refused { .. } | ReadError::Raced { .. }) => return Ok(None),
        };
        // A batch of nothing waits for the commit under way, whose notifications are part of it, and is answered only if
        // the generation is another.
        let mut barrier = Batch::new(self.table());
        barrier.expect_generation(generation);
        match self.hand_over(&mut barrier) {
            Ok(_) => Ok(Some(generation)),
            Err(CommitError::Raced) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Commits while `watch` does not listen. Not async: nobody can stop it in between.
    fn unheard(&mut self, batch: &mut Batch, watch: &mut Watch) -> Result<Outcome, CommitError> {
        watch.leave()?;
        let outcome = self.hand_over(batch);
        watch.join()?;
        outcome
    }

    /// Finds out whether ours was the only commit since `generation`.
    async fn only_ours(&mut self, generation: u32, outcome: Outcome, watch: &mut Watch) -> Result<(), CommitError> {
        // Until it is known that they were not.
        let unsuspected = watch.suspect();
        let now = match self.generation().await {
            Ok(now) => now,
            Err(ReadError::Socket(error)) => return Err(error.into()),
            Err(ReadError::Refused { .. } | ReadError::Raced { .. }) => return Err(CommitError::Unclear),
        };
        let alone = now == after(generation);
        if alone {
            watch.acquit(unsuspected);
        }
        match outcome {
            Outcome::Lost if !alone => Err(CommitError::Unclear),
            _ => Ok(()),
        }
    }
}
