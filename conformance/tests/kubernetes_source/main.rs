//! The Kubernetes source against the API server double: what it tells, and what it survives.
//!
//! Each test is one claim. Most look at what is told; `pipeline` runs whole agents against the in-memory dataplane, and
//! `node` on the real kernel.

mod access;
mod followed;
mod lists;
mod weather;
