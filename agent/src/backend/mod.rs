//! Which backends this build has, and how each is opened.
//!
//! The only place that names them: a new backend is a cargo feature, a variant and an arm here.

#[cfg(all(feature = "nftables", feature = "ipvs"))]
mod succession;

use backend_api::{Dataplane, SyncError};
use clap::ValueEnum;

use crate::config::IpvsConfig;

/// Who programs the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// One nftables table of constant size; services are map elements
    Nftables,
    /// Virtual and real servers of IPVS; nftables tells it which packets are whose
    Ipvs,
}

/// Why there is no dataplane.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It was left out when this program was built.
    #[error("backend {0}: not part of this build, which has {list}", list = Backend::list())]
    NotCompiled(&'static str),
    /// The kernel or our privileges do not allow it.
    #[error("backend {backend}: {source}")]
    Refused {
        /// Which backend.
        backend: &'static str,
        /// Why.
        source: SyncError,
    },
}

impl OpenError {
    /// Whether the kernel, or our privileges, lack what the backend needs.
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Self::Refused { source: SyncError::Unsupported { .. }, .. })
    }
}

impl Backend {
    /// Short name, as in `--backend` and in [`Dataplane::name`].
    pub fn name(self) -> &'static str {
        match self {
            Self::Nftables => "nftables",
            Self::Ipvs => "ipvs",
        }
    }

    /// Those that this build has.
    pub fn compiled() -> Vec<Self> {
        let compiled = |backend: &Self| match backend {
            Self::Nftables => cfg!(feature = "nftables"),
            Self::Ipvs => cfg!(feature = "ipvs"),
        };
        Self::value_variants().iter().copied().filter(compiled).collect()
    }

    fn list() -> String {
        let names: Vec<_> = Self::compiled().into_iter().map(Self::name).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }

    /// Makes of the node what only the privileged can and it cannot do without, so that a process with less opens it later.
    ///
    /// # Errors
    /// As [`Backend::open_with`].
    pub async fn prepare(self, ipvs: &IpvsConfig) -> Result<(), OpenError> {
        match self {
            Self::Nftables => Ok(()),
            Self::Ipvs => prepare_ipvs(ipvs).await,
        }
    }

    /// Opens it with what it does unless told otherwise.
    ///
    /// # Errors
    /// As [`Backend::open_with`].
    pub async fn open(self) -> Result<Box<dyn Dataplane>, OpenError> {
        self.open_with(&IpvsConfig::default()).await
    }

    /// Opens it, in the network namespace of the calling thread. Nothing is written yet.
    ///
    /// # Errors
    /// Where this build does not have it, or the kernel refuses.
    pub async fn open_with(self, ipvs: &IpvsConfig) -> Result<Box<dyn Dataplane>, OpenError> {
        match self {
            Self::Nftables => open_nftables(ipvs).await,
            Self::Ipvs => open_ipvs(ipvs).await,
        }
    }
}

#[cfg(feature = "nftables")]
async fn open_nftables(_before: &IpvsConfig) -> Result<Box<dyn Dataplane>, OpenError> {
    match backend_nft::NftDataplane::open(backend_nft::Options::default()).await {
        #[cfg(feature = "ipvs")]
        Ok(dataplane) => Ok(Box::new(succession::Succession::new(dataplane, ipvs_options(_before)))),
        #[cfg(not(feature = "ipvs"))]
        Ok(dataplane) => Ok(Box::new(dataplane)),
        Err(source) => Err(OpenError::Refused { backend: Backend::Nftables.name(), source }),
    }
}

#[cfg(not(feature = "nftables"))]
async fn open_nftables(_before: &IpvsConfig) -> Result<Box<dyn Dataplane>, OpenError> {
    Err(OpenError::NotCompiled(Backend::Nftables.name()))
}

#[cfg(feature = "ipvs")]
async fn open_ipvs(config: &IpvsConfig) -> Result<Box<dyn Dataplane>, OpenError> {
    match backend_ipvs::IpvsDataplane::open(ipvs_options(config)).await {
        Ok(dataplane) => Ok(Box::new(dataplane)),
        Err(source) => Err(OpenError::Refused { backend: Backend::Ipvs.name(), source }),
    }
}

/// Sysctls are files, and read-only in the container of an agent; routes and timeouts come along.
#[cfg(feature = "ipvs")]
async fn prepare_ipvs(config: &IpvsConfig) -> Result<(), OpenError> {
    let refused = |source| OpenError::Refused { backend: Backend::Ipvs.name(), source };
    let mut host = backend_ipvs::Host::open(&ipvs_options(config)).await.map_err(refused)?;
    host.establish().await.map(drop).map_err(refused)
}

#[cfg(not(feature = "ipvs"))]
async fn prepare_ipvs(_config: &IpvsConfig) -> Result<(), OpenError> {
    Err(OpenError::NotCompiled(Backend::Ipvs.name()))
}

#[cfg(not(feature = "ipvs"))]
async fn open_ipvs(_config: &IpvsConfig) -> Result<Box<dyn Dataplane>, OpenError> {
    Err(OpenError::NotCompiled(Backend::Ipvs.name()))
}

#[cfg(feature = "ipvs")]
fn ipvs_options(config: &IpvsConfig) -> backend_ipvs::Options {
    let IpvsConfig { scheduler, strict_arp, timeouts, drain } = *config;
    let crate::config::IpvsTimeouts { tcp, tcp_fin, udp } = timeouts;
    let timeouts = backend_ipvs::Timeouts { tcp, tcp_fin, udp };
    backend_ipvs::Options::default().scheduler(scheduler).strict_arp(strict_arp).timeouts(timeouts).drain(drain)
}

#[cfg(all(test, feature = "ipvs"))]
mod tests {
    use super::*;

    #[test]
    fn ipvs_does_unless_told_otherwise_what_it_does_for_embedders() {
        let (ours, theirs) = (ipvs_options(&IpvsConfig::default()), backend_ipvs::Options::default());
        assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
    }
}
