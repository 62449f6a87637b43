//! From kube-proxy to us: what its modes left goes when ours is programmed, and not before.
//!
//! ```text
//! News::Synced ─► FirstSync ─► follow ─┬─ rivals: who else serves here?          said
//!                   (once)             ├─ rules: tables, chains of iptables      one transaction each
//!                                      ├─ sets: IP sets                          then
//!                                      ├─ ipvs: virtual servers, kube-ipvs0      as their connections end
//!                                      └─ legacy: what we cannot remove          said
//! ```
//!
//! New connections never fail: ours are translated ahead of kube-proxy's or instead of it, and the kernel goes from both to ours
//! in one step. Connections that stand are conntrack's, and need no rule; those of IPVS need their virtual server, which is why
//! that is drained and not removed.
//!
//! Rules are removed once in a process's life. A kube-proxy that lives and puts them back is told of, not fought.
//!
//! **Invariant:** nothing that kube-proxy did not make is touched (`tests/migration`).

#[cfg(any(feature = "nftables", feature = "ipvs"))]
mod chains;
#[cfg(feature = "ipvs")]
mod device;
mod follow;
#[cfg(feature = "ipvs")]
mod ipvs;
mod legacy;
mod links;
mod report;
mod rivals;
#[cfg(any(feature = "nftables", feature = "ipvs"))]
mod rules;
#[cfg(feature = "ipvs")]
mod servers;
#[cfg(any(feature = "nftables", feature = "ipvs"))]
mod sets;

#[cfg(any(feature = "nftables", feature = "ipvs"))]
pub use chains::Need;
pub use follow::{FirstSync, Told, first_backend, follow, remove_all};
pub use report::{Failed, Left, Removed, Report, Rival};
