//! Every system call on a netlink socket of this process, each of which can be made to fail.
//!
//! A program's own `send` takes precedence over the C library's, for every crate in it. So nothing that is tested knows
//! of this, and no socket escapes it. Calls are counted; the one that has the number of the plan meets its fault.

#![allow(unsafe_code, reason = "functions of the C library are replaced, which takes their signatures")]

use std::cell::RefCell;
use std::ffi::{c_int, c_long, c_void};
use std::slice;
use std::sync::{Arc, Mutex, MutexGuard};

use nix::errno::Errno;
use nix::libc;

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The kernel is not asked, and this is its error.
    Fails(Errno),
    /// Of `send`: the kernel is not asked, and this is its answer to the first message.
    Answers(Errno),
    /// Of `send`: the kernel does its work, and all that it answers is lost; it says so as it does when there is no
    /// memory (`ENOBUFS`).
    Unheard,
    /// Of `recv`: a datagram is lost, which the kernel says (`ENOBUFS`).
    Lost,
    /// Of `recv`: a datagram with an acknowledgement is lost, and nothing says so.
    Missing,
    /// Of `recv`: a datagram comes without its end.
    Truncated,
}

/// A call by what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Socket,
    /// `bind`, `setsockopt` and others that set up a socket.
    SetUp,
    Send,
    Receive,
}

/// What happened to the calls of one process, and is to happen.
#[derive(Debug, Default)]
struct State {
    watching: bool,
    calls: Vec<Call>,
    plan: Option<(usize, Fault)>,
    met: bool,
    /// What the next `recv` of a socket gives; nothing stands for `ENOBUFS`.
    forged: Option<(c_int, Vec<u8>)>,
}

/// The calls of one process, as whose threads [`Calls::enter`] was called.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calls(Arc<Mutex<State>>);

thread_local! {
    static CURRENT: RefCell<Option<Calls>> = const { RefCell::new(None) };
}

impl Calls {
    /// From now on this thread's calls are counted here.
    pub(crate) fn enter(&self) {
        CURRENT.set(Some(self.clone()));
    }

    /// Begins to count, from 0; the call of this number meets this fault.
    pub(crate) fn plan(&self, plan: Option<(usize, Fault)>) {
        *self.state() = State { watching: true, plan, ..State::default() };
    }

    /// Whether calls are counted from now on.
    pub(crate) fn watch(&self, watching: bool) {
        self.state().watching = watching;
    }

