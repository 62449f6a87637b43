//! Network namespaces that live as long as a value does.
//!
//! Kept apart from what is put into them: this is the one place that creates, enters and removes namespaces, and so
//! the one place that could harm the host's own. It cannot: a [`Namespace`] is always one that was created here.
//!
//! **Invariant:** no [`Namespace`] is the host's own (`tests::a_namespace_is_never_the_callers_own`).

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use tokio::runtime;

/// Where `ip netns` looks for names.
const NAMES: &str = "/run/netns";
/// What our names begin with; the process id follows. By it a later process knows that a leftover is ours.
const PREFIX: &str = "sy-";
/// The calling thread's own namespace.
const CURRENT: &str = "/proc/thread-self/ns/net";

static SERIAL: AtomicU32 = AtomicU32::new(0);
static SWEEP: Once = Once::new();

/// A network namespace of our own, with a name for `ip netns exec`. Removed when dropped, in a panic too; if the
/// process is killed, by the next process that creates one.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    path: PathBuf,
    file: File,
}

/// The calling thread is inside a namespace for as long as this lives.
#[derive(Debug)]
pub struct Inside {
    before: File,
    /// A thread's namespace is the thread's: this must be dropped where it was made.
    _not_send: std::marker::PhantomData<*const ()>,
}

/// A runtime, every thread of which is inside one namespace.
#[derive(Debug)]
pub struct Executor {
    runtime: Option<runtime::Runtime>,
}

/// Why a namespace could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NamespaceError {
    /// No privilege to create or mount one.
    #[error("namespace {name}: not allowed to make it (CAP_SYS_ADMIN): {source}")]
    Privilege {
        /// Its name.
        name: String,
        /// The kernel's error.
        source: io::Error,
    },
    /// Anything else.
    #[error("namespace {name}: {source}")]
    Kernel {
        /// Its name.
        name: String,
        /// The kernel's error.
        source: io::Error,
    },
}

impl Namespace {
    /// A new, empty namespace. Its full name contains `label`, the process id and a number; leftovers of dead processes
    /// are removed first.
    ///
    /// # Errors
    /// [`NamespaceError`], naming the privilege if that is what lacks.
    pub fn create(label: &str) -> Result<Self, NamespaceError> {
        SWEEP.call_once(sweep);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{serial}-{label}", std::process::id());
        let path = Path::new(NAMES).join(&name);
        // A thread of its own: unshare changes the calling thread.
        let made = thread::scope(|scope| scope.spawn(|| isolate(&path)).join());
        match made {
            Ok(Ok(file)) => Ok(Self { name, path, file }),
            Ok(Err(source)) => {
                unmount(&path);
                Err(match source.kind() {
                    io::ErrorKind::PermissionDenied => NamespaceError::Privilege { name, source },
                    _ => NamespaceError::Kernel { name, source },
                })
            }
            Err(panic) => resume_unwind(panic),
        }
    }

