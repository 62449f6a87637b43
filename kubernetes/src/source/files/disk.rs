//! A folder and its files, as the kernel answers for them. Every call here may hang as long as its file system does.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, stat};

/// The largest file that is read: several times what 50,000 services and their endpoints take.
const LARGEST: u64 = 256 << 20;

/// How close to its last change a file may have been read, for a later change to have the same time.
const TICK: Duration = Duration::from_millis(50);

/// Which files of a folder are followed.
#[derive(Clone, Debug)]
pub(super) enum Which {
    /// Those that hold objects: YAML and JSON, not hidden.
    Objects,
    /// The one of this name.
    Named(String),
}

/// Which folder or file it is, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

/// What changes when a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    identity: Identity,
    size: i64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// A folder that is open, so that all its files are of one folder, whatever is mounted or renamed meanwhile.
pub(super) struct OpenFolder {
    folder: OwnedFd,
    pub(super) identity: Identity,
}

/// What became of an attempt to read a file.
#[derive(Debug)]
pub(super) enum Found {
    Text {
        stamp: Stamp,
        text: String,
    },
    /// It is not there, or it is a folder.
    Gone,
    /// It is a link to what is not there.
    Dangling,
    Failed(String),
}

/// The folder's files that count, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listing {
    pub(super) identity: Identity,
    pub(super) names: BTreeSet<String>,
}

impl Identity {
    fn of(stat: &FileStat) -> Self {
        Self { device: stat.st_dev, inode: stat.st_ino }
    }

    /// Of what is at `path`, through links.
    pub(super) fn at(path: &Path) -> Result<Self, Errno> {
        Ok(Self::of(&stat(path)?))
    }
}

