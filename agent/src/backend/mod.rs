//! Which backends this build has, and how each is opened.
//!
//! A new backend is a cargo feature, a variant of [`Backend`] and an arm here. A program that embeds the agent needs
//! none of them: it gives [`crate::process::Agent`] any `Dataplane`.

#[cfg(all(feature = "nftables", feature = "ipvs"))]
mod succession;

use backend_api::{Dataplane, SyncError};
use clap::ValueEnum;

pub use crate::config::Backend;
use crate::config::IpvsConfig;

/// Why there is no dataplane.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
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
    /// Whether the node lacks descriptors or memory just now: it can be opened later.
    pub fn is_shortage(&self) -> bool {
        matches!(self, Self::Refused { source: SyncError::Transient { .. }, .. })
    }

    /// Whether the kernel, or our privileges, lack what the backend needs.
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Self::Refused { source: SyncError::Unsupported { .. }, .. })
    }
}

impl Backend {
    /// Those that this build has.
    pub fn compiled() -> Vec<Self> {
        Self::value_variants().iter().copied().filter(|backend| backend.is_compiled()).collect()
    }

    fn is_compiled(self) -> bool {
        match self {
            Self::Nftables => cfg!(feature = "nftables"),
            Self::Ipvs => cfg!(feature = "ipvs"),
        }
    }

    fn list() -> String {
        let names: Vec<_> = Self::compiled().into_iter().map(Self::name).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }

    /// Sets on the node what it cannot do without and what needs all privileges, so that a process with fewer
    /// privileges can open it later.
    ///
    /// # Errors
    /// As [`Backend::open_with`].
    pub async fn prepare(self, ipvs: &IpvsConfig) -> Result<(), OpenError> {
        match self {
            Self::Nftables => Ok(()),
            Self::Ipvs => prepare_ipvs(ipvs).await,
        }
    }

    /// Opens it with its default options.
    ///
    /// # Errors
    /// As [`Backend::open_with`].
    pub async fn open(self) -> Result<Box<dyn Dataplane>, OpenError> {
        self.open_with(&IpvsConfig::default()).await
    }

    /// Opens it, in the network namespace of the calling thread. Nothing is written yet.
    ///
    /// # Errors
    /// If this build does not have it, or the kernel refuses.
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
    let dataplane = backend_ipvs::IpvsDataplane::open(ipvs_options(config)).await.map_err(ipvs_refused)?;
    Ok(Box::new(dataplane))
}

/// Sysctls are files, and read-only in an agent's container; routes and timeouts are set here too.
#[cfg(feature = "ipvs")]
async fn prepare_ipvs(config: &IpvsConfig) -> Result<(), OpenError> {
    let mut host = backend_ipvs::Host::open(&ipvs_options(config)).await.map_err(ipvs_refused)?;
    host.establish().await.map(drop).map_err(ipvs_refused)
}

#[cfg(feature = "ipvs")]
fn ipvs_refused(source: SyncError) -> OpenError {
    OpenError::Refused { backend: Backend::Ipvs.name(), source }
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
    fn the_default_options_of_ipvs_are_those_that_embedders_get() {
        let (ours, theirs) = (ipvs_options(&IpvsConfig::default()), backend_ipvs::Options::default());
        assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
    }
}
