//! The node's links, now and after every change, from rtnetlink.
//!
//! Followed only where somebody asked for what needs them: a node has one for each of its pods.

use std::collections::BTreeMap;

use futures_util::TryStreamExt;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::{Handle, MulticastGroup};
use tokio::sync::watch;

use kubernetes::Links;

use crate::notified::Followed;

/// Keeps `links` equal to what the node has, from when somebody wants them first until nobody looks. The network namespace is
/// that of the thread that calls first.
pub async fn follow(mut wanted: watch::Receiver<bool>, links: watch::Sender<Links>) {
    if wanted.wait_for(|wanted| *wanted).await.is_err() {
        // Nobody will want them; whoever looks may go on doing so.
        return links.closed().await;
    }
    Followed { name: "node's links", groups: &[MulticastGroup::Link], read }.follow(links).await;
}

async fn read(handle: Handle) -> Result<BTreeMap<u32, String>, rtnetlink::Error> {
    let messages: Vec<LinkMessage> = handle.link().get().execute().try_collect().await?;
    Ok(messages.iter().filter(|link| !link.header.flags.contains(LinkFlags::Loopback)).filter_map(named).collect())
}

fn named(link: &LinkMessage) -> Option<(u32, String)> {
    let name = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    });
    Some((link.header.index, name?))
}
