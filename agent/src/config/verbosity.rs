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

    /// What is logged. Kubernetes' convention: up to 2 is for operators, 3 to 5 for finding faults, above is
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

impl Verbosity {
    /// The level of this number.
    ///
    /// # Errors
    /// Above 10.
    pub fn new(number: u8) -> Result<Self, VerbosityError> {
        if number <= 10 { Ok(Self(number)) } else { Err(VerbosityError) }
    }

    /// 0 to 10.
    pub fn number(self) -> u8 {
        self.0
    }
}

impl FromStr for Verbosity {
    type Err = VerbosityError;

    fn from_str(text: &str) -> Result<Self, VerbosityError> {
        text.parse().map_err(|_| VerbosityError).and_then(Self::new)
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
