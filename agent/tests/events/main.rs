//! Kubernetes Events: which news come to which, and what an API server is sent.

#[cfg(feature = "kubernetes")]
mod posted;
mod witness;
