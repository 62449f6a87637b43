//! Which privilege a command needs, and whether this process has it.

use std::fs;

/// CAP_NET_ADMIN, by its number in linux/capability.h.
const NET_ADMIN: u32 = 12;

/// The process may not program the kernel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "CAP_NET_ADMIN is missing: user {user} may not program the kernel; run as root, or give the process this capability"
)]
pub(crate) struct Unprivileged {
    user: u32,
}

/// Checks that this process may program the kernel, as far as it can tell before it tries.
///
/// # Errors
/// If it has no `CAP_NET_ADMIN`.
pub(super) fn check() -> Result<(), Unprivileged> {
    // Without /proc the kernel will tell.
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    match has_net_admin(&status) {
        Some(false) => Err(Unprivileged { user: nix::unistd::geteuid().as_raw() }),
        Some(true) | None => Ok(()),
    }
}

fn has_net_admin(status: &str) -> Option<bool> {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    Some(u64::from_str_radix(effective.trim(), 16).ok()? & (1 << NET_ADMIN) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effective_set_decides() {
        for (status, expected) in [
            ("CapPrm:\t0000000000001000\nCapEff:\t0000000000001000\n", Some(true)),
            ("CapPrm:\t0000000000001000\nCapEff:\t0000000000000000\n", Some(false)),
            ("CapEff:\t000001ffffffffff\n", Some(true)),
            ("CapEff:\tmore\n", None),
            ("", None),
        ] {
            assert_eq!(has_net_admin(status), expected, "{status:?}");
        }
    }
}
