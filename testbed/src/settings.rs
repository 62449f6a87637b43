//! The kernel settings that a world relies on.

use std::io;

use super::namespace::Namespace;

/// A kernel setting that a world relies on.
pub(super) struct Setting {
    key: &'static str,
    value: &'static str,
    absence: Absence,
}

/// What it means that a kernel does not have a setting.
#[derive(Clone, Copy)]
enum Absence {
    /// The world would not be what it is described to be.
    Fails,
    /// Nothing: what it is about is not there either.
    Fine,
}

const fn needed(key: &'static str, value: &'static str) -> Setting {
    Setting { key, value, absence: Absence::Fails }
}

const fn optional(key: &'static str, value: &'static str) -> Setting {
    Setting { key, value, absence: Absence::Fine }
}

/// For every namespace; `default` is what links get that are made later.
pub(super) const SETTINGS: &[Setting] = &[
    // Sources from anywhere: a wrong translation shall be seen, not filtered.
    needed("net/ipv4/conf/all/rp_filter", "0"),
    needed("net/ipv4/conf/default/rp_filter", "0"),
    // Pods of one bridge talk through the node; it shall not tell them otherwise.
    needed("net/ipv4/conf/all/send_redirects", "0"),
    needed("net/ipv4/conf/default/send_redirects", "0"),
    needed("net/ipv4/conf/all/accept_redirects", "0"),
    needed("net/ipv4/conf/default/accept_redirects", "0"),
    // Every refusal is sent, however many.
    needed("net/ipv4/icmp_ratelimit", "0"),
    needed("net/ipv4/icmp_ratemask", "0"),
    // A ping needs no raw socket.
    needed("net/ipv4/ping_group_range", "0 2147483647"),
    optional("net/ipv6/conf/all/disable_ipv6", "0"),
    optional("net/ipv6/conf/default/disable_ipv6", "0"),
    optional("net/ipv6/conf/all/accept_dad", "0"),
    optional("net/ipv6/conf/default/accept_dad", "0"),
    optional("net/ipv6/conf/default/accept_ra", "0"),
    optional("net/ipv6/conf/all/accept_redirects", "0"),
    optional("net/ipv6/conf/default/accept_redirects", "0"),
    optional("net/ipv6/icmp/ratelimit", "0"),
];

pub(super) const NODE_SETTINGS: &[Setting] = &[
    needed("net/ipv4/ip_forward", "1"),
    optional("net/ipv6/conf/all/forwarding", "1"),
    optional("net/ipv6/conf/default/forwarding", "1"),
    // Frames between ports of a bridge are no business of the packet filter here.
    optional("net/bridge/bridge-nf-call-iptables", "0"),
    optional("net/bridge/bridge-nf-call-ip6tables", "0"),
];

pub(super) fn configure(namespace: &Namespace, settings: &[Setting]) -> io::Result<()> {
    namespace.run(|| {
        for Setting { key, value, absence } in settings {
            match (std::fs::write(format!("/proc/sys/{key}"), value), absence) {
                (Ok(()), _) => {}
                (Err(error), Absence::Fine) if error.kind() == io::ErrorKind::NotFound => {}
                (Err(error), _) => return Err(io::Error::new(error.kind(), format!("setting {key}: {error}"))),
            }
        }
        Ok(())
    })
}
