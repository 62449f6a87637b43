//! How many descriptors each part of the agent may hold open.
//!
//! ```text
//! RLIMIT_NOFILE ─► Descriptors ─┬─► listeners: health check node ports, node ports on localhost
//!                               ├─► clients of all HTTP servers together
//!                               ├─► connections and flows of node ports on localhost
//!                               └─► the rest, a quarter at least: files, netlink, the API
//! ```
//!
//! Kept apart from the servers because clients decide how much they use: what the agent needs to follow changes must
//! not depend on them.

use std::io;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What the agent opens by itself, however low the limit is: netlink sockets, the API's connections, files, inotify.
const OWN: u64 = 64;

/// Clients of all HTTP servers at the same time. Each may have two buffers of 64 KiB.
const CLIENTS: usize = 256;

/// Connections, and flows, of node ports on localhost at the same time.
const FORWARDED: usize = 4096;

/// The shares of the parts. Cheap to clone; clones share.
#[derive(Clone, Debug)]
pub struct Descriptors {
    limit: u64,
    listeners: Arc<Semaphore>,
    /// Clients of all HTTP servers at the same time.
    pub clients: usize,
    /// TCP connections of node ports on localhost at the same time; each uses two descriptors.
    pub connections: usize,
    /// UDP flows of node ports on localhost at the same time.
    pub flows: usize,
}

/// Room for one listener; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct ListenerPermit(#[allow(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

impl Descriptors {
    /// The shares of a process with this limit.
    pub fn within(limit: u64) -> Self {
        let eighth = usize::try_from(limit.saturating_sub(OWN) / 8).unwrap_or(usize::MAX).max(1);
        Self {
            limit,
            listeners: Arc::new(Semaphore::new(eighth.saturating_mul(2).min(Semaphore::MAX_PERMITS))),
            clients: eighth.min(CLIENTS),
            connections: eighth.min(FORWARDED),
            flows: eighth.min(FORWARDED),
        }
    }

    /// The shares of this process, by its soft limit at this moment.
    pub fn of_process() -> Self {
        // Cannot fail for a resource that exists.
        Self::within(getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft))
    }

    /// The limit, if it is so low that it is felt without node ports on localhost.
    pub fn shortage(&self) -> Option<u64> {
        (self.clients < CLIENTS).then_some(self.limit)
    }

    /// Room for one more listener.
    ///
    /// # Errors
    /// `EMFILE`, if listeners have used their share.
    pub(crate) fn listener(&self) -> io::Result<ListenerPermit> {
        let permit = self.listeners.clone().try_acquire_owned();
        permit.map(ListenerPermit).map_err(|_| Errno::EMFILE.into())
    }
}

/// Raises the soft limit of this process to the hard one. Programs that it starts inherit that.
///
/// # Errors
/// The kernel's reason.
pub(crate) fn raise_limit() -> io::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(())
}

/// Whether what failed would fail again at once: descriptors or memory are short.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    let shortage = [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM];
    error.raw_os_error().is_some_and(|code| shortage.contains(&Errno::from_raw(code)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_can_use_leaves_a_quarter_of_any_limit() {
        for limit in [256, 1024, 4096, 20_000, 65_536, 1 << 20, u64::MAX] {
            let shares = Descriptors::within(limit);
            let listeners = shares.listeners.available_permits();
            let used = listeners.saturating_add(shares.clients + 2 * shares.connections + shares.flows);
            let used = u64::try_from(used).unwrap();
            assert!(used <= limit - limit / 4 && used + OWN <= limit, "{limit}: {shares:?}");
            assert_eq!(shares.shortage().is_some(), limit < 2048, "{limit}");
        }
        let least = Descriptors::within(0);
        assert_eq!((least.clients, least.connections, least.flows), (1, 1, 1));
    }

    #[test]
    fn listeners_share_and_give_back() {
        let shares = Descriptors::within(OWN + 8);
        let held = [shares.listener().unwrap(), shares.clone().listener().unwrap()];
        assert_eq!(shares.listener().unwrap_err().raw_os_error(), Some(Errno::EMFILE as i32));
        drop(held);
        assert!(shares.listener().is_ok());
    }
}
