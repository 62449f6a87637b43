//! The addresses that this node owns, now and after every change, from rtnetlink.

use std::collections::BTreeSet;
use std::net::IpAddr;

use futures_util::TryStreamExt;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::{Handle, MulticastGroup};
use tokio::sync::watch;

use kubernetes::Addresses;

use crate::notified::Followed;

/// Keeps `addresses` equal to what the node owns, until nobody looks. The network namespace is that of the thread that
/// calls first.
pub async fn follow(addresses: watch::Sender<Addresses>) {
    let groups = &[MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
    Followed { name: "node addresses", groups, read }.follow(addresses).await;
}

async fn read(handle: Handle) -> Result<BTreeSet<IpAddr>, rtnetlink::Error> {
    let messages: Vec<AddressMessage> = handle.address().get().execute().try_collect().await?;
    Ok(messages.iter().filter_map(owned).filter(|address| !address.is_loopback()).collect())
}

/// The node's own address in `message`: on a point-to-point interface `IFA_ADDRESS` is the peer's.
fn owned(message: &AddressMessage) -> Option<IpAddr> {
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}
