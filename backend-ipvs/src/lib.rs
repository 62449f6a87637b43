//! The IPVS dataplane: so far its way to the kernel.

pub mod kernel;
