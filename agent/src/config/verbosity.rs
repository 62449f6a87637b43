//! kube-proxy's `-v` as a level of `tracing`.

use std::str::FromStr;

use tracing::level_filters::LevelFilter;

/// `-v`: 0 to 10.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verbosity(u8);

/// Not such a number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a number, 0 to 10")]
pub struct VerbosityError;

impl Verbosity {
    /// Warnings and errors.
    pub const QUIET: Self = Self(0);
    /// What an agent usually logs.
    pub const AGENT: Self = Self(2);

    /// What is logged. Kubernetes' convention: up to 2 is for operators, 3 to 5 for who looks for a fault, above is
    /// everything.
    pub fn level(self) -> LevelFilter {
        match self.0 {
            0 => LevelFilter::WARN,
            1..=2 => LevelFilter::INFO,
            3..=5 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        }
    }
}

impl FromStr for Verbosity {
    type Err = VerbosityError;

    fn from_str(text: &str) -> Result<Self, VerbosityError> {
        match text.parse() {
            Ok(level @ 0..=10) => Ok(Self(level)),
            _ => Err(VerbosityError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_is_never_less() {
        let levels: Vec<_> = (0..=10).map(|v| v.to_string().parse::<Verbosity>().unwrap().level()).collect();
        assert!(levels.is_sorted());
        assert_eq!(levels[2], LevelFilter::INFO);
        assert_eq!("11".parse::<Verbosity>(), Err(VerbosityError));
        assert_eq!("-1".parse::<Verbosity>(), Err(VerbosityError));
    }
}
