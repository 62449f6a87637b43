//! The backend under test, as the caller of the suite describes it.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use agent::backend::Backend;
use backend_api::Dataplane;
use clap::ValueEnum;

use super::agent::config;
use super::stage::NODE;
use crate::scenario::{Flag, Flags, ParseError, ScenarioFile};

/// A dataplane, or why it could not be opened.
pub(crate) type Opened = Result<Box<dyn Dataplane>, Box<dyn Error + Send + Sync>>;

/// Opens a new instance, in the network namespace of the threads that poll it.
pub(crate) type Open = Arc<dyn Fn(Flags) -> Pin<Box<dyn Future<Output = Opened> + Send>> + Send + Sync>;

/// Where the agent of a scenario reads objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Source {
    /// In a folder.
    #[default]
    Files,
    /// From an API server.
    #[cfg(feature = "kube")]
    Kubernetes,
}

/// What the suite checks around every scenario, and a backend may declare that it cannot keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Promise {
    /// A second sync of the same state writes nothing.
    Steady,
    /// A new process that finds what it wants in the kernel writes nothing. A relay in user space cannot keep this.
    Adopts,
}

/// A backend under test.
///
/// ```
/// use switchyard_conformance::{Promise, Subject};
/// # use backend_api::{Fake, SyncError};
///
/// let subject = Subject::new("mine", |_flags| async { Ok::<_, SyncError>(Fake::default()) })
///     .with_gap("affinity", "clients are not remembered")
///     .without(Promise::Adopts, "what is programmed ends with the process");
/// assert!(subject.check().is_ok());
/// ```
#[derive(Clone)]
pub struct Subject {
    name: String,
    open: Open,
    source: Source,
    flags: Flags,
    gaps: Vec<Gap>,
    unkept: BTreeMap<Promise, String>,
}

/// Something that a backend is known not to do.
///
/// A scenario that passes in spite of its gap fails: the gap is to be taken out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The scenario, `topic/claim`, or a whole topic.
    pub scenario: String,
    /// Why.
    pub reason: String,
}

/// Why the suite did not start.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SuiteError {
    /// A scenario file cannot be read.
    #[error(transparent)]
    Scenario(#[from] ParseError),
    /// A gap is declared for something that does not exist.
    #[error("gap {0}: no scenario and no topic has this name; correct it or take the gap out")]
    UnknownGap(String),
}

/// The variable that names the backend for tests that are not scenarios; nftables without it. The virtual machine sets
/// it.
pub const BACKEND: &str = "SWITCHYARD_BACKEND";

/// The backend that tests are for which are not scenarios.
///
/// # Panics
/// If [`BACKEND`] names an unknown backend.
pub fn under_test() -> Backend {
    let named = std::env::var(BACKEND).unwrap_or_else(|_| Backend::Nftables.name().to_owned());
    Backend::from_str(&named, false).unwrap_or_else(|error| panic!("{BACKEND}={named}: {error}"))
}

