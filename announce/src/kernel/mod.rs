//! One thread that answers ARP and neighbour discovery, and speaks and hears heartbeats, on the interfaces of this
//! network namespace.
//!
//! ```text
//! Announcer ─ commands ─► thread: poll ─► links (rtnetlink) ─► ports, one for each interface
//!    ▲                                 └► frames (AF_PACKET) ─► wire ─► Election ─► frames, bursts
//!    └───────── snapshot, events ─────────────────────────────────────────┘
//! ```
//!
//! What proves that a node lives is the thread that answers: a heartbeat that is sent means that requests are read.
//! Heartbeats leave and arrive as frames, so no firewall of the host has a part in it.
//!
//! Needs the capability `NET_RAW`. Binds no address. If the process ends, the answers end.

mod bursts;
mod clock;
mod filter;
mod groups;
mod links;
mod port;
mod select;
mod thread;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

pub use select::Interfaces;

use crate::election::{Event, Incumbency, Progress, Timing, Wish};
use crate::wire::heartbeat::{Key, Name};
use crate::wire::{Mac, Transport};

/// How an [`Announcer`] works.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// Nodes of other clusters are not listened to.
    pub cluster: Name,
    /// This node.
    pub node: Name,
    /// Greater with each start; the microseconds since 1970 at the start, if nothing else is set.
    pub incarnation: u64,
    /// How fast failures are found.
    pub timing: Timing,
    /// Whether a holder stays when an equal node comes back.
    pub incumbency: Incumbency,
    /// If [`Announcer::tick`] is not called for as long, other nodes take over.
    pub watchdog: Option<Duration>,
    /// Heartbeats without it are ignored.
    pub key: Option<Key>,
    /// How heartbeats are sent.
    pub transport: Transport,
}

/// That an address is to be announced, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bid {
    /// How good this node is for it.
    pub wish: Wish,
    /// On which interfaces.
    pub interfaces: Interfaces,
}

/// An address on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressState {
    /// The address.
    pub address: IpAddr,
    /// The interface's name.
    pub interface: String,
    /// The interface's hardware address.
    pub mac: Mac,
    /// How far this node is with it. Moments are those of [`now`].
    pub progress: Progress,
}

/// What the thread knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Each address on each interface that is selected for it.
    pub addresses: Vec<AddressState>,
    /// Addresses for which no interface is selected.
    pub without_interface: Vec<IpAddr>,
    /// By interface.
    pub interfaces: BTreeMap<String, Counters>,
}

/// What happened on an interface since the thread began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Nodes that are heard.
    pub peers: usize,
    /// Frames that passed the filter.
    pub received: u64,
    /// Requests that were answered.
    pub answered: u64,
    /// Gratuitous packets.
    pub gratuitous: u64,
    /// Heartbeats.
    pub heartbeats_sent: u64,
    /// Heartbeats that could be read.
    pub heartbeats_heard: u64,
    /// Heartbeats of another key or version.
    pub heartbeats_refused: u64,
    /// Frames that could not be sent.
    pub send_errors: u64,
}

/// An event, and on which interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The interface's name.
    pub interface: String,
    /// What happened.
    pub event: Event,
}

/// The thread, until it is dropped: then it ends, and peers take over at once.
#[derive(Debug)]
pub struct Announcer {
    commands: Sender<Command>,
    wake: UnixStream,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Command {
    Bids(BTreeMap<IpAddr, Bid>),
    Expected(BTreeMap<Name, BTreeSet<IpAddr>>),
    Api(bool),
    Tick,
    Leave,
    Stay,
    Look(SyncSender<Snapshot>),
    Pause(Duration),
    End,
}

/// Events that wait to be read; more are dropped.
const EVENTS: usize = 1024;

/// The clock of all moments: it goes on while the machine sleeps.
///
/// # Panics
/// If the kernel has no `CLOCK_BOOTTIME`, which came with Linux 2.6.39.
pub fn now() -> Duration {
    clock::now()
}

impl Settings {
    /// The defaults, for a node of a cluster.
    pub fn new(cluster: Name, node: Name) -> Self {
        Self {
            cluster,
            node,
            incarnation: clock::since_1970(),
            timing: Timing::default(),
            incumbency: Incumbency::default(),
            watchdog: None,
            key: None,
            transport: Transport::default(),
        }
    }
}

impl Announcer {
    /// Starts the thread in the caller's network namespace. It does nothing before it has bids.
    ///
    /// # Errors
    /// The kernel's: no rtnetlink socket, no thread. A lack of `NET_RAW` shows when an interface is opened, in the log.
    pub fn start(settings: Settings) -> io::Result<(Self, Receiver<Told>)> {
        let (wake, woken) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        let (commands, received) = channel();
        let (tell, told) = sync_channel(EVENTS);
        let thread = thread::Thread::open(settings, woken, received, tell)?;
        let thread = std::thread::Builder::new().name("announce".to_owned()).spawn(move || thread.run())?;
        Ok((Self { commands, wake, thread: Some(thread) }, told))
    }

    /// All that is to be announced from now on.
    pub fn bid(&self, bids: BTreeMap<IpAddr, Bid>) {
        self.command(Command::Bids(bids));
    }

    /// The other nodes that live by the Kubernetes API, with their addresses: if none of a segment is ever heard there,
    /// heartbeats do not pass.
    pub fn expect(&self, nodes: BTreeMap<Name, BTreeSet<IpAddr>>) {
        self.command(Command::Expected(nodes));
    }

    /// Whether the Kubernetes API can be reached.
    pub fn api(&self, reachable: bool) {
        self.command(Command::Api(reachable));
    }

    /// What decides the bids is alive: see [`Settings::watchdog`].
    pub fn tick(&self) {
        self.command(Command::Tick);
    }

    /// Hold on until others have taken over, and take nothing. [`Announcer::snapshot`] shows when nothing is held.
    pub fn leave(&self) {
        self.command(Command::Leave);
    }

    /// No longer leave.
    pub fn stay(&self) {
        self.command(Command::Stay);
    }

    /// What the thread knows; nothing, if it has ended. Waits for its next turn.
    pub fn snapshot(&self) -> Snapshot {
        let (answer, answered) = sync_channel(1);
        self.command(Command::Look(answer));
        answered.recv().unwrap_or_default()
    }

    /// Whether the thread runs; it ends early only by a defect.
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Ends, and asks the peers to keep what is held for a process that comes back within `bound`.
    pub fn pause(mut self, bound: Duration) {
        self.command(Command::Pause(bound));
        self.join();
    }

    fn command(&self, command: Command) {
        // A thread that has ended needs no command.
        let _ = self.commands.send(command);
        // If the pipe is full, the thread has enough to wake it.
        let _ = (&self.wake).write(&[0]);
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            // Its panic has been printed.
            let _ = thread.join();
        }
    }
}

impl Drop for Announcer {
    fn drop(&mut self) {
        self.command(Command::End);
        self.join();
    }
}
