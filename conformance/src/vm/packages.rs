//! Fetches what the machine is made of from Debian's archive, through apt alone.
//!
//! QEMU is installed; the kernel is only unpacked, so that this machine's boot loader never hears of it. The kernel
//! comes through a package list of our own (bookworm's security archive, signatures checked), so the host may be any
//! Debian or Ubuntu, and its own lists are neither read nor written.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::{Kernel, VmError};

/// Emulates the machine.
pub(super) const QEMU: &str = "qemu-system-x86_64";

const ARCHIVE: &str = "http://deb.debian.org/debian-security bookworm-security main";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Makes sure that a program is there, by installing its Debian package where it is not.
pub(super) fn have_program(program: &str, package: &str) -> Result<(), VmError> {
    if on_path(program).is_some() { Ok(()) } else { install(program, package) }
}

/// Unpacks the newest build of a kernel's package into `directory`.
pub(super) fn unpack_kernel(kernel: Kernel, directory: &Path) -> Result<(), VmError> {
    if !Path::new(KEYRING).exists() {
        install(KEYRING, "debian-archive-keyring")?;
    }
    let apt = Apt::new(&directory.join("apt"))?;
    apt.run("apt-get", &["update"])?;
    let depends = apt.run("apt-cache", &["depends", kernel.metapackage()])?;
    let package = depends
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: "))
        .ok_or_else(|| VmError::unavailable(kernel.metapackage(), format!("no such package in {ARCHIVE}")))?;
    eprintln!("vm: fetching {package}");
    apt.run("apt-get", &["download", package])?;
    let archive = apt.downloaded()?;
    run("dpkg-deb", Command::new("dpkg-deb").arg("-x").arg(&archive).arg(directory.join("root")))?;
    std::fs::remove_dir_all(&apt.directory).map_err(VmError::io(format!("remove {}", apt.directory.display())))
}

/// Runs a command to its end and returns what it printed.
pub(super) fn run(what: &str, command: &mut Command) -> Result<Vec<u8>, VmError> {
    let output = command.stdin(Stdio::null()).output();
    let Output { status, stdout, stderr } =
        output.map_err(|error| VmError::unavailable(what, format!("{}: {error}", command.get_program().display())))?;
    if status.success() {
        return Ok(stdout);
    }
    let said = String::from_utf8_lossy(&stderr);
    Err(VmError::unavailable(what, format!("{status}: {}", said.trim())))
}

/// Where a program is.
pub(super) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| file.is_file())
}

fn install(what: &str, package: &str) -> Result<(), VmError> {
    eprintln!("vm: installing {package}");
    // The lists may be absent (a fresh container) or too old to name files that still exist.
    for arguments in [&["update"][..], &["install", "--no-install-recommends", package]] {
        let mut command = Command::new("apt-get");
        command.args(["-qq", "-y"]).args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        run(&format!("{what}, from package {package}: apt-get {}", arguments[0]), &mut command)?;
    }
    Ok(())
}

/// apt with a source, lists and cache of its own.
struct Apt {
    directory: PathBuf,
}

impl Apt {
    fn new(directory: &Path) -> Result<Self, VmError> {
        for needed in ["lists/partial", "cache/archives/partial", "download"] {
            let needed = directory.join(needed);
            std::fs::create_dir_all(&needed).map_err(VmError::io(format!("create {}", needed.display())))?;
        }
        let sources = directory.join("sources.list");
        let line = format!("deb [arch=amd64 signed-by={KEYRING}] {ARCHIVE}\n");
        std::fs::write(&sources, line).map_err(VmError::io(format!("write {}", sources.display())))?;
        Ok(Self { directory: directory.to_owned() })
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<String, VmError> {
        let options = [
            format!("Dir::Etc::sourcelist={}", self.path("sources.list")),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            format!("Dir::State::lists={}", self.path("lists")),
            format!("Dir::Cache={}", self.path("cache")),
            // apt's own user cannot write into our directory.
            "APT::Sandbox::User=root".to_owned(),
        ];
        let mut command = Command::new(program);
        command
            .current_dir(self.path("download"))
            .args(options.iter().flat_map(|option| ["-o", option]))
            .args(arguments);
        let printed = run(&format!("{program} {}, from {ARCHIVE}", arguments.join(" ")), &mut command)?;
        Ok(String::from_utf8_lossy(&printed).into_owned())
    }

    fn path(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    fn downloaded(&self) -> Result<PathBuf, VmError> {
        let directory = self.directory.join("download");
        let what = format!("list {}", directory.display());
        let mut files = std::fs::read_dir(&directory).map_err(VmError::io(&what))?;
        let file = files.next().ok_or_else(|| VmError::unavailable(&what, "apt-get downloaded nothing"))?;
        Ok(file.map_err(VmError::io(&what))?.path())
    }
}
