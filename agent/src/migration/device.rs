//! Links by name, and the device that kube-proxy's IPVS mode gives the services' addresses to, by rtnetlink.
//!
//! In the network namespace of the calling thread.

use std::collections::BTreeSet;
use std::future::Future;
use std::net::IpAddr;

use futures_util::TryStreamExt;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use nix::errno::Errno;
use rtnetlink::{Handle, new_connection};
use tokio::task::JoinSet;

/// The name of kube-proxy's device.
pub(super) const KUBE_IPVS: &str = "kube-ipvs0";

/// A device and its addresses.
#[derive(Debug)]
pub(super) struct Device {
    handle: Handle,
    index: u32,
    messages: Vec<(IpAddr, AddressMessage)>,
    /// Ends with the device.
    _connection: JoinSet<()>,
}

/// Whether there is a link of this name.
pub(super) async fn is_there(name: &str) -> Result<bool, String> {
    let (handle, _connection) = open()?;
    Ok(index(&handle, name).await?.is_some())
}

impl Device {
    /// kube-proxy's device, if it is there.
    pub(super) async fn find() -> Result<Option<Self>, String> {
        let (handle, connection) = open()?;
        let Some(index) = index(&handle, KUBE_IPVS).await? else { return Ok(None) };
        let request = handle.address().get().set_link_index_filter(index);
        let answer: Vec<AddressMessage> = request.execute().try_collect().await.map_err(|error| error.to_string())?;
        let messages = answer
            .into_iter()
            .filter(|message| message.header.index == index)
            .filter_map(|message| Some((given_address(&message)?, message)))
            .collect();
        Ok(Some(Self { handle, index, messages, _connection: connection }))
    }

    /// Its addresses, without those that the kernel gives by itself.
    pub(super) fn addresses(&self) -> BTreeSet<IpAddr> {
        self.messages.iter().map(|(address, _)| *address).collect()
    }

    /// Removes these addresses from it.
    pub(super) async fn release(&self, addresses: &[IpAddr]) -> Result<(), String> {
        for (_, message) in self.messages.iter().filter(|(address, _)| addresses.contains(address)) {
            absent_is_fine(self.handle.address().del(message.clone()).execute()).await?;
        }
        Ok(())
    }

    /// Removes it, with the addresses that are still on it.
    pub(super) async fn remove(&self) -> Result<(), String> {
        absent_is_fine(self.handle.link().del(self.index).execute()).await
    }
}

/// A connection, which ends with the set.
fn open() -> Result<(Handle, JoinSet<()>), String> {
    let (connection, handle, _) = new_connection().map_err(|error| format!("netlink socket: {error}"))?;
    let mut task = JoinSet::new();
    task.spawn(connection);
    Ok((handle, task))
}

/// The number of the link of this name, if there is one.
async fn index(handle: &Handle, name: &str) -> Result<Option<u32>, String> {
    match handle.link().get().match_name(name).execute().try_next().await {
        Ok(link) => Ok(link.map(|link| link.header.index)),
        Err(error) if errno(&error) == Some(Errno::ENODEV) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

/// The address in `message`, unless it is link-local.
fn given_address(message: &AddressMessage) -> Option<IpAddr> {
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) | AddressAttribute::Address(address) => Some(*address),
        _ => None,
    })?;
    let is_link_local = matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
    (!is_link_local).then_some(address)
}

async fn absent_is_fine(removal: impl Future<Output = Result<(), rtnetlink::Error>>) -> Result<(), String> {
    match removal.await {
        Err(error) if !matches!(errno(&error), Some(Errno::ENODEV | Errno::EADDRNOTAVAIL)) => Err(error.to_string()),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The kernel's error in rtnetlink's.
fn errno(error: &rtnetlink::Error) -> Option<Errno> {
    match error {
        rtnetlink::Error::NetlinkError(message) => Some(Errno::from_raw(message.raw_code().abs())),
        _ => None,
    }
}
