//! What has changed and is not in the kernel yet.

use std::collections::BTreeSet;

use backend_api::{Scope, ServiceName};

/// Changes that wait for a sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pending {
    /// Anything may be another than the kernel has it.
    All,
    /// These services; nothing waits if empty.
    Services(BTreeSet<ServiceName>),
}

impl Pending {
    /// Nothing waits.
    pub fn nothing() -> Self {
        Self::Services(BTreeSet::new())
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Services(services) if services.is_empty())
    }

    /// `more` waits too.
    pub fn add(&mut self, more: Self) {
        *self = match (std::mem::replace(self, Self::All), more) {
            (Self::Services(mut services), Self::Services(more)) => {
                services.extend(more);
                Self::Services(services)
            }
            (Self::All, _) | (_, Self::All) => Self::All,
        };
    }

    /// The scope of a sync after which nothing of this waits.
    pub fn scope(&self) -> Scope<'_> {
        match self {
            Self::All => Scope::All,
            Self::Services(services) => Scope::Services(services),
        }
    }
}
