//! Runs a command with the `nft` of another Debian suite ahead on its path:
//! `cargo run -p switchyard-conformance --bin with_nft -- sid nft --version`.
//!
//! Operators list our tables with whatever `nft` their hosts have. Needs Debian or Ubuntu; the package is unpacked
//! under `target/nft/`, with its libraries and their loader, not installed.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::{Parser, ValueEnum};
use switchyard_conformance::debian::{self, Suite, Unavailable};

/// Runs a command with the `nft` of another Debian suite ahead on its path.
#[derive(Debug, Parser)]
#[command(name = "with_nft")]
struct Flags {
    /// Debian's suite, by its code name.
    release: Release,
    /// The command.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<String>,
}

/// A suite of Debian, and which nft it has.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Release {
    /// Debian 11: nft 0.9.8.
    Bullseye,
    /// Debian 12: nft 1.0.6.
    Bookworm,
    /// Debian 13: nft 1.1.3.
    Trixie,
    /// Unstable: the newest nft.
    Sid,
}

impl Release {
    fn name(self) -> &'static str {
        match self {
            Self::Bullseye => "bullseye",
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
            Self::Sid => "sid",
        }
    }

    fn archive(self) -> &'static str {
        match self {
            Self::Bullseye => "http://deb.debian.org/debian bullseye main",
            Self::Bookworm => "http://deb.debian.org/debian bookworm main",
            Self::Trixie => "http://deb.debian.org/debian trixie main",
            Self::Sid => "http://deb.debian.org/debian sid main",
        }
    }
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    let error = match prepare(flags.release) {
        Ok(programs) => {
            let (program, arguments) = flags.command.split_first().expect("clap requires one");
            let path = std::env::var("PATH").unwrap_or_default();
            let path = format!("{}:{path}", programs.display());
            format!("{program}: {}", Command::new(program).args(arguments).env("PATH", path).exec())
        }
        Err(error) => error.to_string(),
    };
    eprintln!("with_nft: {error}");
    ExitCode::FAILURE
}

/// The folder with this release's `nft`, which is fetched at the first call.
fn prepare(release: Release) -> Result<PathBuf, Unavailable> {
    let kept = debian::shelf("nft")?;
    fs::create_dir_all(&kept).map_err(unavailable(&kept))?;
    // One fetches, the others wait and find it done.
    let lock = kept.join("lock");
    let _lock = File::create(&lock).and_then(|file| file.lock().map(|()| file)).map_err(unavailable(&lock))?;
    let directory = kept.join(release.name());
    let programs = directory.join("bin");
    if !programs.join("nft").exists() {
        let _ = fs::remove_dir_all(&directory);
        let root = directory.join("root");
        let suite = Suite::open(&directory.join("apt"), release.archive())?;
        suite.unpack(&with_libraries(&suite, "nftables")?, &root)?;
        fs::create_dir_all(&programs).map_err(unavailable(&programs))?;
        write_wrapper(&root, &programs.join("nft"))?;
    }
    Ok(programs)
}

/// A package and all that it must have.
fn with_libraries(suite: &Suite, package: &str) -> Result<Vec<String>, Unavailable> {
    let mut known = BTreeSet::from([package.to_owned()]);
    let mut open = vec![package.to_owned()];
    while let Some(package) = open.pop() {
        for needed in suite.depends(&package)? {
            if known.insert(needed.clone()) {
                open.push(needed);
            }
        }
    }
    Ok(known.into_iter().collect())
}

/// Started by its own loader, for its libraries may be newer than this machine's.
fn write_wrapper(root: &Path, file: &Path) -> Result<(), Unavailable> {
    let folders = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"].map(|folder| root.join(folder));
    let loader = folders.iter().map(|folder| folder.join("ld-linux-x86-64.so.2")).find(|loader| loader.exists());
    let loader = loader.ok_or_else(|| unavailable(root)(io::Error::other("its packages hold no loader")))?;
    let [first, second] = folders.each_ref().map(|folder| folder.display());
    let nft = root.join("usr/sbin/nft");
    let script = format!(
        "#!/bin/sh\nexec '{}' --library-path '{first}:{second}' '{}' \"$@\"\n",
        loader.display(),
        nft.display()
    );
    fs::write(file, script).map_err(unavailable(file))?;
    fs::set_permissions(file, Permissions::from_mode(0o755)).map_err(unavailable(file))
}

fn unavailable(what: &Path) -> impl FnOnce(io::Error) -> Unavailable {
    let what = what.display().to_string();
    move |error| Unavailable { what, reason: error.to_string() }
}
