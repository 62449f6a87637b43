//! Which kernels the suite is run on, and which Debian packages hold them.

use std::fmt;
use std::str::FromStr;

/// A kernel of Debian 12 (bookworm).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kernel {
    /// Bookworm's own, maintained until 2028: the oldest that the suite runs on.
    V6_1,
    /// The long-term kernel that bookworm carries beside it, the same as Debian 13's.
    V6_12,
}

impl Kernel {
    /// Every kernel, oldest first.
    pub const ALL: [Self; 2] = [Self::V6_1, Self::V6_12];

    /// The version's first two numbers.
    pub fn name(self) -> &'static str {
        match self {
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
        }
    }

    /// The package that depends on the newest build of this kernel.
    pub(super) fn metapackage(self) -> &'static str {
        match self {
            Self::V6_1 => "linux-image-amd64",
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