impl Stamp {
    fn of(stat: &FileStat) -> Self {
        Self {
            identity: Identity::of(stat),
            size: stat.st_size,
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    /// Whether the file has not changed for so long that the next change has another time.
    pub(super) fn is_old(&self) -> bool {
        let (seconds, nanoseconds) = self.changed;
        let changed = UNIX_EPOCH + Duration::new(seconds.try_into().unwrap_or(0), nanoseconds.try_into().unwrap_or(0));
        // Another machine's clock may be ahead.
        match SystemTime::now().duration_since(changed) {
            Ok(age) => age > TICK,
            Err(ahead) => ahead.duration() > TICK,
        }
    }
}

impl OpenFolder {
    pub(super) fn at(path: &Path) -> Result<Self, Errno> {
        let folder = open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        let identity = Identity::of(&fstat(&folder)?);
        Ok(Self { folder, identity })
    }

    /// The stamp of the file `name`, if it can be had.
    pub(super) fn stamp(&self, name: &str) -> Option<Stamp> {
        fstatat(&self.folder, name, AtFlags::empty()).ok().map(|stat| Stamp::of(&stat))
    }

    /// Reads the file `name`, through symbolic links.
    pub(super) fn read(&self, name: &str) -> Found {
        match self.text(name) {
            Ok((stamp, text)) => Found::Text { stamp, text },
            Err(NotText::Errno(Errno::ENOENT)) if self.is_link(name) => Found::Dangling,
            Err(NotText::Errno(Errno::ENOENT) | NotText::Folder) => Found::Gone,
            Err(NotText::Errno(errno)) => Found::Failed(format!("cannot be read: {}", errno.desc())),
            Err(NotText::Other(reason)) => Found::Failed(reason),
        }
    }

    fn is_link(&self, name: &str) -> bool {
        fstatat(&self.folder, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
    }

    fn text(&self, name: &str) -> Result<(Stamp, String), NotText> {
        // Before it is opened: to open a device or a FIFO does something to it.
        NotText::check(&fstatat(&self.folder, name, AtFlags::empty())?)?;
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let file = openat(&self.folder, name, flags, Mode::empty())?;
        let stat = fstat(&file)?;
        NotText::check(&stat)?;
        let mut bytes = Vec::with_capacity(usize::try_from(stat.st_size).unwrap_or(0));
        match File::from(file).take(LARGEST + 1).read_to_end(&mut bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(NotText::Other(ENDLESS.to_owned())),
            Err(error) => return Err(Errno::from_raw(error.raw_os_error().unwrap_or(0)).into()),
            Ok(_) if bytes.len() as u64 > LARGEST => return Err(NotText::large()),
            Ok(_) => {}
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
            NotText::Other(format!("is no UTF-8 text: line {line} has another byte"))
        })?;
        Ok((Stamp::of(&stat), text))
    }
}

const ENDLESS: &str = "is no regular file: it has no end";

/// Why a file has no text.
enum NotText {
    Errno(Errno),
    Folder,
    Other(String),
}

impl NotText {
    /// Refuses what is no regular file, or too large.
    fn check(stat: &FileStat) -> Result<(), Self> {
        let kind = match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
            SFlag::S_IFREG if stat.st_size.unsigned_abs() > LARGEST => return Err(Self::large()),
            SFlag::S_IFREG => return Ok(()),
            SFlag::S_IFDIR => return Err(Self::Folder),
            SFlag::S_IFIFO => "a FIFO",
            SFlag::S_IFSOCK => "a socket",
            _ => "a device",
        };
        Err(Self::Other(format!("is no regular file but {kind}")))
    }

    fn large() -> Self {
        Self::Other(format!("is larger than {} MiB, divide it", LARGEST >> 20))
    }
}

impl From<Errno> for NotText {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

/// The files in the folder `path` that count.
pub(super) fn list(path: &Path, which: &Which) -> Result<Listing, Errno> {
    let identity = Identity::at(path)?;
    if let Which::Named(name) = which {
        return Ok(Listing { identity, names: BTreeSet::from([name.clone()]) });
    }
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(path).map_err(errno)? {
        if let Ok(name) = entry.map_err(errno)?.file_name().into_string()
            && which.has(&name)
        {
            names.insert(name);
        }
    }
    // Another folder in its place meanwhile: as if the listing had failed.
    if Identity::at(path)? == identity { Ok(Listing { identity, names }) } else { Err(Errno::ESTALE) }
}

/// The error number of a call that failed.
pub(super) fn errno(error: std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}

impl Which {
    /// Whether a file of this name counts.
    pub(super) fn has(&self, name: &str) -> bool {
        match self {
            Self::Objects => {
                let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
                !name.starts_with('.') && matches!(extension, Some("yaml" | "yml" | "json"))
            }
            Self::Named(one) => one == name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_files_and_other_formats_do_not_count() {
        for name in ["a.yaml", "a.yml", "a.json", "a.b.yaml"] {
            assert!(Which::Objects.has(name), "{name}");
        }
        for name in [".a.yaml", "..data", ".a.yaml.swp", "a.yaml~", "a.txt", "yaml", "4913"] {
            assert!(!Which::Objects.has(name), "{name}");
        }
    }

    #[test]
    fn only_regular_files_are_read_and_each_says_why_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        nix::unistd::mkfifo(&path("fifo"), Mode::S_IRWXU).unwrap();
        std::fs::write(path("text"), "a: b\n").unwrap();
        std::fs::write(path("latin"), b"a: b\nb: \xe4\n").unwrap();
        std::fs::create_dir(path("folder")).unwrap();
        File::create(path("sparse")).unwrap().set_len(1 << 40).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        for (name, target) in [
            ("null", "/dev/null"),
            ("ptmx", "/dev/ptmx"),
            ("nowhere", "nothing"),
            ("circle", "circle"),
            ("link", "text"),
        ] {
            std::os::unix::fs::symlink(target, path(name)).unwrap();
        }
        for (name, expected) in [
            ("fifo", "Failed(\"is no regular file but a FIFO\")"),
            ("socket", "Failed(\"is no regular file but a socket\")"),
            ("null", "Failed(\"is no regular file but a device\")"),
            ("ptmx", "Failed(\"is no regular file but a device\")"),
            ("latin", "Failed(\"is no UTF-8 text: line 2 has another byte\")"),
            ("sparse", "Failed(\"is larger than 256 MiB, divide it\")"),
            ("circle", "Failed(\"cannot be read: Too many symbolic links encountered\")"),
            ("folder", "Gone"),
            ("missing", "Gone"),
            ("nowhere", "Dangling"),
            ("text", "Text"),
            ("link", "Text"),
        ] {
            let found = format!("{:?}", OpenFolder::at(folder.path()).unwrap().read(name));
            assert!(found.starts_with(expected), "{name}: {found}");
        }
    }
}
