//! A foreign rule and routing table; and every rule and route as text.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt;
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage, RouteProtocol, RouteType};
use rtnetlink::packet_route::rule::RuleAction;
use rtnetlink::{Handle, IpVersion, RouteMessageBuilder};

/// A routing table such as a network plugin has, its rule, and the sources that are routed by it.
const TABLE: u32 = 77;
const PRIORITY: u32 = 7000;
const SOURCE: (Ipv4Addr, u8) = (Ipv4Addr::new(198, 51, 100, 0), 24);
const DESTINATION: (Ipv4Addr, u8) = (Ipv4Addr::new(203, 0, 113, 0), 24);

/// linux/rtnetlink.h.
const RT_TABLE_LOCAL: u8 = 255;

pub(super) async fn plant() -> Result<(), String> {
    let handle = open()?;
    let rule = handle.rule().add().v4().source_prefix(SOURCE.0, SOURCE.1).table_id(TABLE).priority(PRIORITY);
    rule.action(RuleAction::ToTable).execute().await.map_err(|error| format!("a foreign rule: {error}"))?;
    let route = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(DESTINATION.0.into(), DESTINATION.1)
        .expect("a prefix of IPv4")
        .kind(RouteType::BlackHole)
        .table_id(TABLE)
        .build();
    handle.route().add(route).execute().await.map_err(|error| format!("a foreign route: {error}"))
}

/// Every rule, and every route but those that the kernel makes itself for addresses, which scenarios give and take.
pub(super) async fn list() -> Result<BTreeMap<String, String>, String> {
    let handle = open()?;
    let mut all = BTreeMap::new();
    let families = [
        (IpVersion::V4, RouteMessageBuilder::<Ipv4Addr>::new().build()),
        (IpVersion::V6, RouteMessageBuilder::<Ipv6Addr>::new().build()),
    ];
    for (family, any) in families {
        let optional = matches!(family, IpVersion::V6);
        let rules = known("rules", optional, handle.rule().get(family).execute().try_collect().await)?;
        let routes = known("routes", optional, handle.route().get(any).execute().try_collect().await)?;
        let routes = routes.into_iter().filter(|route| !is_of_an_address(route)).map(steady);
        all.extend(rules.iter().map(|rule| (format!("rule {rule:?}"), "there".to_owned())));
        all.extend(routes.map(|route| (format!("route {route:?}"), "there".to_owned())));
    }
    Ok(all)
}

/// A kernel may be without IPv6, and is asked for it nevertheless.
fn known<T>(what: &str, optional: bool, listed: Result<Vec<T>, rtnetlink::Error>) -> Result<Vec<T>, String> {
    match listed {
        Err(_) if optional => Ok(Vec::new()),
        listed => listed.map_err(|error| format!("{what}: {error}")),
    }
}

fn is_of_an_address(route: &RouteMessage) -> bool {
    route.header.protocol == RouteProtocol::Kernel || route.header.table == RT_TABLE_LOCAL
}

/// Without the counters of its use.
fn steady(mut route: RouteMessage) -> RouteMessage {
    route.attributes.retain(|attribute| !matches!(attribute, RouteAttribute::CacheInfo(_)));
    route
}

fn open() -> Result<Handle, String> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(|error| format!("rtnetlink: {error}"))?;
    // Ends with the runtime, which lives as long as the work.
    tokio::spawn(connection);
    Ok(handle)
}

/// What a backend that forgets itself would leave.
#[cfg(test)]
pub(super) async fn leave_a_rule() -> Result<(), String> {
    let rule = open()?.rule().add().v4().fw_mark(0x5300_0000).table_id(21337).priority(101);
    rule.action(RuleAction::ToTable).execute().await.map_err(|error| error.to_string())
}
