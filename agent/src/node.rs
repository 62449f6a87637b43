//! The node's links and addresses, now and after every change, from rtnetlink.
//!
//! A notification only says that something changed; the value is then read anew. So nothing depends on the order or the
//! completeness of notifications.
//!
//! Every task here works in the network namespace of the thread that polls it first.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::{Handle, MulticastGroup, new_multicast_connection};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::warn;

use kubernetes::{Addresses, Links};

/// How long to wait before rtnetlink is tried again after a failure.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// An interface that comes up gets several addresses: notifications within this time lead to one reading.
const SETTLE: Duration = Duration::from_millis(2);

/// Keeps `addresses` equal to the addresses that the node owns, until every receiver is dropped.
pub async fn watch_addresses(addresses: watch::Sender<Addresses>) {
    let groups = [MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
    watch_rtnetlink("node addresses", &groups, read_addresses, addresses).await;
}

/// Keeps `links` equal to the node's links, from the first time that `wanted` is true until every receiver is dropped.
///
/// Nothing is read before, because a node has one link for each of its pods and few settings need them.
pub async fn watch_links(mut wanted: watch::Receiver<bool>, links: watch::Sender<Links>) {
    if wanted.wait_for(|wanted| *wanted).await.is_err() {
        // They will never be wanted; the receivers may stay.
        return links.closed().await;
    }
    watch_rtnetlink("node links", &[MulticastGroup::Link], read_links, links).await;
}

async fn read_addresses(handle: Handle) -> Result<BTreeSet<IpAddr>, rtnetlink::Error> {
    let messages: Vec<AddressMessage> = handle.address().get().execute().try_collect().await?;
    Ok(messages.iter().filter_map(own_address).filter(|address| !address.is_loopback()).collect())
}

/// The node's own address in an rtnetlink message: on a point-to-point interface `IFA_ADDRESS` is the peer's.
pub fn own_address(message: &AddressMessage) -> Option<IpAddr> {
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

async fn read_links(handle: Handle) -> Result<BTreeMap<u32, String>, rtnetlink::Error> {
    let messages: Vec<LinkMessage> = handle.link().get().execute().try_collect().await?;
    Ok(messages
        .iter()
        .filter(|link| !link.header.flags.contains(LinkFlags::Loopback))
        .filter_map(index_and_name)
        .collect())
}

/// A link's index and name in an rtnetlink message.
pub fn index_and_name(link: &LinkMessage) -> Option<(u32, String)> {
    let name = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    });
    Some((link.header.index, name?))
}

/// Keeps `values` equal to what `read` returns, until every receiver is dropped; `None` before the first reading.
/// `name` is for the log, and a notification of `groups` leads to the next reading.
async fn watch_rtnetlink<T, F>(
    name: &'static str,
    groups: &[MulticastGroup],
    read: impl Fn(Handle) -> F,
    values: watch::Sender<Option<T>>,
) where
    T: PartialEq,
    F: Future<Output = Result<T, rtnetlink::Error>>,
{
    loop {
        tokio::select! {
            () = values.closed() => return,
            outcome = read_until_failure(groups, &read, &values) => {
                if let Err(reason) = outcome {
                    warn!(reason, "{name}: cannot be read, trying again");
                }
            }
        }
        tokio::time::sleep(TRY_AGAIN).await;
    }
}

/// Reads over one connection, for as long as it works.
async fn read_until_failure<T, F>(
    groups: &[MulticastGroup],
    read: &impl Fn(Handle) -> F,
    values: &watch::Sender<Option<T>>,
) -> Result<(), String>
where
    T: PartialEq,
    F: Future<Output = Result<T, rtnetlink::Error>>,
{
    let (connection, handle, mut notifications) =
        new_multicast_connection(groups).map_err(|error| error.to_string())?;
    let mut reader = JoinSet::new(); // ends with this function, cancelled or not
    reader.spawn(connection);
    loop {
        let now = read(handle.clone()).await.map_err(|error| error.to_string())?;
        values.send_if_modified(|known| {
            let changed = known.as_ref() != Some(&now);
            *known = Some(now);
            changed
        });
        if notifications.next().await.is_none() {
            return Err("notifications ended".to_owned());
        }
        tokio::time::sleep(SETTLE).await;
        while let Ok(Some(_)) = tokio::time::timeout(Duration::ZERO, notifications.next()).await {}
    }
}
