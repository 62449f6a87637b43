//! IP sets, as far as removing them needs: which there are, and how one is destroyed.
//!
//! Sets cannot be created or filled. The protocol is nfnetlink, as for nf_tables (linux/netfilter/ipset/ip_set.h).

use std::io;

use nix::errno::Errno;

use crate::abi::NLM_F_ACK;
use crate::attr::{put_be32, put_str, put_u8};
use crate::error::ReadError;
use crate::message;
use crate::namespace::Namespace;
use crate::socket::Socket;

const NFNL_SUBSYS_IPSET: u16 = 6;
const AF_INET: u8 = 2;

/// `IPSET_PROTOCOL_MIN`: every kernel since 3.0 speaks it, and version 7 adds nothing to what is asked here.
const PROTOCOL: u8 = 6;
const IPSET_CMD_DESTROY: u16 = 3;
const IPSET_CMD_LIST: u16 = 7;
const IPSET_ATTR_PROTOCOL: u16 = 1;
const IPSET_ATTR_SETNAME: u16 = 2;
const IPSET_ATTR_FLAGS: u16 = 6;
/// Names alone, without elements.
const IPSET_FLAG_LIST_SETNAME: u32 = 1 << 1;
/// The set is in use by a rule or another set.
const IPSET_ERR_BUSY: i32 = 4100;

/// A connection to the IP sets of one network namespace.
#[derive(Debug)]
pub struct IpSets {
    socket: Socket,
}

/// What became of a set that was to be destroyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destroyed {
    /// It is gone.
    Gone,
    /// A rule or another set still refers to it. A rule that was just removed still does for a moment.
    InUse,
}

impl IpSets {
    /// Opens the socket in the network namespace of this thread. Within a tokio runtime.
    ///
    /// # Errors
    /// The socket's.
    pub fn open() -> io::Result<Self> {
        Self::open_in(&Namespace::Current)
    }

    /// Opens the socket in a network namespace. Within a tokio runtime.
    ///
    /// # Errors
    /// The socket's, and those of [`Namespace::run`].
    pub fn open_in(namespace: &Namespace) -> io::Result<Self> {
        Ok(Self { socket: Socket::netfilter(namespace)? })
    }

    /// The names of all sets. The kernel loads its module for this, if it has one.
    ///
    /// # Errors
    /// As [`ReadError`] says.
    pub async fn names(&mut self) -> Result<Vec<String>, ReadError> {
        let mut request = begin(IPSET_CMD_LIST, 0);
        put_be32(&mut request, IPSET_ATTR_FLAGS, IPSET_FLAG_LIST_SETNAME);
        message::end(&mut request, 0);
        self.socket
            .dump("IP sets", request, Vec::new, |names: &mut Vec<String>, message| {
                let name = message.attrs().find(IPSET_ATTR_SETNAME).and_then(|attr| attr.str());
                names.extend(name.map(str::to_owned));
            })
            .await
    }

    /// Destroys a set. One that is not there is gone.
    ///
    /// # Errors
    /// As [`ReadError`] says.
    pub async fn destroy(&mut self, name: &str) -> Result<Destroyed, ReadError> {
        let mut request = begin(IPSET_CMD_DESTROY, NLM_F_ACK);
        put_str(&mut request, IPSET_ATTR_SETNAME, name);
        message::end(&mut request, 0);
        let mut answer = None;
        self.socket.ask(request, |_, message| answer = message.ack()).await?;
        match answer {
            Some(ack) if ack.errno == 0 || ack.errno == Errno::ENOENT as i32 => Ok(Destroyed::Gone),
            Some(ack) if ack.errno == IPSET_ERR_BUSY || ack.errno == Errno::EBUSY as i32 => Ok(Destroyed::InUse),
            ack => {
                let (errno, text) = ack.map(|ack| (ack.errno, ack.text)).unwrap_or_default();
                let object = format!("IP set {name}");
                Err(ReadError::Refused { object, errno: Errno::from_raw(errno), text })
            }
        }
    }
}

fn begin(command: u16, flags: u16) -> Vec<u8> {
    let mut request = Vec::new();
    message::begin(&mut request, (NFNL_SUBSYS_IPSET << 8) | command, flags, AF_INET);
    put_u8(&mut request, IPSET_ATTR_PROTOCOL, PROTOCOL);
    request
}
