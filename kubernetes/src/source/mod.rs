//! Where objects come from, and what whoever reads them is told.
//!
//! ```text
//! files/ (a watched folder) ──┐
//!                             ├──► chosen (one of them) ──► batches of Event ──► reconcile
//! api/ (the Kubernetes API) ──┘
//! ```
//!
//! A source is a task that sends batches of [`Event`] into a channel. What was seen together is one batch: whoever
//! receives it takes it as one change. The channel is bounded, so a source waits while a slow sync runs.

#[cfg(feature = "api")]
pub mod api;
mod chosen;
pub mod files;
mod way;

use tokio::sync::mpsc;

pub use chosen::{Choice, SourceConfig, follow};
pub use way::KubernetesConfig;

use crate::objects::{Object, ObjectKey};

/// What a source tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// This object is there, or is another than before.
    Changed(Object),
    /// This object is gone.
    Deleted(ObjectKey),
    /// Another source takes over. What was told before holds until the new one has listed; what it has not told by then is
    /// gone.
    Anew,
    /// Everything that was there at the start has been told. Once for each source.
    Listed,
    /// Something cannot be read; what was told before of it holds. Once for each cause.
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
