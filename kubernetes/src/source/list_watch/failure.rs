//! How a request fails, and what to do about it.

use std::time::Duration;

use super::answer::Refusal;

/// How a request, or its answer, failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// No server could be asked.
    #[error("{0}")]
    Unreachable(String),
    /// A server does not know the credentials. A [`Failure::Refused`] with 401 means the same.
    #[error("{0}")]
    Unauthorized(String),
    /// A server refuses.
    #[error("the server answers {0}")]
    Refused(Refusal),
    /// The answer broke off.
    #[error("the answer broke off")]
    Cut,
    /// Nothing came for too long.
    #[error("the server was silent for too long")]
    Silent,
    /// The answer cannot be read.
    #[error("{0}")]
    Nonsense(String),
    /// The answer, or all of them together, are longer than anything that a server needs to send.
    #[error("{0}")]
    TooLong(String),
}

/// What to do about a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Ask again at once: the request is another one now.
    Now,
    /// Ask again after a while; the failure was to be expected.
    Later,
    /// As `Later`, but not before this time is over. The API is away as long as this goes on.
    Away {
        /// Why, for an operator.
        reason: String,
        /// The least time to wait.
        not_before: Duration,
    },
    /// As `Later`; this kind of objects is not to be had until the rights of this client change. A server that has just
    /// started may not know them yet.
    Denied {
        /// Why, for an operator.
        reason: String,
    },
    /// As `Denied`, but the server knows no such kind: not before the cluster is another one.
    Unknown {
        /// Why, for an operator.
        reason: String,
    },
}

impl Remedy {
    /// A server refuses, for a time that it may say.
    pub(super) fn refused(refusal: &Refusal) -> Self {
        Self::Away { reason: format!("it answers {refusal}"), not_before: refusal.retry_after.unwrap_or_default() }
    }

    pub(super) fn away(reason: &str) -> Self {
        Self::Away { reason: reason.to_owned(), not_before: Duration::ZERO }
    }
}
