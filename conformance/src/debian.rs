//! Packages of Debian's archive, fetched through apt and unpacked, not installed.
//!
//! They come through a package list of our own (one suite of the archive, signatures checked), so the host may be any
//! Debian or Ubuntu, and its own lists are neither read nor written. Only programs that run here and are missing are
//! installed.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Something that is not here and could not be fetched.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {reason}")]
pub struct Unavailable {
    /// The program, package or file.
    pub what: String,
    /// Why not, and what was tried.
    pub reason: String,
}

impl Unavailable {
    pub(crate) fn new(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { what: what.into(), reason: reason.into() }
    }

    fn io(what: String) -> impl FnOnce(std::io::Error) -> Self {
        move |error| Self::new(what, error.to_string())
    }
}

/// One suite of the archive, with lists and cache of its own in a directory that is removed at the end.
#[derive(Debug)]
pub struct Suite {
    directory: PathBuf,
    archive: &'static str,
}

impl Suite {
    /// Reads the package lists of `archive`: address, suite and components, as apt writes them.
    ///
    /// # Errors
    /// What apt says: no network, a signature that is not Debian's.
    pub fn open(directory: &Path, archive: &'static str) -> Result<Self, Unavailable> {
        if !Path::new(KEYRING).exists() {
            install(KEYRING, "debian-archive-keyring")?;
        }
        let suite = Self { directory: directory.to_owned(), archive };
        for needed in ["lists/partial", "cache/archives/partial", "download"] {
            let needed = directory.join(needed);
            std::fs::create_dir_all(&needed).map_err(Unavailable::io(format!("create {}", needed.display())))?;
        }
        let sources = directory.join("sources.list");
        let line = format!("deb [arch=amd64 signed-by={KEYRING}] {archive}\n");
        std::fs::write(&sources, line).map_err(Unavailable::io(format!("write {}", sources.display())))?;
        suite.apt("apt-get", &["update"])?;
        Ok(suite)
    }

    /// Names of the packages that one must have, alternatives left out.
    ///
    /// # Errors
    /// There is no package of that name.
    pub fn depends(&self, package: &str) -> Result<Vec<String>, Unavailable> {
        let printed = self.apt("apt-cache", &["depends", package])?;
        let names = printed.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
        Ok(names.filter(|name| !name.starts_with('<')).map(str::to_owned).collect())
    }

    /// Fetches packages and unpacks all of them into `root`.
    ///
    /// # Errors
    /// One of them cannot be fetched or unpacked.
    pub fn unpack(&self, packages: &[String], root: &Path) -> Result<(), Unavailable> {
        let mut arguments = vec!["download"];
        arguments.extend(packages.iter().map(String::as_str));
        self.apt("apt-get", &arguments)?;
        let directory = self.directory.join("download");
        let what = format!("list {}", directory.display());
        for file in std::fs::read_dir(&directory).map_err(Unavailable::io(what.clone()))? {
            let archive = file.map_err(Unavailable::io(what.clone()))?.path();
            run("dpkg-deb", Command::new("dpkg-deb").arg("-x").arg(archive).arg(root))?;
        }
        Ok(())
    }

    fn apt(&self, program: &str, arguments: &[&str]) -> Result<String, Unavailable> {
        let options = [
            format!("Dir::Etc::sourcelist={}", self.path("sources.list")),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            format!("Dir::State::lists={}", self.path("lists")),
            // An installed version would count as the one to fetch.
            "Dir::State::status=/dev/null".to_owned(),
            format!("Dir::Cache={}", self.path("cache")),
            // apt's own user cannot write into our directory.
            "APT::Sandbox::User=root".to_owned(),
        ];
        let mut command = Command::new(program);
        command
            .current_dir(self.directory.join("download"))
            .args(options.iter().flat_map(|option| ["-o", option]))
            .args(arguments);
        let printed = run(&format!("{program} {}, from {}", arguments.join(" "), self.archive), &mut command)?;
        Ok(String::from_utf8_lossy(&printed).into_owned())
    }

    fn path(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }
}

impl Drop for Suite {
    fn drop(&mut self) {
        // Lists of 100 MB; what is left of them is only in the way.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Makes sure that a program is there, by installing its Debian package where it is not.
pub(crate) fn have_program(program: &str, package: &str) -> Result<(), Unavailable> {
    if on_path(program).is_some() { Ok(()) } else { install(program, package) }
}

/// Runs a command to its end and returns what it printed.
pub(crate) fn run(what: &str, command: &mut Command) -> Result<Vec<u8>, Unavailable> {
    let output = command.stdin(Stdio::null()).output();
    let Output { status, stdout, stderr } =
        output.map_err(|error| Unavailable::new(what, format!("{}: {error}", command.get_program().display())))?;
    if status.success() {
        return Ok(stdout);
    }
    let said = String::from_utf8_lossy(&stderr);
    Err(Unavailable::new(what, format!("{status}: {}", said.trim())))
}

/// Where a program is.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| file.is_file())
}

/// `target/NAME`, found from where cargo put this program: cargo tags the target directory.
///
/// # Errors
/// This program is not in one.
pub fn shelf(name: &str) -> Result<PathBuf, Unavailable> {
    let program = std::env::current_exe().map_err(Unavailable::io("this program's path".to_owned()))?;
    program
        .ancestors()
        .find(|directory| directory.join("CACHEDIR.TAG").exists())
        .map(|target| target.join(name))
        .ok_or_else(|| Unavailable::new("target directory", format!("{} is not inside one", program.display())))
}

fn install(what: &str, package: &str) -> Result<(), Unavailable> {
    eprintln!("installing {package}");
    // The lists may be absent (a fresh container) or too old to name files that still exist.
    for arguments in [&["update"][..], &["install", "--no-install-recommends", package]] {
        let mut command = Command::new("apt-get");
        command.args(["-qq", "-y"]).args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        run(&format!("{what}, from package {package}: apt-get {}", arguments[0]), &mut command)?;
    }
    Ok(())
}
