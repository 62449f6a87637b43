//! Tells when another program changed the tables of a name.
//!
//! On a socket of its own: notifications come unasked, and would crowd out answers. A commit of 100,000 elements is
//! 100,000 notifications. So a socket filter in the kernel drops those of this program's own commits, and
//! [`Nftables::commit_unwatched`](super::Nftables::commit_unwatched) has the kernel build none of them.

use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::SetStruct;

use super::abi::*;
use super::wire::table_name;
use crate::namespace::Namespace;
use crate::socket::Socket;

/// A subscription to the kernel's nf_tables notifications (`NFNLGRP_NFTABLES`) about the tables of one name. Made by
/// [`Nftables::watch`](super::Nftables::watch).
#[derive(Debug)]
pub struct Watch {
    socket: Socket,
    table: String,
    /// The port of the socket whose commits are not reported.
    ours: u32,
    membership: Membership,
    missed: Missed,
}

/// Whether notifications come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Membership {
    Joined,
    Left,
}

/// Whether a change of another program may have been missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missed {
    Nothing,
    Perhaps,
}

impl Watch {
    /// Subscribes to changes of the tables of this name in a network namespace by others than port `ours`.
    pub(super) fn open(namespace: &Namespace, table: &str, ours: u32) -> io::Result<Self> {
        let socket = Socket::netfilter(namespace)?;
        // Before the subscription, so that nothing of ours is ever queued.
        leave_out(&socket, ours)?;
        let mut watch =
            Watch { socket, table: table.to_owned(), ours, membership: Membership::Left, missed: Missed::Nothing };
        watch.join()?;
        Ok(watch)
    }

    /// Stops listening: the kernel builds no notifications for this socket.
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

    /// Notes that a change of another program may have been missed. Returns what was noted before.
    pub(super) fn may_have_missed(&mut self) -> Missed {
        std::mem::replace(&mut self.missed, Missed::Perhaps)
    }

    /// Takes the note back: only what was noted `before` may have been missed.
    pub(super) fn missed_only(&mut self, before: Missed) {
        self.missed = before;
    }

    /// Resolves when a commit of another program touched a table of this name, or may have, because notifications were
    /// lost. All changes that are queued by then are reported once. Cancel-safe.
    ///
    /// # Errors
    /// The socket's.
    pub async fn changed(&mut self) -> io::Result<()> {
        if self.membership == Membership::Left {
            self.join()?;
            self.may_have_missed();
        }
        let Watch { socket, table, ours, .. } = self;
        if self.missed == Missed::Nothing {
            loop {
                match socket.receive().await {
                    Ok(mut messages) => {
                        // Every kind of object names its table in the same attribute; a generation (`NFT_MSG_NEWGEN`)
                        // has none.
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
                    self.missed = Missed::Nothing;
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

/// Has the kernel drop the notifications of commits by port `ours`: `nlmsg_pid` of a notification is the port of the
/// socket that committed, the same for all in one datagram.
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
