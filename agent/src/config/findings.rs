//! What an operator must be told about flags and files: mistakes, which are refused, and remarks, which are not.

use std::fmt::{self, Display};

use kubernetes::source::ServerUrl;

/// Where something was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A flag, by its long name.
    Flag(String),
    /// A field of a file.
    Field {
        /// The file.
        file: String,
        /// Line of its value, from 1.
        line: u64,
        /// Its path: `conntrack.tcpEstablishedTimeout`.
        path: String,
    },
    /// A file as a whole, or a line of it.
    File {
        /// The file.
        file: String,
        /// The line, from 1, if it is one.
        line: Option<u64>,
    },
}

/// What is refused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// Where.
    pub place: Place,
    /// What was written, and what is allowed.
    pub reason: String,
}

/// What was accepted, and does something else than it seems to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Remark {
    /// Where.
    pub place: Place,
    /// What happens, and why.
    pub reason: String,
}

/// Why there is no configuration: every mistake, not the first alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(Vec<Mistake>);

/// What was found while parsing, in that order.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) mistakes: Vec<Mistake>,
    pub(super) remarks: Vec<Remark>,
}

impl Mistake {
    /// `written` is refused for a reason that may name it, or not.
    pub(super) fn of(place: Place, written: &str, reason: impl Display) -> Self {
        // Perhaps it was to be a URL with a password.
        let (written, reason) = (format!("{:?}", ServerUrl::redacted(written)), reason.to_string());
        let reason = if reason.starts_with(&written) { reason } else { format!("{written}: {reason}") };
        Self { place, reason }
    }
}

impl ConfigError {
    /// Every mistake; there is one at least.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.0
    }
}

impl From<Mistake> for ConfigError {
    fn from(mistake: Mistake) -> Self {
        Self(vec![mistake])
    }
}

impl Findings {
    pub(super) fn mistake(&mut self, mistake: Mistake) {
        self.mistakes.push(mistake);
    }

    pub(super) fn remark(&mut self, place: Place, reason: impl Into<String>) {
        self.remarks.push(Remark { place, reason: reason.into() });
    }

    /// `value` with the remarks, if there was no mistake.
    pub(super) fn end<T>(self, value: T) -> Result<(T, Vec<Remark>), ConfigError> {
        if self.mistakes.is_empty() { Ok((value, self.remarks)) } else { Err(ConfigError(self.mistakes)) }
    }
}

/// `--cluster-cidr`, or `config.conf:12: clusterCIDR`.
impl Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "--{name}"),
            Self::Field { file, line, path } => write!(f, "{file}:{line}: {path}"),
            Self::File { file, line: Some(line) } => write!(f, "{file}:{line}"),
            Self::File { file, line: None } => f.write_str(file),
        }
    }
}

impl Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.reason)
    }
}

impl Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.reason)
    }
}

impl Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [mistake] => mistake.fmt(f),
            mistakes => {
                write!(f, "configuration: {} mistakes", mistakes.len())?;
                mistakes.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
            }
        }
    }
}

impl std::error::Error for ConfigError {}
