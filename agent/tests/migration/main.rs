//! What kube-proxy's modes left is removed once our rules are programmed: foreign rules stay bit for bit, established
//! connections continue, and new ones never fail. On the real kernel, in namespaces.

mod node;
mod rules;
#[cfg(feature = "ipvs")]
mod servers;
mod sets;
mod settings;
mod timing;
