//! The backend under test, as whoever runs the suite describes it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use agent::backend::Backend;
use agent::config::IpvsConfig;
use backend_api::Dataplane;
use clap::ValueEnum;

use crate::scenario::{Flag, Flags};

/// A dataplane being opened, in the network namespace of the threads that poll it.
pub type Opening = Pin<Box<dyn Future<Output = Result<Box<dyn Dataplane>, String>> + Send>>;

/// Opens a new instance, as a new process with these flags would: nothing may be remembered from an earlier one but in the
/// kernel.
pub type Open = Arc<dyn Fn(IpvsConfig) -> Opening + Send + Sync>;

/// Where the agent of a scenario reads objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Source {
    /// In a folder.
    #[default]
    Files,
    /// From an API server.
    Kubernetes,
}

/// A backend under test.
#[derive(Clone)]
pub struct Subject {
    /// What it is called in reports.
    pub name: String,
    /// Opens it.
    pub open: Open,
    /// Where its agent reads objects.
    pub source: Source,
    /// With which flags its agents are started, before a scenario's own.
    pub flags: Flags,
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

/// The variable that names the backend for tests that are not scenarios; nftables without it. The virtual machine sets it.
pub const BACKEND: &str = "SWITCHYARD_BACKEND";

/// Whom tests that are not scenarios are for.
///
/// # Panics
/// If a backend is named that there is none of.
pub fn under_test() -> Backend {
    let named = std::env::var(BACKEND).unwrap_or_else(|_| Backend::Nftables.name().to_owned());
    Backend::from_str(&named, false).unwrap_or_else(|error| panic!("{BACKEND}={named}: {error}"))
}

impl Subject {
    /// One of the agent's own backends.
    pub fn of(backend: Backend) -> Self {
        let open = move |flags: IpvsConfig| -> Opening {
            Box::pin(async move { backend.open_with(&flags).await.map_err(|error| error.to_string()) })
        };
        let gaps = match backend {
            Backend::Nftables => Vec::new(),
            Backend::Ipvs => vec![Gap {
                scenario: "cluster-ip/one-client-port-holds-connections-by-two-services".to_owned(),
                reason: "IPVS finds the connection of an answer by endpoint and client, and has two of them".to_owned(),
            }],
        };
        Self {
            name: backend.name().to_owned(),
            open: Arc::new(open),
            source: Source::default(),
            flags: Flags::new(),
            gaps,
        }
    }

    /// The same, with an agent that reads objects there.
    #[must_use]
    pub fn through(self, source: Source) -> Self {
        Self { source, ..self }
    }

    /// The same, with this flag.
    #[must_use]
    pub fn with(mut self, name: &str, value: Flag) -> Self {
        self.flags.insert(name.to_owned(), value);
        self
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
