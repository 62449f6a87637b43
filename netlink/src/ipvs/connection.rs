//! The connection to IPVS of one network namespace.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use crate::attr::Attrs;
use crate::{Namespace, ReadError, Socket};
use netlink_sys::protocols::NETLINK_GENERIC;
use nix::errno::Errno;

use super::abi::*;
use super::error::{OpenError, Refusal};
use super::operation::{Operation, Timeouts};
use super::server::{RealServerEntry, VirtualKey, VirtualServerEntry};
use super::wire;

/// A connection to IPVS of one network namespace.
#[derive(Debug)]
pub struct Ipvs {
    socket: Socket,
    /// The number that generic netlink gave to IPVS when its module was loaded.
    family: u16,
}

/// What this kernel's IPVS is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Version {
    /// `0x010201` is 1.2.1.
    pub version: u32,
    /// Buckets of the table of connections.
    pub connection_buckets: u32,
}

/// Operations sent at a time: their acknowledgements must fit into the receive buffer.
const OPERATIONS_AT_A_TIME: usize = 256;

impl Ipvs {
    /// Opens the socket in the network namespace of this thread. Within a tokio runtime. The kernel loads the module if
    /// it can.
    ///
    /// # Errors
    /// As [`OpenError`] says.
    pub async fn open() -> Result<Self, OpenError> {
        Self::open_in(&Namespace::Current).await
    }

