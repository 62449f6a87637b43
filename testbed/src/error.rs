//! Why a world could not be built.

use std::io;

use super::namespace::NamespaceError;

/// Why a world could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorldError {
    /// A namespace could not be made.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// The kernel refused a link, an address or a route.
    #[error("{place}: {object}: {source}")]
    Link {
        /// The place.
        place: String,
        /// The link, the address or the route.
        object: String,
        /// The kernel's error.
        source: rtnetlink::Error,
    },
    /// A setting or a server was refused.
    #[error("{place}: {source}")]
    Setup {
        /// The place.
        place: String,
        /// The kernel's error.
        source: io::Error,
    },
    /// Links did not come up in time.
    #[error("{place}: links {}: not up after five seconds", links.join(", "))]
    NotReady {
        /// The place.
        place: String,
        /// The links.
        links: Vec<String>,
    },
    /// The plan contradicts itself.
    #[error("plan: {0}")]
    Plan(String),
}

/// An operation on a place's links, and what it is called in errors.
pub(super) trait Named<T> {
    fn named(self, place: &str, object: &str) -> Result<T, WorldError>;
}

impl<T> Named<T> for Result<T, rtnetlink::Error> {
    fn named(self, place: &str, object: &str) -> Result<T, WorldError> {
        self.map_err(|source| WorldError::Link { place: place.into(), object: object.into(), source })
    }
}

pub(super) fn setup(place: &str) -> impl FnOnce(io::Error) -> WorldError {
    let place = place.to_owned();
    move |source| WorldError::Setup { place, source }
}
