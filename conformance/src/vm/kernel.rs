//! Which kernels the suite is run on, and which Debian packages hold them.

use std::fmt;
use std::str::FromStr;

/// A kernel of Debian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kernel {
    /// Bullseye's: too old for the agent, which must say so.
    V5_10,
    /// Bookworm's own, maintained until 2028: the oldest that the suite runs on.
    V6_1,
    /// The long-term kernel that bookworm carries beside it, the same as Debian 13's.
    V6_12,
    /// Whatever Debian's unstable suite has now: the newest.
    Sid,
}

impl Kernel {
    /// Every kernel, oldest first.
    pub const ALL: [Self; 4] = [Self::V5_10, Self::V6_1, Self::V6_12, Self::Sid];

    /// The version's first two numbers, or the suite's name where the version moves on.
    pub fn name(self) -> &'static str {
        match self {
            Self::V5_10 => "5.10",
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
            Self::Sid => "sid",
        }
    }

    /// Address, suite and component of the archive that has the newest build.
    pub(super) fn archive(self) -> &'static str {
        match self {
            Self::V5_10 => "http://deb.debian.org/debian-security bullseye-security main",
            Self::V6_1 | Self::V6_12 => "http://deb.debian.org/debian-security bookworm-security main",
            Self::Sid => "http://deb.debian.org/debian sid main",
        }
    }

    /// The package that depends on the newest build of this kernel.
    pub(super) fn metapackage(self) -> &'static str {
        match self {
            Self::V5_10 | Self::V6_1 | Self::Sid => "linux-image-amd64",
            Self::V6_12 => "linux-image-6.12-amd64",
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kernel {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|kernel| kernel.name() == name)
            .ok_or_else(|| format!("kernel {name}: not one of {}", Self::ALL.map(Self::name).join(", ")))
    }
}
