//! Any bytes are some links and addresses or none, read as the agent's connection to rtnetlink reads a datagram.

use agent::node::{index_and_name, own_address};
use bytes::BytesMut;
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::proto::{NetlinkCodec, NetlinkMessageCodec};

pub(super) fn check(bytes: &[u8]) {
    let mut datagram = BytesMut::from(bytes);
    while let Ok(Some(message)) = NetlinkCodec::decode::<RouteNetlinkMessage>(&mut datagram) {
        match message.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewAddress(address)) => drop(own_address(&address)),
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
                if let Some((_, name)) = index_and_name(&link) {
                    assert!(name.len() <= bytes.len());
                }
            }
            _ => {}
        }
    }
}