    /// Opens the socket in a network namespace. Within a tokio runtime. The kernel loads the module if it can.
    ///
    /// # Errors
    /// As [`OpenError`] says; those of [`Namespace::run`] are [`OpenError::Socket`].
    pub async fn open_in(namespace: &Namespace) -> Result<Self, OpenError> {
        let mut socket = Socket::open_in(namespace, NETLINK_GENERIC)?;
        let object = format!("generic netlink family {IPVS_GENL_NAME}");
        match ask(&mut socket, object, wire::family_request(IPVS_GENL_NAME), wire::read_family).await {
            Ok(family) => Ok(Self { socket, family }),
            Err(ReadError::Refused { errno: Errno::ENOENT, .. }) => Err(OpenError::Missing),
            Err(ReadError::Socket(error)) => Err(error.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// Bytes that were sent to the kernel since this was opened.
    pub fn sent(&self) -> u64 {
        self.socket.sent()
    }

    /// Does all operations in order, each for itself. Returns those that the kernel refused; all others are done.
    ///
    /// The kernel does its work on this thread, before the first suspension of each 256 operations: a future that
    /// is dropped has done a part of them.
    ///
    /// # Errors
    /// The socket's; which operations were done is unknown then.
    pub async fn execute(&mut self, operations: &[Operation]) -> io::Result<Vec<Refusal>> {
        let mut refusals = Vec::new();
        for (turn, operations) in operations.chunks(OPERATIONS_AT_A_TIME).enumerate() {
            let mut requests = Vec::new();
            operations.iter().for_each(|operation| operation.put(&mut requests, self.family));
            self.socket
                .ask(requests, |index, message| {
                    let index = index as usize;
                    let Some(ack) = message.ack().filter(|ack| ack.errno != 0) else { return };
                    refusals.push(Refusal {
                        operation: turn * OPERATIONS_AT_A_TIME + index,
                        object: operations[index].to_string(),
                        errno: Errno::from_raw(ack.errno),
                        text: ack.text,
                    });
                })
                .await?;
        }
        Ok(refusals)
    }

    /// Every virtual server of the network namespace, of any program, by key. One that comes or goes meanwhile may or
    /// may not be shown.
    ///
    /// One dump is not enough: the kernel keeps the virtual servers of all namespaces in one table and finds its way
    /// back into it by counting. A change in any namespace makes the dump skip some or show them twice, and no
    /// `NLM_F_DUMP_INTR` says so. Dumps go on until two in a row have brought nothing new. What only an earlier one has
    /// is asked for by its key.
    ///
    /// # Errors
    /// As [`ReadError`] says.
    pub async fn virtual_servers(&mut self) -> Result<Vec<VirtualServerEntry>, ReadError> {
        let mut all = self.dump_virtual_servers().await?;
        let mut without_news = 0;
        let mut last = loop {
            let dump = self.dump_virtual_servers().await?;
            without_news = if dump.keys().all(|key| all.contains_key(key)) { without_news + 1 } else { 0 };
            if without_news == 2 {
                break dump;
            }
            all.extend(dump);
        };
        let doubtful: Vec<VirtualKey> = all.keys().filter(|key| !last.contains_key(key)).copied().collect();
        for key in doubtful {
            if let Some(entry) = self.virtual_server(&key).await? {
                last.insert(key, entry);
            }
        }
        Ok(last.into_values().collect())
    }

    async fn dump_virtual_servers(&mut self) -> Result<BTreeMap<VirtualKey, VirtualServerEntry>, ReadError> {
        let request = wire::request(self.family, IPVS_CMD_GET_SERVICE, None);
        self.socket
            .dump("virtual servers", request, BTreeMap::new, |all, message| {
                all.extend(VirtualServerEntry::decode(&message).map(|entry| (entry.server.key, entry)));
            })
            .await
    }

    /// The virtual server of this key, if there is one.
    ///
    /// # Errors
    /// As [`ReadError`] says.
    pub async fn virtual_server(&mut self, key: &VirtualKey) -> Result<Option<VirtualServerEntry>, ReadError> {
        let request = wire::request(self.family, IPVS_CMD_GET_SERVICE, Some(key));
        match ask(&mut self.socket, key.to_string(), request, wire::read_virtual).await {
            Ok(entry) => Ok(Some(entry)),
            Err(ReadError::Refused { errno: Errno::ESRCH, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The real servers of a virtual server; none if there is no such virtual server.
    ///
    /// # Errors
    /// As [`ReadError`] says.
    pub async fn real_servers(&mut self, key: &VirtualKey) -> Result<Vec<RealServerEntry>, ReadError> {
        let request = wire::request(self.family, IPVS_CMD_GET_DEST, Some(key));
        self.socket
            .dump(&key.to_string(), request, Vec::new, |all, message| {
                all.extend(RealServerEntry::decode(&message, key.family()));
            })
            .await
    }

    /// How long connections are remembered.
    ///
    /// # Errors
    /// As [`ReadError`] says.
    pub async fn timeouts(&mut self) -> Result<Timeouts, ReadError> {
        let request = wire::request(self.family, IPVS_CMD_GET_CONFIG, None);
        ask(&mut self.socket, "timeouts of IPVS".to_owned(), request, |attrs| Some(wire::read_timeouts(attrs))).await
    }

    /// What this kernel's IPVS is.
    ///
    /// # Errors
    /// As [`ReadError`] says.
    pub async fn version(&mut self) -> Result<Version, ReadError> {
        let request = wire::request(self.family, IPVS_CMD_GET_INFO, None);
        ask(&mut self.socket, "version of IPVS".to_owned(), request, |attrs| {
            wire::read_version(attrs).map(|(version, connection_buckets)| Version { version, connection_buckets })
        })
        .await
    }
}

/// `1.2.1`, as the kernel prints it.
impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [_, major, minor, patch] = self.version.to_be_bytes();
        write!(f, "{major}.{minor}.{patch}")
    }
}

/// Asks for one object. An answer that cannot be read is an error of kind `EPROTO`.
async fn ask<T>(
    socket: &mut Socket,
    object: String,
    request: Vec<u8>,
    read: impl Fn(Attrs<'_>) -> Option<T>,
) -> Result<T, ReadError> {
    let mut answer = Err((Errno::EPROTO, "the answer cannot be read".to_owned()));
    socket
        .ask(request, |_, message| match message.ack() {
            Some(ack) => answer = Err((Errno::from_raw(ack.errno), ack.text)),
            None => answer = read(message.attrs()).ok_or((Errno::EPROTO, "the answer cannot be read".to_owned())),
        })
        .await?;
    answer.map_err(|(errno, text)| ReadError::Refused { object, errno, text })
}
