//! Tells when somebody else changed a table of ours.
//!
//! On a socket of its own: notifications come unasked, and would crowd out answers. A transaction of ours with
//! 100,000 elements is 100,000 notifications, so the kernel itself is told to leave ours out, with a socket filter; and
//! what it need not even build, [`super::aside`] spares it.

use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::SetStruct;

use super::wire::table_name;
use crate::abi::*;
use crate::namespace::Namespace;
use crate::socket::Socket;

/// A subscription to the kernel's nf_tables notifications (`NFNLGRP_NFTABLES`).
#[derive(Debug)]
pub struct Watch {
    socket: Socket,
    table: String,
    ours: u32,
    membership: Membership,
    suspicion: Suspicion,
}

/// Whether notifications come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Membership {
    Joined,
    Left,
}

/// Whether somebody may have changed something unseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suspicion {
    /// Nobody has.
    None,
    /// Somebody may have.
    Unseen,
}

impl Watch {
    /// Subscribes to changes of the tables of this name in a network namespace by others than port `ours`.
    pub(super) fn open(namespace: &Namespace, table: &str, ours: u32) -> io::Result<Self> {
        let socket = Socket::netfilter(namespace)?;
        // Before the subscription, so that nothing of ours is ever queued.
        leave_out(&socket, ours)?;
        let (table, membership, suspicion) = (table.to_owned(), Membership::Left, Suspicion::None);
        let mut watch = Watch { socket, table, ours, membership, suspicion };
        watch.join()?;
        Ok(watch)
    }

    /// Listens no more: not even the work of telling us is done.
    pub(super) fn leave(&mut self) -> io::Result<()> {
        self.socket.raw().drop_membership(NFNLGRP_NFTABLES)?;
        self.membership = Membership::Left;
        Ok(())
    }

    /// Listens again.
    pub(super) fn join(&mut self) -> io::Result<()> {
        self.socket.raw().add_membership(NFNLGRP_NFTABLES)?;
        self.membership = Membership::Joined;
        Ok(())
    }

    /// Somebody may have changed something unseen. What was thought before.
    pub(super) fn suspect(&mut self) -> Suspicion {
        std::mem::replace(&mut self.suspicion, Suspicion::Unseen)
    }

    /// Thinks again what was thought `before`.
    pub(super) fn acquit(&mut self, before: Suspicion) {
        self.suspicion = before;
    }

    /// Resolves when a transaction that is not ours touched a table of our name, or may have, because notifications were
    /// lost. What has been queued until then is reported once. Cancel-safe.
    ///
    /// # Errors
    /// The socket's.
    pub async fn changed(&mut self) -> io::Result<()> {
        if self.membership == Membership::Left {
            self.join()?;
            self.suspect();
        }
        let Watch { socket, table, ours, .. } = self;
        if self.suspicion == Suspicion::None {
            loop {
                match socket.receive().await {
                    Ok(mut messages) => {
                        // Every kind of object names its table in the same attribute; a generation (`NFT_MSG_NEWGEN`) has
                        // none.
                        if messages.any(|message| message.port != *ours && table_name(message.attrs()) == Some(table)) {
                            break;
                        }
                    }
                    Err(error) if overrun(&error) => break,
                    Err(error) => return Err(error),
                }
            }
        }
        loop {
            match socket.pending() {
                Ok(Some(_)) => {}
                Ok(None) => {
                    self.suspicion = Suspicion::None;
                    return Ok(());
                }
                Err(error) if overrun(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn overrun(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::ENOBUFS as i32)
}

/// Has the kernel drop what port `ours` caused: `nlmsg_pid` of a notification, and all in one datagram have one
/// cause.
fn leave_out(socket: &Socket, ours: u32) -> io::Result<()> {
    // linux/bpf_common.h. Classic BPF loads as if from the network; `nlmsg_pid` is in the machine's order.
    const LOAD_WORD: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let ours = u32::from_be_bytes(ours.to_ne_bytes());
    let mut program = [
        libc::sock_filter { code: LOAD_WORD, jt: 0, jf: 0, k: 12 },
        libc::sock_filter { code: JUMP_IF_EQUAL, jt: 0, jf: 1, k: ours },
        libc::sock_filter { code: RETURN, jt: 0, jf: 0, k: 0 },
        libc::sock_filter { code: RETURN, jt: 0, jf: 0, k: u32::MAX },
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    setsockopt(&socket.raw().as_fd(), AttachFilter, &filter)?;
    Ok(())
}

/// `SO_ATTACH_FILTER` (socket(7)).
#[derive(Clone, Copy)]
struct AttachFilter;

nix::setsockopt_impl!(
    AttachFilter,
    libc::SOL_SOCKET,
    libc::SO_ATTACH_FILTER,
    libc::sock_fprog,
    SetStruct<libc::sock_fprog>
);
