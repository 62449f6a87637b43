//! The seam between the loop and the program that says what the kernel should hold.
//!
//! Kept apart from the loop because there are several such programs: `switchyard-kubernetes` makes a state of a
//! cluster's objects, [`crate::StateReceiver`] takes a state that an embedder made.

use std::fmt::Debug;
use std::future::Future;

use backend_api::ServiceState;

use crate::{Pending, Witness};

/// Says what the kernel should hold, and hears what changes it.
///
/// The loop calls, in this order and again and again: [`hear`](Self::hear) until something is told,
/// [`hear_all`](Self::hear_all) when a sync is due, [`resolve`](Self::resolve) if there is [news](Self::has_news), and
/// then reads the [state](Self::state).
pub trait Desired: Send {
    /// What it tells witnesses in addition to what the loop tells them; `()` for nothing.
    type Note<'a>: Copy + Debug;

    /// Waits until something is told, and takes it. Dropped before it ends, it has taken nothing.
    ///
    /// # Errors
    /// When an input that must not end has ended.
    fn hear(&mut self, witness: &mut dyn Witness<Self>) -> impl Future<Output = Result<(), InputEnded>> + Send;

    /// Takes what was told until now without waiting, and not what keeps coming: a busy source must not hold up a sync
    /// for ever. Whether something was told.
    fn hear_all(&mut self, witness: &mut dyn Witness<Self>) -> bool;

    /// Whether everything that the state is made of has been told. Nothing is written before: what another process
    /// programmed would be removed.
    fn is_complete(&self) -> bool;

    /// Whether something was told that the state does not hold yet.
    fn has_news(&self) -> bool;

    /// Brings the state up to date, and returns what that changed in it.
    fn resolve(&mut self, witness: &mut dyn Witness<Self>) -> Pending;

    /// The state, as it was resolved last.
    fn state(&self) -> &ServiceState;

    /// What does not work although everything was told, as a sentence for the log. Logged once for as long as it holds.
    fn missing(&self) -> Option<&str> {
        None
    }
}

/// An input that must not end has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}: ended unexpectedly")]
pub struct InputEnded(pub &'static str);
