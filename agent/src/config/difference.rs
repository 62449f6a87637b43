//! What differs between two configurations, and who has to act on it.

use std::collections::BTreeSet;

use super::Config;
use crate::localhost::OnLocalhost;

/// A part of the agent that a configuration is for. Every one can change while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Where objects come from, and of which node. Another source lists anew; what the one before told holds until then.
    Source,
    /// What judgements about services depend on ([`kubernetes::settings::Settings`]): everything is resolved again.
    Settings,
    /// Who programs the kernel, or how it is opened.
    Backend,
    /// Health and metrics.
    Servers,
    /// What is set on the node.
    Host,
    /// Node ports on localhost.
    Localhost,
    /// Whether kube-proxy's rules are removed. Those that were removed do not come back.
    KubeProxy,
    /// How much is logged.
    LogLevel,
}

/// Who has to act when `after` takes the place of `before`.
pub fn changes(before: &Config, after: &Config) -> BTreeSet<Part> {
    // Every field by name: a new one must say whom it concerns.
    let Config {
        node_name,
        node_address,
        backend,
        ipvs,
        local_traffic,
        node_ports,
        masquerade_all,
        flowtable_after,
        source,
        servers,
        host,
        kube_proxy,
        verbosity,
    } = after;
    let settings = before.node_address != *node_address
        || before.local_traffic != *local_traffic
        || before.node_ports != *node_ports
        || before.masquerade_all != *masquerade_all
        || before.flowtable_after != *flowtable_after;
    // The other backend's settings wait until it is chosen.
    let ipvs_matters = before.ipvs != *ipvs && *backend == crate::backend::Backend::Ipvs;
    let renamed = before.node_name != *node_name;
    [
        (Part::Source, before.source != *source || renamed),
        (Part::Settings, settings || renamed),
        (Part::Backend, before.backend != *backend || ipvs_matters),
        (Part::Servers, before.servers != *servers),
        (Part::Host, before.host != *host),
        (Part::Localhost, OnLocalhost::of(&before.node_ports) != OnLocalhost::of(node_ports)),
        (Part::KubeProxy, before.kube_proxy != *kube_proxy),
        (Part::LogLevel, before.verbosity != *verbosity),
    ]
    .into_iter()
    .filter_map(|(part, differs)| differs.then_some(part))
    .collect()
}
