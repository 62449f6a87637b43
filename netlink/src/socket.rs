//! One netlink socket: bytes there and back, requests with answers, and dumps.
//!
//! Kept apart from what is asked, nf_tables or conntrack. A question whose future was dropped leaves answers behind.
//! They are recognised by their sequence numbers and thrown away. So are those of a question of which an answer was
//! lost: where memory is short the kernel drops answers, and says so once (`ENOBUFS`).

use std::fmt;
use std::io;
use std::os::fd::AsFd;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{AsyncSocket, AsyncSocketExt, TokioSocket};
use nix::errno::Errno;
use nix::sys::socket::{getsockopt, setsockopt, sockopt};

use crate::abi::*;
use crate::error::ReadError;
use crate::message::{self, Message, Messages};
use crate::namespace::Namespace;

/// How many bytes the kernel may keep for this socket: the errors of a batch that is refused everywhere, notifications.
const RECEIVE_BUFFER: usize = 8 << 20;

/// What an answer takes of it at most: a page or two, and what describes them.
const ANSWER: usize = 16 << 10;

/// What the kernel keeps of the send buffer for itself (`netlink_sendmsg`, net/netlink/af_netlink.c).
const RESERVED: usize = 32;

/// Beyond what the kernel puts into one datagram (32 KiB in dumps).
const DATAGRAM: usize = 128 << 10;

/// How often a dump is begun again because what is dumped changes.
const ATTEMPTS: u32 = 16;

/// How often the kernel is asked to go on with an abandoned dump of which nothing comes any more.
const NUDGES: u32 = 2;

/// `MSG_DONTWAIT`
const DONT_WAIT: i32 = nix::sys::socket::MsgFlags::MSG_DONTWAIT.bits();

/// A netlink socket: for a subsystem that this crate does not know. [`crate::message`] and [`crate::attr`] write and
/// read the bytes.
pub struct Socket {
    inner: TokioSocket,
    port: u32,
    sequence: u32,
    /// The longest message that the kernel takes as things are.
    longest: usize,
    /// The kernel gives this process no larger buffer.
    bounded: bool,
    answers_at_a_time: usize,
    sent: u64,
    datagram: Vec<u8>,
    /// A dump that was begun and not read to its end: the kernel refuses a second one until then.
    dumping: Option<u32>,
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("port", &self.port).field("sequence", &self.sequence).finish_non_exhaustive()
    }
}

impl Socket {
    /// Opens a socket of the netfilter protocol in a network namespace. Within a tokio runtime.
    pub(super) fn netfilter(namespace: &Namespace) -> io::Result<Self> {
        Self::open_in(namespace, NETLINK_NETFILTER)
    }

