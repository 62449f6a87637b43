//! Which backends this build has, and how each is opened.
//!
//! The only place that names them: a new backend is a cargo feature, a variant and an arm here.

use backend_api::{Dataplane, SyncError};
use clap::ValueEnum;

use crate::config::IpvsConfig;

/// Who programs the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// One nftables table of constant size; services are map elements
    Nftables,
    /// Virtual and real servers of IPVS, if this build has them
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
            Self::Ipvs => false,
        };
        Self::value_variants().iter().copied().filter(compiled).collect()
    }

    fn list() -> String {
        let names: Vec<_> = Self::compiled().into_iter().map(Self::name).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
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
    pub async fn open_with(self, _ipvs: &IpvsConfig) -> Result<Box<dyn Dataplane>, OpenError> {
        match self {
            #[cfg(feature = "nftables")]
            Self::Nftables => match backend_nft::NftDataplane::open(backend_nft::Options::default()).await {
                Ok(dataplane) => Ok(Box::new(dataplane)),
                Err(source) => Err(OpenError::Refused { backend: self.name(), source }),
            },
            #[cfg(not(feature = "nftables"))]
            Self::Nftables => Err(OpenError::NotCompiled(self.name())),
            Self::Ipvs => Err(OpenError::NotCompiled(self.name())),
        }
    }
}