    /// Its name, as `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `work` inside, on a thread made for it; a panic in it is passed on.
    ///
    /// # Panics
    /// If the kernel does not let the thread in, which it did when the namespace was made.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let done = thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(&self.file, CloneFlags::CLONE_NEWNET).expect("a namespace that was made here can be entered");
                work()
            });
            thread.join()
        });
        done.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Runs `work` inside on a thread that outlives this call.
    ///
    /// # Errors
    /// The kernel did not let the thread in, or made none.
    pub fn spawn<T: Send + 'static>(
        &self,
        thread_name: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<JoinHandle<io::Result<T>>> {
        let file = self.file.try_clone()?;
        thread::Builder::new().name(thread_name.into()).spawn(move || {
            setns(&file, CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        })
    }

    /// Takes the calling thread inside, until the result is dropped. Beware of runtimes: a task may run on another
    /// thread; [`Namespace::executor`] is for those.
    ///
    /// # Errors
    /// The kernel's.
    pub fn enter(&self) -> io::Result<Inside> {
        let before = File::open(CURRENT)?;
        setns(&self.file, CloneFlags::CLONE_NEWNET)?;
        Ok(Inside { before, _not_send: std::marker::PhantomData })
    }

    /// A runtime whose threads are all inside: sockets that its tasks open are this namespace's.
    ///
    /// # Errors
    /// The kernel's.
    pub fn executor(&self) -> io::Result<Executor> {
        let file = self.file.try_clone()?;
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name(&self.name)
            .enable_all()
            .on_thread_start(move || {
                setns(&file, CloneFlags::CLONE_NEWNET).expect("a namespace that was made here can be entered");
            })
            .build()?;
        Ok(Executor { runtime: Some(runtime) })
    }

    /// Writes a kernel setting of this namespace: `sysctl("net/ipv4/ip_forward", "1")`.
    ///
    /// # Errors
    /// The kernel does not have it, or refuses the value.
    pub fn sysctl(&self, key: &str, value: &str) -> io::Result<()> {
        let path = Path::new("/proc/sys").join(key);
        self.run(|| fs::write(&path, value))
            .map_err(|error| io::Error::new(error.kind(), format!("setting {key} in {}: {error}", self.name)))
    }
}

impl Executor {
    /// Runs `task` on a thread inside, and blocks until it is done; a panic in it is passed on.
    ///
    /// # Panics
    /// As the task does.
    pub fn run<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> T {
        // Spawned, because `block_on` would poll the task on the calling thread, which is not inside.
        let task = self.handle().spawn(task);
        // Waited for on a thread of its own, because the caller's may be another runtime's.
        match thread::scope(|scope| scope.spawn(|| self.handle().block_on(task)).join()) {
            Ok(Ok(value)) => value,
            Ok(Err(error)) => resume_unwind(error.into_panic()),
            Err(panic) => resume_unwind(panic),
        }
    }

