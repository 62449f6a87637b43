//! The machine's first process: makes it look like the host, runs the order, reports, powers off.
//!
//! The same program as outside, told apart by its process id, so that nothing has to be built twice.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, chdir, chroot};

use super::order::{ORDER_FILE, OUTCOME_PORT, OUTPUT_PORT, SHARED_ROOT};
use super::{Order, Outcome, Terminal, initramfs};

/// Every sync asks for flows, and every answer walks the table of all network namespaces: by default 65,536 buckets,
/// for a few hundred flows.
const CONNTRACK_BUCKETS: (&str, &str) = ("/sys/module/nf_conntrack/parameters/hashsize", "2048");

/// Whether this process is a machine's first.
pub fn is_init() -> bool {
    std::process::id() == 1
}

/// Does the order that the machine was booted with, then powers it off.
pub fn become_init() -> ! {
    let outcome = prepare().and_then(|order| obey(&order)).map_or_else(Outcome::Failed, Outcome::Exited);
    if let Err(reason) = report(&outcome) {
        eprintln!("init: {reason}: {outcome:?}");
    }
    let _ = reboot(RebootMode::RB_POWER_OFF);
    // The kernel panics when its first process ends, and QEMU ends with the panic.
    std::process::exit(1);
}

fn prepare() -> Result<Order, String> {
    mount_new("proc", "/proc")?;
    mount_new("sysfs", "/sys")?;
    mount_new("devtmpfs", "/dev")?;
    load_modules()?;
    fs::write(CONNTRACK_BUCKETS.0, CONNTRACK_BUCKETS.1).map_err(saying(CONNTRACK_BUCKETS.0))?;
    let order = fs::read(ORDER_FILE).map_err(saying(ORDER_FILE))?;
    let order: Order = serde_json::from_slice(&order).map_err(|error| format!("{ORDER_FILE}: {error}"))?;
    enter_host_tree()?;
    order.resident.iter().for_each(|file| keep_in_memory(file));
    mount_new("tmpfs", "/run")?;
    mount_new("devpts", "/dev/pts")?;
    mount_new("tmpfs", "/dev/shm")?;
    let hostname = "/proc/sys/kernel/hostname";
    fs::write(hostname, "switchyard-vm").map_err(saying(hostname))?;
    raise_loopback()?;
    Ok(order)
}

fn mount_new(kind: &str, target: &str) -> Result<(), String> {
    // devtmpfs has no directories for what is usually mounted on it, and may be mounted already.
    fs::create_dir_all(target).map_err(saying(target))?;
    mount(Some(kind), target, Some(kind), MsFlags::empty(), None::<&str>).map_err(saying(target))
}

fn load_modules() -> Result<(), String> {
    let entries = fs::read_dir(initramfs::MODULES).map_err(saying(initramfs::MODULES))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    files.sort();
    for file in files {
        let module = File::open(&file).map_err(saying(&file))?;
        finit_module(&module, c"", ModuleInitFlags::empty()).map_err(saying(&file))?;
        // Its content stays in memory twice otherwise.
        fs::remove_file(&file).map_err(saying(&file))?;
    }
    Ok(())
}

/// Makes the host's files our own, with a layer above that takes what is written and is lost at the end.
fn enter_host_tree() -> Result<(), String> {
    let shared = "trans=virtio,version=9p2000.L,msize=512000,cache=loose";
    mount(Some(SHARED_ROOT), "/host", Some("9p"), MsFlags::MS_RDONLY, Some(shared)).map_err(saying("/host"))?;
    mount_new("tmpfs", "/layer")?;
    for directory in ["/layer/upper", "/layer/work"] {
        fs::create_dir(directory).map_err(saying(directory))?;
    }
    let layers = "lowerdir=/host,upperdir=/layer/upper,workdir=/layer/work";
    mount(Some("overlay"), "/root", Some("overlay"), MsFlags::empty(), Some(layers)).map_err(saying("/root"))?;
    for directory in ["/proc", "/sys", "/dev"] {
        move_mount(directory, &format!("/root{directory}"))?;
    }
    chdir("/root").map_err(saying("/root"))?;
    move_mount(".", "/")?;
    chroot(".").map_err(saying("the host's tree"))?;
    chdir("/").map_err(saying("/"))
}

