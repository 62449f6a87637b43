//! Boots an image under QEMU, runs an order in it and waits for the outcome.
//!
//! **Invariant:** no QEMU outlives us: it is killed by its pid when a run ends, a panic included, and by the kernel
//! (`PR_SET_PDEATHSIG`, through `setpriv`) when we are killed ourselves.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::order::{OUTCOME_PORT, OUTPUT_PORT, SHARED_ROOT};
use super::stream::{self, End};
use super::{Image, Init, Limits, Order, Outcome, Terminal, VmError, initramfs, packages};

/// All that QEMU emulates, but for what costs more than it brings: a fifth level of page tables (one more step in each
/// walk), string instructions as the way to copy and clear (emulated byte by byte), and `stac`/`clac` around each
/// access to user memory.
const CPU: &str = "max,la57=off,erms=off,fsrm=off,smap=off";

/// A panic ends QEMU (with `-no-reboot`). Mitigations, zeroed pages and audit guard nothing in here. The kernel waits
/// for grace periods whenever it removes a network namespace; a watchdog takes an emulated processor's pauses for a
/// lockup; each character on the console costs several exits; `rep_good` is one more way to clear pages by string
/// instructions.
const COMMAND_LINE: &str = "console=ttyS0 loglevel=5 panic=-1 mitigations=off init_on_alloc=0 audit=0 nowatchdog \
    rcupdate.rcu_expedited=1 clearcpuid=rep_good";

/// A machine that can be booted, any number of times; nothing is kept between two boots.
#[derive(Clone, Debug)]
pub struct Machine {
    image: Image,
    init: Init,
    limits: Limits,
}

impl Machine {
    /// A machine of this image whose first process is `init`.
    pub fn new(image: Image, init: Init, limits: Limits) -> Self {
        Self { image, init, limits }
    }

    /// Boots, runs the order, powers off. The commands' output goes to `output` as it comes; with
    /// [`Terminal::Interactive`] to this process's terminal instead.
    ///
    /// # Errors
    ///
    /// The deadlines, a machine that stopped early, and an order that could not be started. Never the commands' own
    /// exit status.
    pub fn run(&self, order: &Order, output: &mut dyn Write) -> Result<u8, VmError> {
        let scratch = Scratch::new(&self.image.scratch())?;
        let initramfs = initramfs::pack(&self.init, &self.image.modules()?, order)?;
        let file = scratch.file("initramfs");
        fs::write(&file, initramfs).map_err(VmError::io(format!("write {}", file.display())))?;

        let mut qemu = Qemu::start(self.command(order.terminal, &scratch)?)?;
        match order.terminal {
            Terminal::Interactive => {}
            Terminal::Stream => {
                let source = qemu.0.stdout.take().expect("piped below");
                let end = stream::copy(source, output, self.limits);
                let console = scratch.tail("console");
                match end {
                    End::Closed => {}
                    End::Silent(limit) => return Err(VmError::Silent { limit, console }),
                    End::Overdue => return Err(VmError::Overdue { limit: self.limits.total, console }),
                }
            }
        }
        let status = qemu.0.wait().map_err(VmError::io(packages::QEMU))?;
        match serde_json::from_str(&scratch.read("outcome")) {
            Ok(Outcome::Exited(status)) => Ok(status),
            Ok(Outcome::Failed(reason)) => Err(VmError::Inside(reason)),
            Err(_) => {
                let qemu = format!("{status} {}", scratch.tail("qemu").trim());
                Err(VmError::Stopped { qemu, console: scratch.tail("console") })
            }
        }
    }

    fn command(&self, terminal: Terminal, scratch: &Scratch) -> Result<Command, VmError> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", packages::QEMU]);
        command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        // One processor: it is emulated without atomic operations, and its kernel waits for no other processor. Two do
        // the same work for almost twice the time; the second core of this machine is better used by a second machine.
        command.args(["-M", "q35", "-accel", "tcg", "-smp", "1", "-m", "1536", "-cpu", CPU]);
        command.arg("-kernel").arg(self.image.vmlinuz());
        command.arg("-initrd").arg(scratch.file("initramfs"));
        command.args(["-append", COMMAND_LINE]);
        command.arg("-chardev").arg(format!("file,id=console,path={}", scratch.file("console").display()));
        command.args(["-serial", "chardev:console"]);
        command.arg("-chardev").arg(format!("file,id=outcome,path={}", scratch.file("outcome").display()));
        command.args(["-chardev", "stdio,id=output,signal=off", "-device", "virtio-serial-pci"]);
        command.arg("-device").arg(format!("virtserialport,chardev=outcome,name={OUTCOME_PORT},nr=2"));
        // Paths of several file systems come in one tree: their inode numbers must not collide.
        command.args(["-fsdev", "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap"]);
        command.arg("-device").arg(format!("virtio-9p-pci,fsdev=root,mount_tag={SHARED_ROOT}"));

        let said = scratch.file("qemu");
        let said = fs::File::create(&said).map_err(VmError::io(format!("create {}", said.display())))?;
        command.stderr(said);
        match terminal {
            Terminal::Stream => {
                command.arg("-device").arg(format!("virtserialport,chardev=output,name={OUTPUT_PORT},nr=1"));
                // Not null: at the end of its input QEMU calls the port disconnected, and the machine's writes block.
                command.stdin(Stdio::piped()).stdout(Stdio::piped());
            }
            Terminal::Interactive => {
                command.args(["-device", "virtconsole,chardev=output,nr=1"]);
            }
        }
        Ok(command)
    }
}

/// The emulator's process. Killed and reaped when dropped.
struct Qemu(Child);

impl Qemu {
    fn start(mut command: Command) -> Result<Self, VmError> {
        command.spawn().map(Self).map_err(VmError::io(format!("start {} through setpriv", packages::QEMU)))
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A directory for one run's files. Removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(parent: &Path) -> Result<Self, VmError> {
        static RUNS: AtomicUsize = AtomicUsize::new(0);
        remove_abandoned(parent);
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let directory = parent.join(format!("{}-{run}", std::process::id()));
        fs::create_dir_all(&directory).map_err(VmError::io(format!("create {}", directory.display())))?;
        Ok(Self(directory))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn read(&self, name: &str) -> String {
        read_lossy(&self.file(name)).unwrap_or_default()
    }

    /// The last lines of a file.
    fn tail(&self, name: &str) -> String {
        let text = self.read(name);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }
}

/// Removes directories whose owner was killed: they are named by its process id.
fn remove_abandoned(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_string_lossy().split('-').next().map(|pid| Path::new("/proc").join(pid));
        if owner.is_some_and(|process| !process.exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn read_lossy(file: &Path) -> io::Result<String> {
    fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}
