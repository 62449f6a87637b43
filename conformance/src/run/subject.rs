//! The backend under test, as whoever runs the suite describes it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use agent::backend::Backend;
use backend_api::Dataplane;

/// A dataplane being opened, in the network namespace of the threads that poll it.
pub type Opening = Pin<Box<dyn Future<Output = Result<Box<dyn Dataplane>, String>> + Send>>;

/// Opens a new instance, as a new process would: nothing may be remembered from an earlier one but in the kernel.
pub type Open = Arc<dyn Fn() -> Opening + Send + Sync>;

/// A backend under test.
#[derive(Clone)]
pub struct Subject {
    /// What it is called in reports.
    pub name: String,
    /// Opens it.
    pub open: Open,
    /// What it is known not to do.
    pub gaps: Vec<Gap>,
}

/// Something that a backend is known not to do. A scenario that passes in spite of its gap fails: the gap is to be
/// taken out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The scenario, `topic/claim`.
    pub scenario: String,
    /// Why.
    pub reason: String,
}

impl Subject {
    /// One of the agent's own backends, without gaps.
    pub fn of(backend: Backend) -> Self {
        let open =
            move || -> Opening { Box::pin(async move { backend.open().await.map_err(|error| error.to_string()) }) };
        Self { name: backend.name().to_owned(), open: Arc::new(open), gaps: Vec::new() }
    }

    /// The gap that is declared for a scenario.
    pub fn gap(&self, scenario: &str) -> Option<&Gap> {
        self.gaps.iter().find(|gap| gap.scenario == scenario)
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").field("name", &self.name).field("gaps", &self.gaps).finish_non_exhaustive()
    }
}