impl Subject {
    /// A backend of this name, as `open` opens it.
    ///
    /// `open` is called as often as a new process would be started, with the flags of its agent, by kube-proxy's names;
    /// most backends ignore them. The future is polled inside the network namespace to be programmed. An instance may
    /// know nothing of an earlier one but what it finds in the kernel.
    pub fn new<D, E, F>(name: impl Into<String>, open: impl Fn(Flags) -> F + Send + Sync + 'static) -> Self
    where
        D: Dataplane + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
        F: Future<Output = Result<D, E>> + Send + 'static,
    {
        Self::boxed(name, move |flags| {
            let opening = open(flags);
            async move { opening.await.map(|dataplane| Box::new(dataplane) as Box<dyn Dataplane>) }
        })
    }

    /// As [`Subject::new`], for a dataplane that is boxed already.
    pub fn boxed<E, F>(name: impl Into<String>, open: impl Fn(Flags) -> F + Send + Sync + 'static) -> Self
    where
        E: Into<Box<dyn Error + Send + Sync>>,
        F: Future<Output = Result<Box<dyn Dataplane>, E>> + Send + 'static,
    {
        let open: Open = Arc::new(move |flags| {
            let opening = open(flags);
            Box::pin(async move { opening.await.map_err(Into::into) })
        });
        Self {
            name: name.into(),
            open,
            source: Source::default(),
            flags: Flags::new(),
            gaps: Vec::new(),
            unkept: BTreeMap::new(),
        }
    }

    /// One of the agent's own backends.
    pub fn of(backend: Backend) -> Self {
        let subject = Self::boxed(backend.name(), move |mut flags: Flags| async move {
            // The name of this machine may be none that a node can have.
            flags.entry("hostname-override".to_owned()).or_insert_with(|| Flag::Text(NODE.to_owned()));
            let settings = config(Path::new("/nowhere"), &flags)?;
            Ok::<_, Box<dyn Error + Send + Sync>>(backend.open_with(&settings.ipvs).await?)
        });
        match backend {
            Backend::Nftables => subject,
            Backend::Ipvs => subject.with_gap(
                "cluster-ip/one-client-port-holds-connections-by-two-services",
                "IPVS finds the connection of an answer by endpoint and client, and has two of them",
            ),
        }
    }

    /// The same, with an agent that reads objects there.
    #[must_use]
    pub fn through(self, source: Source) -> Self {
        Self { source, ..self }
    }

    /// The same, whose agents are started with this flag too, before a scenario's own.
    #[must_use]
    pub fn with_flag(mut self, name: &str, value: Flag) -> Self {
        self.flags.insert(name.to_owned(), value);
        self
    }

    /// The same, which is known to fail this scenario (`topic/claim`), or every scenario of this topic.
    #[must_use]
    pub fn with_gap(mut self, scenario: &str, reason: &str) -> Self {
        self.gaps.push(Gap { scenario: scenario.to_owned(), reason: reason.to_owned() });
        self
    }

    /// The same, which cannot keep this promise. The promise is then not demanded, and a scenario in which it holds
    /// nevertheless fails: the declaration is to be taken out.
    #[must_use]
    pub fn without(mut self, promise: Promise, reason: &str) -> Self {
        self.unkept.insert(promise, reason.to_owned());
        self
    }

    /// Whether every gap names something that there is.
    ///
    /// # Errors
    /// The first gap that does not.
    pub fn check(&self) -> Result<(), SuiteError> {
        self.check_against(&crate::scenarios())
    }

    pub(super) fn check_against(&self, scenarios: &[ScenarioFile]) -> Result<(), SuiteError> {
        for gap in &self.gaps {
            if !scenarios.iter().any(|file| gap.covers(&file.name())) {
                return Err(SuiteError::UnknownGap(gap.scenario.clone()));
            }
        }
        Ok(())
    }

    /// What it is called in reports.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its agent reads objects.
    pub fn source(&self) -> Source {
        self.source
    }

    /// The gap that is declared for a scenario, `topic/claim`.
    pub fn gap(&self, scenario: &str) -> Option<&Gap> {
        self.gaps.iter().find(|gap| gap.covers(scenario))
    }

    /// Promises that it declares not to keep, each with the reason.
    pub fn unkept(&self) -> &BTreeMap<Promise, String> {
        &self.unkept
    }

    pub(crate) fn keeps(&self, promise: Promise) -> bool {
        !self.unkept.contains_key(&promise)
    }

    pub(super) fn flags(&self) -> &Flags {
        &self.flags
    }

    pub(super) fn opener(&self) -> Open {
        self.open.clone()
    }

    /// Opens an instance, as an agent without flags would.
    pub(crate) async fn open(&self) -> Opened {
        (self.open)(self.flags.clone()).await
    }
}

impl Gap {
    fn covers(&self, scenario: &str) -> bool {
        let topic = scenario.split_once('/').map_or(scenario, |(topic, _)| topic);
        self.scenario == scenario || self.scenario == topic
    }
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Steady => "a second sync of the same state writes nothing",
            Self::Adopts => "a new process that finds what it wants writes nothing",
        })
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").field("name", &self.name).field("gaps", &self.gaps).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use backend_api::{Fake, SyncError};

    use super::*;

    fn subject() -> Subject {
        Subject::new("fake", |_| async { Ok::<_, SyncError>(Fake::default()) })
    }

    #[test]
    fn a_gap_that_names_nothing_is_an_error_and_those_of_the_own_backends_name_something() {
        let error = subject().with_gap("protocols/none-such", "x").check().unwrap_err();
        assert!(error.to_string().starts_with("gap protocols/none-such: no scenario"), "{error}");
        assert!(subject().with_gap("protocol", "half a name").check().is_err());
        for backend in [Backend::Nftables, Backend::Ipvs] {
            Subject::of(backend).check().unwrap();
        }
    }

    #[test]
    fn a_gap_covers_a_scenario_or_a_topic() {
        let gapped = subject().with_gap("affinity", "all").with_gap("hairpin/by-udp", "one");
        for (scenario, reason) in [("affinity/x", Some("all")), ("hairpin/by-udp", Some("one")), ("hairpin/x", None)] {
            assert_eq!(gapped.gap(scenario).map(|gap| gap.reason.as_str()), reason, "{scenario}");
        }
    }
}
