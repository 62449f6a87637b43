//! The device that kube-proxy's IPVS mode gives the services' addresses to, by rtnetlink.

use std::collections::BTreeSet;
use std::future::Future;
use std::net::IpAddr;

use futures_util::TryStreamExt;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use nix::errno::Errno;
use rtnetlink::Handle;
use tokio::task::JoinSet;

use super::links::{self, KUBE_IPVS, errno};

/// A device and what is on it.
#[derive(Debug)]
pub(super) struct Device {
    handle: Handle,
    index: u32,
    messages: Vec<(IpAddr, AddressMessage)>,
    /// Ends with the device.
    _connection: JoinSet<()>,
}

/// kube-proxy's device, if it is there, in the network namespace of this thread.
pub(super) async fn find() -> Result<Option<Device>, String> {
    let (handle, connection) = links::open()?;
    let Some(index) = links::index(&handle, KUBE_IPVS).await? else { return Ok(None) };
    let request = handle.address().get().set_link_index_filter(index);
    let messages: Vec<AddressMessage> = request.execute().try_collect().await.map_err(text)?;
    let messages = messages.into_iter().filter(|message| message.header.index == index);
    let messages = messages.filter_map(|message| Some((address(&message)?, message))).collect();
    Ok(Some(Device { handle, index, messages, _connection: connection }))
}

impl Device {
    /// Its addresses, without those that the kernel gives by itself.
    pub(super) fn addresses(&self) -> BTreeSet<IpAddr> {
        self.messages.iter().map(|(address, _)| *address).collect()
    }

    /// Takes these from it.
    pub(super) async fn release(&self, addresses: &[IpAddr]) -> Result<(), String> {
        for (_, message) in self.messages.iter().filter(|(address, _)| addresses.contains(address)) {
            absent_is_fine(self.handle.address().del(message.clone()).execute()).await?;
        }
        Ok(())
    }

    /// Removes it, with what is still on it.
    pub(super) async fn remove(&self) -> Result<(), String> {
        absent_is_fine(self.handle.link().del(self.index).execute()).await
    }
}

async fn absent_is_fine(done: impl Future<Output = Result<(), rtnetlink::Error>>) -> Result<(), String> {
    match done.await {
        Err(error) if !matches!(errno(&error), Some(Errno::ENODEV | Errno::EADDRNOTAVAIL)) => Err(text(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn address(message: &AddressMessage) -> Option<IpAddr> {
    let local = |attribute: &AddressAttribute| match attribute {
        AddressAttribute::Local(address) | AddressAttribute::Address(address) => Some(*address),
        _ => None,
    };
    let address = message.attributes.iter().find_map(local)?;
    let is_link_local = matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
    (!is_link_local).then_some(address)
}

fn text(error: rtnetlink::Error) -> String {
    error.to_string()
}