/// Opening a file for writing makes the layer above copy it.
fn keep_in_memory(file: &Path) {
    // Only slower where it fails, and what cannot be opened at all will be missed by name.
    let _ = OpenOptions::new().append(true).open(file);
}

fn move_mount(from: &str, to: &str) -> Result<(), String> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_MOVE, None::<&str>).map_err(saying(to))
}

fn raise_loopback() -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(saying("runtime"))?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(saying("link lo"))?;
        let connection = tokio::spawn(connection);
        let up = rtnetlink::LinkUnspec::new_with_name("lo").up().build();
        let raised = handle.link().set(up).execute().await.map_err(saying("link lo"));
        connection.abort();
        raised
    })
}

/// Runs all commands; the first exit status that is not 0.
fn obey(order: &Order) -> Result<u8, String> {
    let terminal = match order.terminal {
        Terminal::Stream => port(OUTPUT_PORT)?,
        Terminal::Interactive => open(Path::new("/dev/hvc0"))?,
    };
    let mut say = terminal.try_clone().map_err(saying("terminal"))?;
    let mut failures = Vec::new();
    for words in &order.commands {
        if order.titled {
            writeln!(say, "\n== {}", title(words)).map_err(saying("terminal"))?;
        }
        let status = run(words, order, &terminal)?;
        if status != 0 {
            failures.push((title(words), status));
        }
    }
    if order.titled {
        for (title, status) in &failures {
            writeln!(say, "== failed: {title}, exit status {status}").map_err(saying("terminal"))?;
        }
    }
    Ok(failures.first().map_or(0, |(_, status)| *status))
}

/// A program's name, without the number that cargo gives a test program.
fn title(words: &[String]) -> String {
    let name = words.first().map(Path::new).and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    match name.rsplit_once('-') {
        Some((name, number)) if number.len() == 16 && number.chars().all(|digit| digit.is_ascii_hexdigit()) => {
            name.to_owned()
        }
        _ => name.into_owned(),
    }
}

fn run(words: &[String], order: &Order, terminal: &File) -> Result<u8, String> {
    let (program, arguments) = words.split_first().ok_or("an empty command")?;
    let input = match order.terminal {
        Terminal::Stream => Stdio::null(),
        Terminal::Interactive => stream(terminal)?,
    };
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(&order.environment).current_dir(&order.directory);
    let child =
        command.stdin(input).stdout(stream(terminal)?).stderr(stream(terminal)?).spawn().map_err(saying(program))?;
    let pid = Pid::from_raw(child.id().cast_signed());
    // Orphans of the command become our children: reap every one that ends.
    loop {
        match waitpid(None, None).map_err(saying("wait"))? {
            WaitStatus::Exited(ended, status) if ended == pid => return Ok(u8::try_from(status).unwrap_or(u8::MAX)),
            WaitStatus::Signaled(ended, signal, _) if ended == pid => return Ok(128 + signal as u8),
            _ => {}
        }
    }
}

fn stream(terminal: &File) -> Result<Stdio, String> {
    terminal.try_clone().map(Stdio::from).map_err(saying("terminal"))
}

fn report(outcome: &Outcome) -> Result<(), String> {
    let outcome = serde_json::to_vec(outcome).map_err(|error| error.to_string())?;
    port(OUTCOME_PORT)?.write_all(&outcome).map_err(saying(OUTCOME_PORT))
}

/// Opens a virtio port by its name.
fn port(name: &str) -> Result<File, String> {
    let ports = "/sys/class/virtio-ports";
    for entry in fs::read_dir(ports).map_err(saying(ports))?.flatten() {
        if fs::read_to_string(entry.path().join("name")).is_ok_and(|found| found.trim() == name) {
            return open(&Path::new("/dev").join(entry.file_name()));
        }
    }
    Err(format!("{name}: no such virtio port"))
}

fn open(file: &Path) -> Result<File, String> {
    OpenOptions::new().read(true).write(true).open(file).map_err(saying(file))
}

fn saying<E: std::fmt::Display>(what: impl AsRef<Path>) -> impl FnOnce(E) -> String {
    move |error| format!("{}: {error}", what.as_ref().display())
}
