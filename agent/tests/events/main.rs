//! Kubernetes Events: which news come to which, and what an API server is sent.

mod herald;
#[cfg(feature = "kubernetes")]
mod posted;
