//! Flags, kube-proxy's configuration file, and what a change of it means.

mod defaults;
mod deployed;
mod differences;
mod file;
mod flags;
mod given;
mod kubeadm;
mod law;
mod live;
#[cfg(all(feature = "nftables", feature = "demo"))]
mod running;
