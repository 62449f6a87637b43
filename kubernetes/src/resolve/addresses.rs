//! Which addresses a service is dialled on.

use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;

use backend_api::{Family, PerFamily};

use super::notation::{usable_address, word};
use super::selection::cluster_ips;
use super::warning::{Log, Problem};
use crate::objects::{Address, IngressIp, IpMode, Service};

/// A service's addresses in one family in which it has a cluster address; no address is in it twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServiceAddresses {
    pub(super) cluster_ip: IpAddr,
    /// Of load balancers, as far as the node answers in their place.
    pub(super) vips: Vec<IpAddr>,
    /// Announced by the operator's own means.
    pub(super) external: Vec<IpAddr>,
}

/// The service's addresses. A family in which it has no cluster address does not exist for it: other addresses of
/// that family are left out.
///
/// An address that stands in several places counts in the first of: cluster address, load balancer's, external. So
/// source ranges hold for a load balancer's address that is an external one too.
pub(super) fn of_service(service: &Service, log: &mut Log<'_>) -> PerFamily<Option<ServiceAddresses>> {
    let mut families: PerFamily<Option<ServiceAddresses>> = PerFamily::default();
    for (field, written) in cluster_ips(service) {
        let Some(ip) = usable_address(written, field, log) else { continue };
        let empty = ServiceAddresses { cluster_ip: ip, vips: Vec::new(), external: Vec::new() };
        match families.of_mut(Family::of(ip)) {
            Some(_) => log.warn(field, Problem::SecondClusterIp(ip)),
            none => *none = Some(empty),
        }
    }
    let (ingresses, external_ips) = (&service.status.load_balancer.ingress, &service.spec.external_ips);
    if ingresses.is_empty() && external_ips.is_empty() {
        return families;
    }
    let mut seen: HashSet<IpAddr> =
        [&families.v4, &families.v6].into_iter().flatten().map(|addresses| addresses.cluster_ip).collect();
    for (i, ingress) in ingresses.iter().enumerate() {
        let field = format_args!("status.loadBalancer.ingress[{i}]");
        let Some(written) = captured(ingress, field, log) else { continue };
        if let Some((ip, addresses)) = placed(written, format_args!("{field}.ip"), &mut families, log)
            && seen.insert(ip)
        {
            addresses.vips.push(ip);
        }
    }
    for (i, written) in external_ips.iter().enumerate() {
        if let Some((ip, addresses)) = placed(written, format_args!("spec.externalIPs[{i}]"), &mut families, log)
            && seen.insert(ip)
        {
            addresses.external.push(ip);
        }
    }
    families
}

/// The address of a load balancer if the node answers in its place: it has an address and not just a hostname, and
/// does not insist on rewriting itself (KEP-1860).
fn captured<'a>(ingress: &'a IngressIp, field: fmt::Arguments<'_>, log: &mut Log<'_>) -> Option<&'a Address> {
    let written = ingress.ip.as_ref().filter(|ip| **ip != Address::Text(Box::default()))?;
    let mode = match &ingress.ip_mode {
        None => IpMode::Vip,
        Some(mode) => word(mode, "connections to the address are left alone", format_args!("{field}.ipMode"), log)?,
    };
    match mode {
        IpMode::Vip => Some(written),
        IpMode::Proxy => None,
    }
}

/// The address with its family's others, if the service exists in that family.
fn placed<'a>(
    written: &Address,
    field: fmt::Arguments<'_>,
    families: &'a mut PerFamily<Option<ServiceAddresses>>,
    log: &mut Log<'_>,
) -> Option<(IpAddr, &'a mut ServiceAddresses)> {
    let ip = usable_address(written, field, log)?;
    let family = Family::of(ip);
    let addresses = families.of_mut(family).as_mut();
    if addresses.is_none() {
        log.warn(field, Problem::NoClusterIp { address: ip, family });
    }
    addresses.map(|addresses| (ip, addresses))
}
