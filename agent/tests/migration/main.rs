//! What kube-proxy's modes left goes once ours is programmed: others' rules stay bit for bit, connections that stand go on, and new
//! ones never fail. On the real kernel, in namespaces.

mod node;
mod rules;
#[cfg(feature = "ipvs")]
mod servers;
mod sets;
mod settings;
mod timing;
