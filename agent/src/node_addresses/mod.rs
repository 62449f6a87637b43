//! The addresses that this node owns, now and after every change, from rtnetlink.
//!
//! A notification only says that something changed; the addresses are then read anew. So nothing depends on the order or
//! the completeness of notifications.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::{Handle, MulticastGroup, new_multicast_connection};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::warn;

/// How long to wait before rtnetlink is tried again after a failure.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// An interface that comes up gets several addresses: what follows within this time is read once.
const SETTLE: Duration = Duration::from_millis(2);

/// Every address of the node, loopback excepted; `None` until they have been read first.
pub type Addresses = Option<BTreeSet<IpAddr>>;

/// Keeps `addresses` equal to what the node owns, until nobody looks. The network namespace is that of the thread that
/// calls first.
pub async fn follow(addresses: watch::Sender<Addresses>) {
    loop {
        tokio::select! {
            () = addresses.closed() => return,
            outcome = follow_one_connection(&addresses) => {
                if let Err(reason) = outcome {
                    warn!(reason, "node addresses: cannot be read, trying again");
                }
            }
        }
        tokio::time::sleep(TRY_AGAIN).await;
    }
}

async fn follow_one_connection(addresses: &watch::Sender<Addresses>) -> Result<(), String> {
    let groups = [MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
    let (connection, handle, mut notifications) =
        new_multicast_connection(&groups).map_err(|error| error.to_string())?;
    let mut reader = JoinSet::new(); // ends with this function, cancelled or not
    reader.spawn(connection);
    loop {
        match read(&handle).await {
            Ok(now) => addresses.send_if_modified(|known| {
                let changed = known.as_ref() != Some(&now);
                *known = Some(now);
                changed
            }),
            Err(error) => return Err(error.to_string()),
        };
        if notifications.next().await.is_none() {
            return Err("notifications ended".to_owned());
        }
        tokio::time::sleep(SETTLE).await;
        while let Ok(Some(_)) = tokio::time::timeout(Duration::ZERO, notifications.next()).await {}
    }
}

async fn read(handle: &Handle) -> Result<BTreeSet<IpAddr>, rtnetlink::Error> {
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
