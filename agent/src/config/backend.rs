//! Which backend the operator wants, in Switchyard's words (`--backend`) and in kube-proxy's (`--proxy-mode`).

use std::str::FromStr;

use clap::ValueEnum;

/// Which backend programs the kernel. How each is opened is in [`crate::backend`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// One nftables table for each family; services are elements of its maps
    #[default]
    Nftables,
    /// Virtual servers and real servers of IPVS; nftables marks the packets
    Ipvs,
}

impl Backend {
    /// Short name, as in `--backend` and in `Dataplane::name`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nftables => "nftables",
            Self::Ipvs => "ipvs",
        }
    }
}

/// `--proxy-mode`, `mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProxyMode {
    /// Empty: the default backend.
    Unsaid,
    Nftables,
    Ipvs,
    /// kube-proxy's default on Linux.
    Iptables,
}

/// Not such a word.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ModeError {
    #[error("{0:?}: must be nftables, ipvs or iptables, or empty for nftables")]
    Unknown(String),
    #[error(
        "{0:?}: is kube-proxy's mode on Windows; on Linux it must be nftables, ipvs or iptables, or empty for nftables"
    )]
    Windows(String),
}

impl ProxyMode {
    /// The remark for `iptables`.
    pub(super) const IPTABLES: &str =
        "iptables: the nftables backend is used, which does the same for services; there is no iptables backend here";

    /// The backend that this mode means, if it names one.
    pub(super) fn backend(self) -> Option<Backend> {
        match self {
            Self::Unsaid => None,
            Self::Nftables | Self::Iptables => Some(Backend::Nftables),
            Self::Ipvs => Some(Backend::Ipvs),
        }
    }
}

impl FromStr for ProxyMode {
    type Err = ModeError;

    fn from_str(text: &str) -> Result<Self, ModeError> {
        match text.to_ascii_lowercase().as_str() {
            "" => Ok(Self::Unsaid),
            "nftables" => Ok(Self::Nftables),
            "ipvs" => Ok(Self::Ipvs),
            "iptables" => Ok(Self::Iptables),
            "kernelspace" => Err(ModeError::Windows(text.to_owned())),
            _ => Err(ModeError::Unknown(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kube_proxys_modes_are_understood_and_that_of_windows_is_refused() {
        for (text, backend) in [
            ("", None),
            ("nftables", Some(Backend::Nftables)),
            ("iptables", Some(Backend::Nftables)),
            ("IPVS", Some(Backend::Ipvs)),
        ] {
            assert_eq!(text.parse::<ProxyMode>().unwrap().backend(), backend, "{text:?}");
        }
        assert_eq!("kernelspace".parse::<ProxyMode>(), Err(ModeError::Windows("kernelspace".into())));
        assert_eq!("userspace".parse::<ProxyMode>(), Err(ModeError::Unknown("userspace".into())));
    }
}
