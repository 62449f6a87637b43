//! From kube-proxy to Switchyard: what kube-proxy's modes left on the node is removed once Switchyard's rules are
//! programmed.
//!
//! ```text
//! News::Synced ─► FirstSync ─► takeover ─┬─ rivals: other service proxies on this node      reported
//!                   (once)               ├─ tables, chains: nftables mode, iptables chains  a transaction each
//!                                        ├─ sets: IP sets                                   after the rules
//!                                        └─ ipvs, servers, device: virtual servers          as connections end
//! ```
//!
//! New connections never fail: until the removal either program's rules translate a connection, and the kernel goes
//! from both to ours in one step. Established connections are in connection tracking and need no rule. Those of IPVS
//! need their virtual server, which is therefore drained and not removed at once.
//!
//! Rules are removed once in a process's life. A kube-proxy that runs and writes them again is reported and not fought.
//!
//! **Invariant:** nothing that kube-proxy did not make is touched (`tests/migration`).

mod chains;
mod device;
mod ipvs;
mod report;
mod rivals;
mod servers;
mod sets;
mod tables;
mod takeover;

pub use chains::Need;
pub use report::{CleanupReport, Failed, Left, Removed, Rival};
pub use takeover::{FirstSync, Told, first_backend, remove_all, take_over_from_kube_proxy};
