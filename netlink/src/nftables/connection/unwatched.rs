//! Commits a large batch without the notifications that a watch of the same program would only throw away.
//!
//! The kernel builds a notification for each committed element if any socket listens. For 100,000 elements that takes
//! it longer than the elements. The watch's filter drops the program's own notifications, but only once they are built.
//! So the watch leaves its group during the commit. A commit of another program at that time is found by the
//! generation, which counts every commit:
//!
//! ```text
//!  generation g ─► empty batch at g ─► leave ─► commit, only at g ─► join ─► generation g + 1? no other commit
//!                  all up to g is queued        (else: nothing done)         another? perhaps one was missed
//! ```
//!
//! A small batch is committed as usual: its few notifications cost less than the questions.

use super::Nftables;
use super::commit::{Outcome, after};
use crate::error::ReadError;
use crate::nftables::batch::Batch;
use crate::nftables::error::CommitError;
use crate::nftables::watch::Watch;

/// Pushes from which it pays to ask.
const MANY: usize = 256;

/// How often other programs may commit in between before the batch is committed as usual.
const ATTEMPTS: u32 = 3;

impl Nftables {
    /// As [`Nftables::commit`], but the kernel builds no notifications for `watch` if the batch is large. The watch
    /// must be about the same tables. It still reports what other programs change meanwhile; at worst it reports a
    /// change to tables of another name.
    ///
    /// # Errors
    /// As [`Nftables::commit`].
    pub async fn commit_unwatched(&mut self, batch: &mut Batch, watch: &mut Watch) -> Result<(), CommitError> {
        if batch.len() < MANY || batch.expected_generation() != 0 {
            return self.commit(batch).await;
        }
        for _ in 0..ATTEMPTS {
            let Some(generation) = self.announced_generation().await? else { continue };
            batch.expect_generation(generation);
            let outcome = self.hand_over_unwatched(batch, watch);
            batch.expect_generation(0);
            match outcome {
                Err(CommitError::Raced) => {
                    watch.may_have_missed();
                }
                Err(error) => return Err(error),
                Ok(Outcome::Refused(refusals)) => return Err(CommitError::Refused(refusals)),
                Ok(outcome) => return self.conclude(generation, outcome, watch).await,
            }
        }
        self.commit(batch).await
    }

    /// The generation, once all notifications up to it are queued; none if another program commits just now.
    async fn announced_generation(&mut self) -> Result<Option<u32>, CommitError> {
        let generation = match self.generation().await {
            Ok(generation) => generation,
            Err(ReadError::Socket(error)) => return Err(error.into()),
            Err(ReadError::Refused { .. } | ReadError::Raced { .. }) => return Ok(None),
        };
        // A batch of nothing waits for the commit under way, whose notifications are part of it. It is answered only if
        // the generation is another.
        let mut barrier = Batch::new(self.table());
        barrier.expect_generation(generation);
        match self.hand_over(&mut barrier) {
            Ok(_) => Ok(Some(generation)),
            Err(CommitError::Raced) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Commits while `watch` does not listen. Not async, so that it cannot be dropped in between.
    fn hand_over_unwatched(&mut self, batch: &mut Batch, watch: &mut Watch) -> Result<Outcome, CommitError> {
        watch.leave()?;
        let outcome = self.hand_over(batch);
        watch.join()?;
        outcome
    }

    /// Finds out whether this was the only commit since `generation`.
    async fn conclude(&mut self, generation: u32, outcome: Outcome, watch: &mut Watch) -> Result<(), CommitError> {
        // Until the generation says that nothing was missed: this future may be dropped at the question.
        let before = watch.may_have_missed();
        let now = match self.generation().await {
            Ok(now) => now,
            Err(ReadError::Socket(error)) => return Err(error.into()),
            Err(ReadError::Refused { .. } | ReadError::Raced { .. }) => return Err(CommitError::Unclear),
        };
        let alone = now == after(generation);
        if alone {
            watch.missed_only(before);
        }
        match outcome {
            Outcome::Lost if !alone => Err(CommitError::Unclear),
            _ => Ok(()),
        }
    }
}