    /// To spawn tasks inside.
    ///
    /// # Panics
    /// Never.
    pub fn handle(&self) -> &runtime::Handle {
        self.runtime.as_ref().expect("the runtime is there until drop").handle()
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        unmount(&self.path);
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        if setns(&self.before, CloneFlags::CLONE_NEWNET).is_err() {
            // To go on in the wrong namespace would be worse than to end.
            std::process::abort();
        }
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Moves the calling thread into a new namespace and gives that the name `path`.
fn isolate(path: &Path) -> io::Result<File> {
    fs::create_dir_all(NAMES)?;
    let mut options = File::options();
    options.write(true).create_new(true).open(path)?;
    unshare(CloneFlags::CLONE_NEWNET)?;
    mount(Some(CURRENT), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    File::open(CURRENT)
}

fn unmount(path: &Path) {
    // Nothing to be done about an error: the next process sweeps.
    let _ = umount2(path, MntFlags::MNT_DETACH);
    let _ = fs::remove_file(path);
}

/// Removes the names that processes left which are no more.
fn sweep() {
    let Ok(entries) = fs::read_dir(NAMES) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name.to_str().and_then(owner).is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            unmount(&entry.path());
        }
    }
}

/// The process that made the namespace of this name, if it is one of ours.
fn owner(name: &str) -> Option<u32> {
    let (pid, rest) = name.strip_prefix(PREFIX)?.split_once('-')?;
    let (serial, _label) = rest.split_once('-')?;
    serial.parse::<u32>().ok()?;
    pid.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::linux::fs::MetadataExt;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    /// The inode tells namespaces apart.
    fn current() -> u64 {
        fs::metadata(CURRENT).unwrap().st_ino()
    }

    #[test]
    fn a_namespace_is_never_the_callers_own() {
        if crate::privilege::skip() {
            return;
        }
        let here = current();
        let namespace = Namespace::create("own").unwrap();
        assert_ne!(namespace.run(current), here);
        assert_eq!(current(), here);
        assert_eq!(fs::metadata(Path::new(NAMES).join(namespace.name())).unwrap().st_ino(), namespace.run(current));
    }

    #[test]
    fn entering_ends_with_the_guard() {
        if crate::privilege::skip() {
            return;
        }
        let here = current();
        let namespace = Namespace::create("enter").unwrap();
        let inside = namespace.enter().unwrap();
        assert_eq!(current(), namespace.run(current));
        drop(inside);
        assert_eq!(current(), here);
    }

    #[test]
    fn every_task_of_an_executor_is_inside() {
        if crate::privilege::skip() {
            return;
        }
        let namespace = Namespace::create("tasks").unwrap();
        let executor = namespace.executor().unwrap();
        assert_eq!(executor.run(async { current() }), namespace.run(current));
        assert_eq!(executor.run(async { tokio::task::spawn_blocking(current).await.unwrap() }), namespace.run(current));
    }

    #[tokio::test]
    async fn an_executor_may_be_used_inside_another_runtime() {
        if crate::privilege::skip() {
            return;
        }
        let namespace = Namespace::create("nested").unwrap();
        assert_eq!(namespace.executor().unwrap().run(async { current() }), namespace.run(current));
    }

    #[test]
    fn a_panic_removes_the_namespace() {
        if crate::privilege::skip() {
            return;
        }
        let mut path = PathBuf::new();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let namespace = Namespace::create("panic").unwrap();
            path = Path::new(NAMES).join(namespace.name());
            assert!(path.exists());
            namespace.run(|| panic!("on purpose"));
        }));
        assert!(outcome.is_err());
        assert!(!path.exists());
    }

    #[test]
    fn leftovers_of_dead_processes_are_swept_and_no_others() {
        if crate::privilege::skip() {
            return;
        }
        let living = Namespace::create("living").unwrap();
        // Above the kernel's limit for process ids (2^22), so no process has it.
        let dead = Path::new(NAMES).join(format!("{PREFIX}4194999-0-left"));
        let foreign = Path::new(NAMES).join(format!("{PREFIX}sy-test-{}", std::process::id()));
        drop(thread::scope(|scope| scope.spawn(|| isolate(&dead)).join()).unwrap().unwrap());
        fs::write(&foreign, "").unwrap();
        sweep();
        let left = (dead.exists(), foreign.exists(), living.path.exists());
        fs::remove_file(&foreign).unwrap();
        assert_eq!(left, (false, true, true));
    }

    #[test]
    fn only_our_names_have_an_owner() {
        for (name, expected) in [
            ("sy-12-0-node2", Some(12)),
            ("sy-12-0-a-b", Some(12)),
            ("sy-12-node2", None),
            ("sy-x-0-node2", None),
            ("cni-12-0-node2", None),
            ("sy-", None),
        ] {
            assert_eq!(owner(name), expected, "{name}");
        }
    }

    #[test]
    fn a_setting_is_the_namespaces_own() {
        if crate::privilege::skip() {
            return;
        }
        let namespace = Namespace::create("sysctl").unwrap();
        let read = || fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
        let here = read();
        namespace.sysctl("net/ipv4/ip_forward", "1").unwrap();
        assert_eq!(namespace.run(read).trim(), "1");
        assert_eq!(read(), here);
        assert!(namespace.sysctl("net/ipv4/no_such_setting", "1").is_err());
    }

    #[test]
    fn a_namespace_lends_its_descriptor() {
        if crate::privilege::skip() {
            return;
        }
        let namespace = Namespace::create("fd").unwrap();
        let copy: OwnedFd = namespace.as_fd().try_clone_to_owned().unwrap();
        drop(namespace);
        setns_elsewhere(copy);
    }

    fn setns_elsewhere(copy: OwnedFd) {
        let here = current();
        let there = thread::spawn(move || {
            setns(&copy, CloneFlags::CLONE_NEWNET).unwrap();
            current()
        });
        assert_ne!(there.join().unwrap(), here);
    }
}
