//! From whose address an endpoint sees a connection.

use backend_api::{Family, LocalTraffic, Masquerade, PerFamily};

use crate::objects::TrafficPolicy;
use crate::settings::Settings;

/// For cluster addresses of each family.
///
/// Where pods can be told, whoever is none may sit behind a router that does not know the way back for a cluster
/// address: its connections carry the node's address. Where they cannot, nobody's do.
pub(super) fn of_cluster_ips(settings: &Settings, local: &PerFamily<LocalTraffic>) -> PerFamily<Masquerade> {
    let of = |family: Family| match (settings.masquerade_all, local.of(family).is_known()) {
        (true, _) => Masquerade::Always,
        (false, true) => Masquerade::UnlessPod,
        (false, false) => Masquerade::Never,
    };
    PerFamily { v4: of(Family::V4), v6: of(Family::V6) }
}

/// For every other frontend. With policy Local strangers keep their address, which is what the policy is for, and pods
/// too, whose way back is known; the node's own connections would else carry an address of no use elsewhere.
pub(super) fn of_external(policy: TrafficPolicy) -> Masquerade {
    match policy {
        TrafficPolicy::Cluster => Masquerade::Always,
        TrafficPolicy::Local => Masquerade::FromNode,
    }
}