    /// Opens a socket of a protocol (`NETLINK_*`, linux/netlink.h) in the network namespace of this thread. Within a
    /// tokio runtime.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open(protocol: isize) -> io::Result<Self> {
        Self::open_in(&Namespace::Current, protocol)
    }

    /// Opens a socket of a protocol (`NETLINK_*`, linux/netlink.h) in a network namespace. Within a tokio runtime.
    ///
    /// # Errors
    /// The kernel's, and those of [`Namespace::run`].
    pub fn open_in(namespace: &Namespace, protocol: isize) -> io::Result<Self> {
        let mut inner = namespace.run(|| TokioSocket::new(protocol))??;
        let port = inner.socket_mut().bind_auto()?.port_number();
        let socket = inner.socket_ref();
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        // Linux 4.20; without it the kernel overlooks some filters, and this crate filters again.
        let _ = socket.set_netlink_get_strict_chk(true);
        // Outside the initial user namespace no buffer is beyond `net.core.rmem_max`. Without a large one many refusals
        // at once overrun it, which is noticed.
        if setsockopt(&socket.as_fd(), sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
            let _ = setsockopt(&socket.as_fd(), sockopt::RcvBuf, &RECEIVE_BUFFER);
        }
        let answers_at_a_time = getsockopt(&socket.as_fd(), sockopt::RcvBuf)? / ANSWER;
        let datagram = Vec::with_capacity(DATAGRAM);
        Ok(Socket {
            inner,
            port,
            sequence: 1,
            longest: 0,
            bounded: false,
            answers_at_a_time,
            sent: 0,
            datagram,
            dumping: None,
        })
    }

    /// The port id of this socket (`nlmsg_pid`): unique within the network namespace.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Bytes that were handed to the kernel since the socket was opened.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// What is not about asking: groups, filters.
    pub(super) fn raw(&self) -> &netlink_sys::Socket {
        self.inner.socket_ref()
    }

    /// Takes `count` sequence numbers that no answer under way can have; the first of them.
    pub fn reserve(&mut self, count: u32) -> u32 {
        let first = self.sequence;
        // 0 is what notifications have.
        self.sequence = first.checked_add(count).unwrap_or(1);
        if self.sequence == 1 { self.reserve(count) } else { first }
    }

    /// How long a message to the kernel may be, once its buffer was made as large as `bytes` need: less than that where
    /// the kernel gives this process no more. `CAP_NET_ADMIN` in the initial user namespace has no bound; elsewhere it
    /// is twice `net.core.wmem_max`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn room_for(&mut self, bytes: usize) -> io::Result<usize> {
        if bytes <= self.longest || self.bounded {
            return Ok(self.longest);
        }
        // The kernel doubles it, which covers what it adds to each datagram.
        let size = bytes.next_power_of_two().max(256 << 10);
        match setsockopt(&self.raw().as_fd(), sockopt::SndBufForce, &size) {
            Ok(()) => self.longest = size,
            Err(Errno::EPERM) => {
                setsockopt(&self.raw().as_fd(), sockopt::SndBuf, &size)?;
                self.longest = getsockopt(&self.raw().as_fd(), sockopt::SndBuf)?.saturating_sub(RESERVED);
                self.bounded = self.longest < size;
            }
            Err(errno) => return Err(errno.into()),
        }
        Ok(self.longest)
    }

    /// How many questions may be asked at a time so that their answers fit into the receive buffer, up to `most`.
    pub(super) fn answers_at_a_time(&self, most: usize) -> usize {
        self.answers_at_a_time.clamp(1, most)
    }

    /// Hands bytes to the kernel, which works through them before this returns.
    ///
    /// # Errors
    /// The kernel's: `EMSGSIZE` for more than [`Socket::room_for`] says.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() > self.room_for(bytes.len())? {
            return Err(Errno::EMSGSIZE.into());
        }
        self.raw().send(bytes, 0)?;
        self.sent += bytes.len() as u64;
        Ok(())
    }

    /// The next datagram, if there is one.
    ///
    /// # Errors
    /// The kernel's.
    pub fn pending(&mut self) -> io::Result<Option<Messages<'_>>> {
        self.datagram.clear();
        match self.inner.socket_ref().recv(&mut self.datagram, DONT_WAIT) {
            Ok(_) => Ok(Some(self.received())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The next datagram of what the kernel says to a request. There is nothing to wait for: it answers while the
    /// request is sent, and goes on with a dump while what is there of it is read.
    async fn answer(&mut self) -> io::Result<Messages<'_>> {
        tokio::task::consume_budget().await;
        let lost = io::Error::other("an answer of the kernel was lost");
        self.pending()?.filter(|messages| messages.is_whole()).ok_or(lost)
    }

    /// Waits for the next datagram. Cancel-safe.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn receive(&mut self) -> io::Result<Messages<'_>> {
        self.datagram.clear();
        self.inner.recv(&mut self.datagram).await?;
        Ok(self.received())
    }

    /// The datagram that came. Notes whether a dump has ended with it.
    fn received(&mut self) -> Messages<'_> {
        let messages = Messages(&self.datagram);
        if let Some(dump) = self.dumping
            && { messages }.any(|message| message.sequence == dump && message.ack().is_some())
        {
            self.dumping = None;
        }
        messages
    }

    /// Sends requests that have one answer each, and shows the answers, each with its request's index.
    ///
    /// # Errors
    /// The socket's, or an answer was lost: what was asked may have been done. A refusal is an answer.
    pub async fn ask(&mut self, requests: Vec<u8>, each: impl FnMut(u32, Message<'_>)) -> io::Result<()> {
        self.converse(requests, |_| true, each).await
    }

    /// Sends requests with `NLM_F_ACK` that may have several answers each, and shows these and the acknowledgement that
    /// ends them, each with its request's index.
    ///
    /// # Errors
    /// As [`Socket::ask`].
    pub async fn ask_for_several(&mut self, requests: Vec<u8>, each: impl FnMut(u32, Message<'_>)) -> io::Result<()> {
        self.converse(requests, |message| message.ack().is_some(), each).await
    }

    /// Sends requests and shows what comes until each had the message that is its last.
    async fn converse(
        &mut self,
        mut requests: Vec<u8>,
        is_last: impl Fn(&Message<'_>) -> bool,
        mut each: impl FnMut(u32, Message<'_>),
    ) -> io::Result<()> {
        self.settle()?;
        let count = Messages(&requests).count() as u32;
        let first = self.reserve(count);
        message::number_all(&mut requests, first);
        self.send(&requests)?;
        let mut missing = count;
        while missing > 0 {
            for message in self.answer().await? {
                let index = message.sequence.wrapping_sub(first);
                if index < count {
                    missing = missing.saturating_sub(u32::from(is_last(&message)));
                    each(index, message);
                }
            }
        }
        Ok(())
    }

    /// Sends a request for a dump and folds over its messages. Begins again from `empty` if what is dumped changes
    /// meanwhile.
    ///
    /// # Errors
    /// As [`ReadError`] says.
    pub async fn dump<A>(
        &mut self,
        object: &str,
        mut request: Vec<u8>,
        empty: impl Fn() -> A,
        mut add: impl FnMut(&mut A, Message<'_>),
    ) -> Result<A, ReadError> {
        message::flag(&mut request, 0, NLM_F_DUMP);
        for _ in 0..ATTEMPTS {
            self.settle()?;
            let sequence = self.reserve(1);
            message::number_all(&mut request, sequence);
            self.send(&request)?;
            self.dumping = Some(sequence);
            let mut all = empty();
            if self.read_dump(object, sequence, |message| add(&mut all, message)).await? == Dump::Whole {
                return Ok(all);
            }
        }
        Err(ReadError::Raced { object: object.to_owned(), attempts: ATTEMPTS })
    }

    async fn read_dump(
        &mut self,
        object: &str,
        sequence: u32,
        mut each: impl FnMut(Message<'_>),
    ) -> Result<Dump, ReadError> {
        let mut dump = Dump::Whole;
        loop {
            let mut end = None;
            for message in self.answer().await?.filter(|message| message.sequence == sequence) {
                if message.flags & NLM_F_DUMP_INTR != 0 {
                    dump = Dump::Interrupted;
                }
                match message.ack() {
                    None => each(message),
                    Some(ack) => end = Some(ack),
                }
            }
            let Some(ack) = end else { continue };
            return match Errno::from_raw(ack.errno) {
                _ if ack.errno == 0 => Ok(dump),
                Errno::EINTR => Ok(Dump::Interrupted),
                errno => Err(ReadError::Refused { object: object.to_owned(), errno, text: ack.text }),
            };
        }
    }

    /// Reads the rest of a dump that was abandoned: its future was dropped, or a part of it was lost.
    fn settle(&mut self) -> io::Result<()> {
        let mut nudges = 0;
        while self.dumping.is_some() {
            match self.pending() {
                Ok(Some(_)) => {}
                // Perhaps its end was lost. Or the kernel had no memory for the next part: then it goes on when it is
                // asked something else and the answer is read.
                Ok(None) if nudges < NUDGES => {
                    nudges += 1;
                    self.ask_nothing()?;
                }
                Ok(None) => self.dumping = None,
                Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends a message that is acknowledged and does nothing.
    fn ask_nothing(&mut self) -> io::Result<()> {
        let mut request = Vec::new();
        let start = message::begin(&mut request, NLMSG_NOOP, NLM_F_ACK, 0);
        message::end(&mut request, start);
        let sequence = self.reserve(1);
        message::number_all(&mut request, sequence);
        self.send(&request)
    }
}

/// Whether a dump shows one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dump {
    /// It does.
    Whole,
    /// It was changed while it was read (`NLM_F_DUMP_INTR`).
    Interrupted,
}
