//! The Kubernetes source against the API server double: what it tells, and what it survives.
//!
//! Each test is one claim. Most look at what is told; `pipeline` runs whole agents, on a dataplane in memory and on the
//! real kernel.

mod access;
mod agents;
mod allocating;
mod cuts;
mod double;
mod followed;
mod lists;
mod nonsense;
mod pipeline;
mod recorded;
mod recovery;
mod tls;
mod weather;
