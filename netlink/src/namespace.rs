//! Network namespaces: in which one a socket is opened.
//!
//! A socket belongs to the network namespace of the thread that creates it, for as long as it lives. So a thread that
//! lives only for this enters the namespace, creates the socket and hands it back (`setns(2)`,
//! `network_namespaces(7)`). No other thread ever changes its namespace.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use nix::sched::{CloneFlags, setns};
use tokio::runtime::Handle;

/// The network namespace of the calling thread.
const CURRENT: &str = "/proc/thread-self/ns/net";

/// The sysctls of the thread's network namespace.
const SYSCTLS: &str = "/proc/sys/net/core";

/// A sysctl that the kernel registers for the initial network namespace alone (`net_core_table`,
/// net/core/sysctl_net_core.c): it is about queues of processors, which no namespace has of its own.
const INITIAL_ONLY: &str = "/proc/sys/net/core/netdev_max_backlog";

/// A network namespace. A clone is the same namespace.
#[derive(Clone, Debug, Default)]
pub enum Namespace {
    /// The namespace of the calling thread, whichever that is at the time of the call. See [`Namespace::current`] for
    /// the namespace that it is now.
    #[default]
    Current,
    /// The namespace that this descriptor is open on. The namespace lives at least as long as the descriptor.
    Descriptor(Arc<OwnedFd>),
}

impl Namespace {
    /// The namespace at a path: `/run/netns/NAME` as `ip netns` makes it, or `/proc/PID/ns/net`.
    ///
    /// # Errors
    /// The file cannot be opened. A file that is no network namespace is only noticed when the namespace is used.
    pub fn of_path(path: impl AsRef<Path>) -> io::Result<Self> {
        Ok(File::open(path)?.into())
    }

    /// The namespace that the calling thread is in now. Unlike [`Namespace::Current`] it stays the same when it is used
    /// on another thread. Needs `/proc`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn current() -> io::Result<Self> {
        Self::of_path(CURRENT)
    }

    /// Whether this is the network namespace that the kernel started with: the machine's own. Needs `/proc`, and for
    /// another namespace than the current one what [`Namespace::run`] needs.
    ///
    /// The namespace of process 1 would be another answer: in a container it is the container's own, and not every
    /// process may look at it. This asks for a sysctl that only the initial namespace has.
    ///
    /// # Errors
    /// Those of [`Namespace::run`], and `ENOENT` where there are no sysctls to ask.
    pub fn is_initial(&self) -> io::Result<bool> {
        self.run(|| {
            std::fs::metadata(SYSCTLS)?;
            Path::new(INITIAL_ONLY).try_exists()
        })?
    }

    /// Whether both are the same network namespace. Needs `/proc` for [`Namespace::Current`].
    ///
    /// # Errors
    /// The kernel's.
    pub fn is_same(&self, other: &Namespace) -> io::Result<bool> {
        Ok(self.identity()? == other.identity()?)
    }

    /// Runs `work` in this namespace: on the calling thread for [`Namespace::Current`], otherwise on a thread of its
    /// own that ends with it. The caller waits meanwhile. If the caller is within a tokio runtime, so is `work`, and
    /// may open sockets that belong to the runtime.
    ///
    /// Entering a namespace needs `CAP_SYS_ADMIN`, in the namespace and in one's own.
    ///
    /// # Errors
    /// There can be no thread, or the namespace cannot be entered: `EINVAL` if the descriptor is something else,
    /// `EPERM` without the capability.
    ///
    /// # Panics
    /// If `work` does.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        let Namespace::Descriptor(namespace) = self else { return Ok(work()) };
        let runtime = Handle::try_current().ok();
        std::thread::scope(|scope| {
            let enter_and_work = || {
                setns(namespace, CloneFlags::CLONE_NEWNET)?;
                let _entered = runtime.as_ref().map(Handle::enter);
                Ok(work())
            };
            let thread = std::thread::Builder::new().name("netlink-setns".to_owned());
            match thread.spawn_scoped(scope, enter_and_work)?.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    fn identity(&self) -> io::Result<(u64, u64)> {
        Ok(identity(&match self {
            Namespace::Current => std::fs::metadata(CURRENT)?,
            Namespace::Descriptor(namespace) => File::from(namespace.try_clone()?).metadata()?,
        }))
    }
}

/// Two namespaces are the same where device and inode are (`namespaces(7)`).
fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

impl From<OwnedFd> for Namespace {
    fn from(descriptor: OwnedFd) -> Self {
        Namespace::Descriptor(Arc::new(descriptor))
    }
}

impl From<File> for Namespace {
    fn from(file: File) -> Self {
        OwnedFd::from(file).into()
    }
}

/// Duplicates the descriptor, which may be closed then.
impl TryFrom<BorrowedFd<'_>> for Namespace {
    type Error = io::Error;

    fn try_from(descriptor: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(descriptor.try_clone_to_owned()?.into())
    }
}

/// Duplicates the descriptor, which may be closed then.
impl TryFrom<&File> for Namespace {
    type Error = io::Error;

    fn try_from(file: &File) -> io::Result<Self> {
        file.as_fd().try_into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_itself_however_it_is_named() {
        let current = Namespace::current().unwrap();
        assert!(current.is_same(&Namespace::Current).unwrap());
        let file = File::open(CURRENT).unwrap();
        assert!(Namespace::try_from(&file).unwrap().is_same(&current.clone()).unwrap());
        assert!(!Namespace::of_path("/dev/null").unwrap().is_same(&current).unwrap());
    }

    #[test]
    fn the_current_namespace_is_not_entered_and_costs_no_thread() {
        let here = std::thread::current().id();
        assert_eq!(Namespace::Current.run(|| std::thread::current().id()).unwrap(), here);
    }

    /// From Linux 6.18 on the initial namespace has a number of its own, below all that are given later.
    #[test]
    fn the_initial_namespace_has_the_number_of_the_initial_namespace() {
        const NET_NS_INIT_INO: u64 = 0xefff_fff9;
        let (_, number) = Namespace::Current.identity().unwrap();
        let is_initial = Namespace::Current.is_initial().unwrap();
        if number == NET_NS_INIT_INO {
            assert!(is_initial);
        }
        assert!(!(is_initial && number > 0xf100_0000), "the initial namespace is among the first: {number:#x}");
    }

    #[test]
    fn what_is_no_network_namespace_cannot_be_entered() {
        let error = Namespace::of_path("/dev/null").unwrap().run(|| ()).unwrap_err();
        assert!(error.raw_os_error().is_some(), "{error}");
        assert!(Namespace::of_path("/nonexistent").is_err());
    }
}
