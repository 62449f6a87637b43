//! What the machine's kernel unpacks into memory: `init` (this very program) with its libraries, modules, and the
//! order.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::cpio::Archive;
use super::modules::Module;
use super::order::ORDER_FILE;
use super::{Order, VmError};
use crate::debian;

/// Where the modules lie, named `000-first`, `001-second`, … in load order.
pub(super) const MODULES: &str = "/modules";

/// A machine's first process: a program that calls [`super::become_init`], and its libraries. Their content, since a
/// build may replace the program before the machine starts.
#[derive(Clone, Debug)]
pub struct Init {
    program: Vec<u8>,
    libraries: Vec<(PathBuf, Vec<u8>)>,
}

impl Init {
    /// What lies in `program` now.
    ///
    /// # Errors
    ///
    /// The program or one of its libraries cannot be read.
    pub fn read(program: &Path) -> Result<Self, VmError> {
        let files = libraries(program)?.into_iter().map(|library| read(&library).map(|content| (library, content)));
        Ok(Self { program: read(program)?, libraries: files.collect::<Result<_, _>>()? })
    }
}

/// Packs everything that the machine needs before it can see this machine's files.
pub(super) fn pack(init: &Init, modules: &[Module], order: &Order) -> Result<Vec<u8>, VmError> {
    let mut archive = Archive::default();
    // Without a console the kernel starts init with no standard streams at all.
    archive.device(Path::new("/dev/console"), (5, 1));
    archive.file(Path::new("/init"), &init.program);
    for (library, content) in &init.libraries {
        archive.file(library, content);
    }
    for (index, (name, content)) in modules.iter().enumerate() {
        archive.file(&Path::new(MODULES).join(format!("{index:03}-{name}")), content);
    }
    let order = serde_json::to_vec(order).expect("an order is strings and names");
    archive.file(Path::new(ORDER_FILE), &order);
    for directory in ["/proc", "/sys", "/host", "/layer", "/root"] {
        archive.directory(Path::new(directory));
    }
    Ok(archive.finish())
}

/// `nft`, by which scenarios compare rulesets several times each, and all that its loader opens. Nothing where it is
/// not installed; a test that needs it says so.
pub(super) fn resident() -> Vec<PathBuf> {
    let Some(nft) = debian::on_path("nft") else { return Vec::new() };
    let mut files = libraries(&nft).unwrap_or_default();
    files.extend([nft, PathBuf::from("/etc/ld.so.cache")]);
    files
}

/// The shared libraries of a program and its loader, as the loader itself finds them.
fn libraries(program: &Path) -> Result<Vec<PathBuf>, VmError> {
    let printed = debian::run(&format!("ldd {}", program.display()), Command::new("ldd").arg(program))?;
    let printed = String::from_utf8_lossy(&printed);
    // "libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)", "/lib64/ld-linux-x86-64.so.2 (0x…)"
    let paths = printed.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    Ok(paths.map(PathBuf::from).collect())
}

fn read(file: &Path) -> Result<Vec<u8>, VmError> {
    std::fs::read(file).map_err(VmError::io(format!("read {}", file.display())))
}