    /// The calls that were counted.
    pub(crate) fn made(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// Whether the fault of the plan has happened.
    pub(crate) fn met(&self) -> bool {
        self.state().met
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

/// What this thread's process has; none where calls are not looked at, and while a thread ends.
fn current() -> Option<Calls> {
    CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
}

/// Counts a call, and says what is to happen to it.
fn counted(call: Call) -> Option<Fault> {
    let calls = current()?;
    let mut state = calls.state();
    if !state.watching {
        return None;
    }
    state.calls.push(call);
    let number = state.calls.len() - 1;
    let (_, fault) = state.plan.filter(|(at, _)| *at == number)?;
    state.met = true;
    Some(fault)
}

fn forge(socket: c_int, answer: Vec<u8>) {
    if let Some(calls) = current() {
        calls.state().forged = Some((socket, answer));
    }
}

fn forged(socket: c_int) -> Option<Vec<u8>> {
    current()?.state().forged.take_if(|(of, _)| *of == socket).map(|(_, answer)| answer)
}

fn is_netlink(socket: c_int) -> bool {
    let mut domain: c_int = 0;
    let mut length = size_of::<c_int>() as libc::socklen_t;
    let (value, length) = (&raw mut domain, &raw mut length);
    // SAFETY: both point to values that live until the call ends, of the sizes that it is told.
    let asked =
        unsafe { libc::syscall(libc::SYS_getsockopt, socket, libc::SOL_SOCKET, libc::SO_DOMAIN, value, length) };
    asked == 0 && domain == libc::AF_NETLINK
}

fn fail(errno: Errno) -> c_long {
    errno.set();
    -1
}

/// A call that sets up a socket: `make` makes it.
fn set_up(socket: c_int, make: impl FnOnce() -> c_long) -> c_int {
    let made = match if is_netlink(socket) { counted(Call::SetUp) } else { None } {
        Some(Fault::Fails(errno)) => fail(errno),
        _ => make(),
    };
    made as c_int
}

#[unsafe(no_mangle)]
extern "C" fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int {
    let fault = if domain == libc::AF_NETLINK { counted(Call::Socket) } else { None };
    let made = match fault {
        Some(Fault::Fails(errno)) => fail(errno),
        // SAFETY: numbers alone.
        _ => unsafe { libc::syscall(libc::SYS_socket, domain, kind, protocol) },
    };
    made as c_int
}

#[unsafe(no_mangle)]
extern "C" fn bind(socket: c_int, address: *const libc::sockaddr, length: libc::socklen_t) -> c_int {
    // SAFETY: what the caller of `bind` vouches for.
    set_up(socket, || unsafe { libc::syscall(libc::SYS_bind, socket, address, length) })
}

#[unsafe(no_mangle)]
extern "C" fn setsockopt(
    socket: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    length: libc::socklen_t,
) -> c_int {
    // SAFETY: what the caller of `setsockopt` vouches for.
    set_up(socket, || unsafe { libc::syscall(libc::SYS_setsockopt, socket, level, name, value, length) })
}

#[unsafe(no_mangle)]
extern "C" fn send(socket: c_int, bytes: *const c_void, length: usize, flags: c_int) -> isize {
    sends(socket, (bytes, length), || {
        // SAFETY: what the caller of `send` vouches for; no address is given.
        unsafe { libc::syscall(libc::SYS_sendto, socket, bytes, length, flags, 0usize, 0usize) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn sendto(
    socket: c_int,
    bytes: *const c_void,
    length: usize,
    flags: c_int,
    address: *const libc::sockaddr,
    address_length: libc::socklen_t,
) -> isize {
    sends(socket, (bytes, length), || {
        // SAFETY: what the caller of `sendto` vouches for.
        unsafe { libc::syscall(libc::SYS_sendto, socket, bytes, length, flags, address, address_length) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn recv(socket: c_int, buffer: *mut c_void, length: usize, flags: c_int) -> isize {
    receives(socket, buffer, || {
        // SAFETY: what the caller of `recv` vouches for; no address is asked for.
        unsafe { libc::syscall(libc::SYS_recvfrom, socket, buffer, length, flags, 0usize, 0usize) }
    })
}

/// Of a forged answer the address is left as the caller made it: the kernel's own is of zeros.
#[unsafe(no_mangle)]
extern "C" fn recvfrom(
    socket: c_int,
    buffer: *mut c_void,
    length: usize,
    flags: c_int,
    address: *mut libc::sockaddr,
    address_length: *mut libc::socklen_t,
) -> isize {
    receives(socket, buffer, || {
        // SAFETY: what the caller of `recvfrom` vouches for.
        unsafe { libc::syscall(libc::SYS_recvfrom, socket, buffer, length, flags, address, address_length) }
    })
}

fn sends(socket: c_int, (bytes, length): (*const c_void, usize), send: impl Fn() -> c_long) -> isize {
    let fault = if is_netlink(socket) { counted(Call::Send) } else { None };
    let sent = match fault {
        Some(Fault::Fails(errno)) => fail(errno),
        Some(Fault::Answers(errno)) => {
            // SAFETY: what the caller of `send` vouches for.
            let message = unsafe { slice::from_raw_parts(bytes.cast::<u8>(), length) };
            forge(socket, answer(message, errno));
            length as c_long
        }
        Some(Fault::Unheard) => {
            let sent = send();
            drain(socket);
            forge(socket, Vec::new());
            sent
        }
        _ => send(),
    };
    sent as isize
}

fn receives(socket: c_int, buffer: *mut c_void, receive: impl Fn() -> c_long) -> isize {
    if !is_netlink(socket) {
        return receive() as isize;
    }
    if let Some(forged) = forged(socket) {
        if forged.is_empty() {
            return fail(Errno::ENOBUFS) as isize;
        }
        // SAFETY: what the caller of `recv` vouches for; a forged answer is shorter than any buffer for answers.
        unsafe { slice::from_raw_parts_mut(buffer.cast::<u8>(), forged.len()) }.copy_from_slice(&forged);
        return forged.len() as isize;
    }
    let fault = counted(Call::Receive);
    let received = match fault {
        Some(Fault::Fails(errno)) => fail(errno),
        Some(Fault::Lost) if receive() >= 0 => fail(Errno::ENOBUFS),
        Some(Fault::Truncated) => match receive() {
            received if received > 0 => received / 2 + 2,
            failed => failed,
        },
        Some(Fault::Missing) => {
            let received = receive();
            // SAFETY: the kernel has just filled it.
            let datagram = unsafe { slice::from_raw_parts(buffer.cast::<u8>(), received.max(0) as usize) };
            if has_acknowledgement(datagram) { receive() } else { received }
        }
        _ => receive(),
    };
    received as isize
}

/// Takes everything that is queued.
fn drain(socket: c_int) {
    let mut buffer = vec![0u8; 128 << 10];
    loop {
        let (into, length) = (buffer.as_mut_ptr(), buffer.len());
        // SAFETY: the buffer is of this length.
        let received =
            unsafe { libc::syscall(libc::SYS_recvfrom, socket, into, length, libc::MSG_DONTWAIT, 0usize, 0usize) };
        if received < 0 {
            return;
        }
    }
}

/// An error as the kernel sends it (`struct nlmsgerr`, linux/netlink.h), to the first of these messages.
fn answer(messages: &[u8], errno: Errno) -> Vec<u8> {
    const NLMSG_ERROR: u16 = 2;
    const NLM_F_CAPPED: u16 = 0x100;
    let header = &messages[..16];
    let mut answer = Vec::new();
    answer.extend(36u32.to_ne_bytes());
    answer.extend(NLMSG_ERROR.to_ne_bytes());
    answer.extend(NLM_F_CAPPED.to_ne_bytes());
    answer.extend(&header[8..16]);
    answer.extend((-(errno as i32)).to_ne_bytes());
    answer.extend(header);
    answer
}

/// Whether one of the messages is `NLMSG_ERROR` or `NLMSG_DONE`.
fn has_acknowledgement(mut datagram: &[u8]) -> bool {
    while datagram.len() >= 16 {
        let length = u32::from_ne_bytes(datagram[..4].try_into().unwrap()) as usize;
        let kind = u16::from_ne_bytes(datagram[4..6].try_into().unwrap());
        if kind == 2 || kind == 3 {
            return true;
        }
        datagram = datagram.get(length.max(16).next_multiple_of(4)..).unwrap_or_default();
    }
    false
}
