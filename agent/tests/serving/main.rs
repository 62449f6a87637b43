//! The agent's own servers, over real HTTP in a network namespace: what probes, load balancers and Prometheus are
//! answered.

mod catalog;
mod exposition;
mod given;
mod kernel;
mod metrics;
mod node;
mod places;
mod service;
