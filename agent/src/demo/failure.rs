//! Why the demo ends before its end: what every chapter returns.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use backend_api::SyncError;
use testbed::{NamespaceError, World, WorldError};
use tokio::signal::unix::{SignalKind, signal};

use crate::backend::OpenError;

/// Why the demo ended before its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0}")]
    World(#[from] WorldError),
    #[error(transparent)]
    Backend(OpenError),
    #[error("{0}")]
    Sync(SyncError),
    #[error("service {0}: {1}")]
    Service(String, String),
    #[error("example: {0}")]
    Example(String),
    #[error("thread: {0}")]
    Thread(io::Error),
    #[error("control probe: {0}")]
    Control(String),
    #[error("output: {0}")]
    Output(#[from] io::Error),
    #[error("interrupted")]
    Interrupted,
}

impl Failure {
    /// Whether the process is not allowed to build a world.
    pub(super) fn is_privilege(&self) -> bool {
        match self {
            Self::World(WorldError::Namespace(NamespaceError::Privilege { .. })) => true,
            Self::World(WorldError::Setup { source, .. }) => source.kind() == io::ErrorKind::PermissionDenied,
            _ => false,
        }
    }

    /// Whether the reader of the output has gone, as in `switchyard demo | head`.
    pub(super) fn is_unread(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// Whether another kernel may have what the backend needs.
    pub(super) fn is_unsupported(&self) -> bool {
        matches!(self, Self::Backend(error) if error.is_unsupported())
    }
}

/// Whether SIGINT (Ctrl-C) or SIGTERM has come.
#[derive(Clone, Debug, Default)]
pub(super) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens on the world's threads. From now on a signal ends the demo in order, and removes the world.
    pub(super) fn on_signals(world: &World) -> Result<Self, Failure> {
        let interrupt = Self::default();
        let _context = world.runtime().enter();
        for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
            let mut signals = signal(kind).map_err(Failure::Thread)?;
            let raised = interrupt.0.clone();
            world.runtime().spawn(async move {
                signals.recv().await;
                raised.store(true, Ordering::Relaxed);
            });
        }
        Ok(interrupt)
    }

    /// # Errors
    /// [`Failure::Interrupted`] if so.
    pub(super) fn check(&self) -> Result<(), Failure> {
        if self.0.load(Ordering::Relaxed) { Err(Failure::Interrupted) } else { Ok(()) }
    }
}
