//! Where objects come from, and the events by which a source tells of them.
//!
//! ```text
//! files/ (a watched folder) ─────────────────┐
//! api/ (connections) ◄──► list_watch/ (pure) ┼──► batches of Event ──► ClusterState
//! informers of an embedder ──────────────────┘
//! ```
//!
//! A source is a task that sends batches of [`Event`] into a [`channel`]. What was seen together is one batch, and is
//! taken as one change. The channel is bounded, so a source waits while a slow sync runs. [`follow_choice`] runs one of
//! the two sources, and changes to the other when it is told to.
//!
//! A source of your own sends [`Event::Changed`] and [`Event::Deleted`], and [`Event::Listed`] once, when everything
//! that was there at the start has been told: nothing is programmed before that. An object that is told twice costs
//! nothing.

#[cfg(feature = "api")]
pub mod api;
mod choice;
pub mod files;
pub mod list_watch;
mod server_url;

use tokio::sync::mpsc;

pub use choice::{ApiConfig, Reads, SourceChoice, SourceConfig, follow_choice};
pub use server_url::{ServerUrl, ServerUrlError};

use crate::objects::{Object, ObjectKey};

/// What a source tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// This object is there, or is another than before.
    Changed(Object),
    /// This object is gone.
    Deleted(ObjectKey),
    /// Another source takes over. What was told before holds until the new one has listed; what it has not told by then
    /// is gone.
    Anew,
    /// Everything that was there at the start has been told. Once for each source.
    Listed,
    /// Something cannot be read; what was told of it before holds. Once for each cause.
    Trouble(Trouble),
}

/// Something that a source cannot read, as an operator needs to see it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Trouble {
    /// Where: a file or a folder.
    pub place: String,
    /// Line, from 1, if it is a part of a file.
    pub line: Option<u64>,
    /// Which object it concerns, if that can be told.
    pub object: Option<ObjectKey>,
    /// What is wrong, and what holds instead.
    pub reason: String,
}

/// Where a source sends what it sees.
pub type Sender = mpsc::Sender<Vec<Event>>;

/// A channel from a source to the reconcile loop.
pub fn channel() -> (Sender, mpsc::Receiver<Vec<Event>>) {
    mpsc::channel(64)
}

/// `services.yaml:12: Service default/web: …`.
impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:", self.place)?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        if let Some(object) = &self.object {
            write!(f, " {object}:")?;
        }
        write!(f, " {}", self.reason)
    }
}
