//! The files that say how to reach the API: read within bounds, and known again.
//!
//! They are looked at again and again instead of being watched: they are a handful, a look costs some microseconds, and
//! it works on every file system and through every link, Kubernetes' `..data` too.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::fcntl::OFlag;

/// The largest file that is read. Kubeconfigs of many clusters have some hundred KiB.
const LARGEST: u64 = 4 << 20;

/// A file that was changed so shortly before it was read may have been changed once more in the same tick of the
/// kernel's clock, of which its times show nothing.
const TICK: Duration = Duration::from_millis(50);

/// The files that were read, and what stood there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::source::api) struct SeenFiles(BTreeMap<PathBuf, Stood>);

/// What stood at a path, after following links.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stood {
    Nothing,
    A(Identity),
    /// It was being changed: it has to be read once more.
    Unsettled,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl SeenFiles {
    /// Reads the file at `path` to its end. It need not be there for being remembered.
    pub(super) fn read(&mut self, path: &Path) -> Result<Vec<u8>, String> {
        self.0.insert(path.to_owned(), Stood::at(path));
        // Before it is opened: a device may do something when it is.
        regular(&fs::metadata(path).map_err(|error| error.to_string())?)?;
        let open = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path);
        let file = open.map_err(|error| error.to_string())?;
        let metadata = file.metadata().map_err(|error| error.to_string())?;
        self.0.insert(path.to_owned(), Stood::of(&metadata));
        regular(&metadata)?;
        whole(file).map_err(|error| error.to_string())?.ok_or_else(|| format!("is larger than {LARGEST} bytes"))
    }

    /// Looks whether another file stands at one of the paths, or the same one with another content; what stands there
    /// now is remembered.
    pub(in crate::source::api) fn look_again(&mut self) -> Change {
        let mut change = Change::None;
        for (path, stood) in &mut self.0 {
            let stands = Stood::at(path);
            if *stood != stands || stands == Stood::Unsettled {
                (*stood, change) = (stands, Change::Some);
            }
        }
        change
    }
}

/// Whether something has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source::api) enum Change {
    None,
    Some,
}

impl Stood {
    fn at(path: &Path) -> Self {
        fs::metadata(path).map_or(Self::Nothing, |metadata| Self::of(&metadata))
    }

    fn of(metadata: &Metadata) -> Self {
        let changed = SystemTime::UNIX_EPOCH
            + Duration::new(
                metadata.ctime().try_into().unwrap_or_default(),
                metadata.ctime_nsec().try_into().unwrap_or_default(),
            );
        // A clock that was set back must not make a file unsettled for ever.
        match changed.elapsed() {
            Ok(age) if age < TICK => Self::Unsettled,
            Ok(_) | Err(_) => Self::A(Identity {
                device: metadata.dev(),
                inode: metadata.ino(),
                size: metadata.size(),
                modified: (metadata.mtime(), metadata.mtime_nsec()),
                changed: (metadata.ctime(), metadata.ctime_nsec()),
            }),
        }
    }
}

/// A pipe would be waited for, and a device may be endless.
fn regular(metadata: &Metadata) -> Result<(), String> {
    if metadata.is_file() { Ok(()) } else { Err("is no regular file".to_owned()) }
}

fn whole(file: File) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= LARGEST).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::time::Instant;

    use super::*;

    /// Looks until nothing is unsettled.
    fn settle(seen: &mut SeenFiles) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while seen.look_again() == Change::Some {
            assert!(Instant::now() < deadline, "files that are not written settle");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// How a file is changed.
    type Act = fn(&Path);

    #[test]
    fn every_way_of_changing_a_file_is_noticed_and_reading_it_is_not() {
        let acts: [(&str, Act); 6] = [
            ("written, of another size", |folder| fs::write(folder.join("token"), "longer").unwrap()),
            ("written, of the same size", |folder| fs::write(folder.join("token"), "LONGER").unwrap()),
            ("replaced by another", |folder| {
                fs::write(folder.join("new"), "LONGER").unwrap();
                fs::rename(folder.join("new"), folder.join("token")).unwrap();
            }),
            ("removed", |folder| fs::remove_file(folder.join("token")).unwrap()),
            ("there again", |folder| fs::write(folder.join("token"), "second").unwrap()),
            ("another folder under the link", |folder| {
                fs::create_dir(folder.join("..second")).unwrap();
                fs::write(folder.join("..second/ca.crt"), "b").unwrap();
                symlink("..second", folder.join("..tmp")).unwrap();
                fs::rename(folder.join("..tmp"), folder.join("..data")).unwrap();
            }),
        ];
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        fs::write(folder.join("token"), "first").unwrap();
        fs::create_dir(folder.join("..first")).unwrap();
        fs::write(folder.join("..first/ca.crt"), "a").unwrap();
        symlink("..first", folder.join("..data")).unwrap();
        symlink("..data/ca.crt", folder.join("ca.crt")).unwrap();
        let mut seen = SeenFiles::default();
        for (what, act) in acts {
            for name in ["token", "ca.crt"] {
                let _ = seen.read(&folder.join(name));
            }
            settle(&mut seen);
            act(folder);
            assert_eq!(seen.look_again(), Change::Some, "{what}");
        }
        assert_eq!(seen.read(&folder.join("ca.crt")), Ok(b"b".to_vec()));
    }

    #[test]
    fn what_is_no_regular_file_or_too_large_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let large = folder.path().join("large");
        File::create(&large).unwrap().set_len(LARGEST + 1).unwrap();
        let mut seen = SeenFiles::default();
        for (path, expected) in [
            (pipe.as_path(), "is no regular file"),
            (folder.path(), "is no regular file"),
            (Path::new("/dev/zero"), "is no regular file"),
            (large.as_path(), "is larger than"),
            (Path::new("/none"), "No such file"),
        ] {
            let error = seen.read(path).unwrap_err();
            assert!(error.contains(expected), "{}: {error}", path.display());
        }
    }
}
