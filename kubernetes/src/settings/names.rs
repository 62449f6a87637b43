//! Names that the kernel and the cluster would refuse are refused here.

use std::fmt;
use std::str::FromStr;

/// Name of a Node object: not empty, lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(String);

/// Name of a network interface, or the beginning of one: 1 to 15 bytes, neither `/` nor white space
/// (the kernel's `dev_valid_name`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceName(String);

/// Why a text is no such name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing but white space.
    #[error("node name {0:?}: empty")]
    EmptyNode(String),
    /// The host has no name that can be read.
    #[error("host name: {0}")]
    NoHostName(String),
    /// Not an interface's.
    #[error("interface name {0:?}: must be 1 to 15 bytes, without `/` and white space")]
    Interface(String),
}

impl NodeName {
    /// The host's own name.
    ///
    /// # Errors
    /// Where it has none.
    pub fn of_host() -> Result<Self, NameError> {
        let host = nix::sys::utsname::uname().map_err(|errno| NameError::NoHostName(errno.to_string()))?;
        host.nodename().to_string_lossy().parse()
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let name = text.trim().to_lowercase();
        if name.is_empty() { Err(NameError::EmptyNode(text.to_owned())) } else { Ok(Self(name)) }
    }
}

impl FromStr for InterfaceName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let fits = (1..=15).contains(&text.len()) && !text.contains(|c: char| c == '/' || c.is_whitespace());
        if fits { Ok(Self(text.to_owned())) } else { Err(NameError::Interface(text.to_owned())) }
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_names_are_trimmed_lower_cased_and_never_empty() {
        assert_eq!(" CtrlNode\n".parse::<NodeName>().unwrap().as_str(), "ctrlnode");
        assert_eq!("  ".parse::<NodeName>(), Err(NameError::EmptyNode("  ".into())));
    }

    #[test]
    fn interface_names_are_what_the_kernel_takes() {
        for name in ["cni0", "v", "exactly15bytes."] {
            assert_eq!(name.parse::<InterfaceName>().unwrap().to_string(), name);
        }
        for name in ["", "sixteen bytes ..", "a/b", "a b", "sixteen-bytes-..."] {
            assert_eq!(name.parse::<InterfaceName>(), Err(NameError::Interface(name.into())));
        }
    }
}
