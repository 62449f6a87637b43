//! Links by name, by rtnetlink: by some of them others are known.

use futures_util::TryStreamExt;
use nix::errno::Errno;
use rtnetlink::{Handle, new_connection};
use tokio::task::JoinSet;

/// What kube-proxy's IPVS mode calls its device.
pub(super) const KUBE_IPVS: &str = "kube-ipvs0";

/// Whether there is a device of this name, in the network namespace of this thread.
pub(super) async fn is_there(name: &str) -> Result<bool, String> {
    let (handle, _connection) = open()?;
    Ok(index(&handle, name).await?.is_some())
}

/// A connection, which ends with the set.
pub(super) fn open() -> Result<(Handle, JoinSet<()>), String> {
    let (connection, handle, _) = new_connection().map_err(|error| format!("netlink socket: {error}"))?;
    let mut task = JoinSet::new();
    task.spawn(connection);
    Ok((handle, task))
}

/// The number of the device of this name, if there is one.
pub(super) async fn index(handle: &Handle, name: &str) -> Result<Option<u32>, String> {
    match handle.link().get().match_name(name).execute().try_next().await {
        Ok(link) => Ok(link.map(|link| link.header.index)),
        Err(error) if errno(&error) == Some(Errno::ENODEV) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

/// The kernel's error in rtnetlink's.
pub(super) fn errno(error: &rtnetlink::Error) -> Option<Errno> {
    match error {
        rtnetlink::Error::NetlinkError(message) => Some(Errno::from_raw(message.raw_code().abs())),
        _ => None,
    }
}
