//! Writes the archive that a kernel unpacks as its first file system: cpio, format `newc`
//! (`Documentation/driver-api/early-userspace/buffer-format.rst` of the kernel).
//!
//! Apart from what is put in, because the format is a page of arithmetic and pure.

use std::collections::BTreeSet;
use std::path::Path;

const DIRECTORY: u32 = 0o040_755;
const EXECUTABLE: u32 = 0o100_755;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// An archive that grows.
#[derive(Debug, Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    directories: BTreeSet<String>,
    /// Files are told apart by number; two of the same number would be hard links.
    inodes: u32,
}

impl Archive {
    /// Adds a file, readable and executable for all, and the directories above it.
    pub(super) fn file(&mut self, path: &Path, content: &[u8]) {
        self.parents(path);
        self.entry(&relative(path), EXECUTABLE, (0, 0), content);
    }

    /// Adds an empty directory and those above it.
    pub(super) fn directory(&mut self, path: &Path) {
        self.parents(path);
        let name = relative(path);
        if !name.is_empty() && self.directories.insert(name.clone()) {
            self.entry(&name, DIRECTORY, (0, 0), &[]);
        }
    }

    /// Adds a character device by its major and minor number.
    pub(super) fn device(&mut self, path: &Path, number: (u32, u32)) {
        self.parents(path);
        self.entry(&relative(path), CHARACTER_DEVICE, number, &[]);
    }

    /// The whole archive.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn parents(&mut self, path: &Path) {
        if let Some(parent) = path.parent() {
            self.directory(parent);
        }
    }

    fn entry(&mut self, name: &str, mode: u32, (major, minor): (u32, u32), content: &[u8]) {
        self.inodes += 1;
        let size = u32::try_from(content.len()).expect("no file here reaches 4 GiB");
        let name_size = u32::try_from(name.len() + 1).expect("a path is short");
        // inode, mode, uid, gid, links, mtime, size, device of the file (2), device that it is (2), name, checksum
        let fields = [self.inodes, mode, 0, 0, 1, 0, size, 0, 0, major, minor, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

fn relative(path: &Path) -> String {
    path.to_string_lossy().trim_start_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_come_once_and_before_what_is_in_them() {
        let mut archive = Archive::default();
        archive.file(Path::new("/a/b/one"), b"1");
        archive.file(Path::new("/a/two"), b"22");
        assert_eq!(names(&archive.finish()), ["a", "a/b", "a/b/one", "a/two", "TRAILER!!!"]);
    }

    #[test]
    fn content_starts_at_a_multiple_of_four() {
        let mut archive = Archive::default();
        archive.file(Path::new("/x"), b"content");
        let bytes = archive.finish();
        let at = bytes.windows(7).position(|window| window == b"content").unwrap();
        assert_eq!(at % 4, 0);
        assert_eq!(bytes.len() % 4, 0);
    }

    /// Reads the names back by the format's own rules.
    fn names(mut bytes: &[u8]) -> Vec<String> {
        let mut names = Vec::new();
        while bytes.len() >= 110 {
            let (size, name_size) = (field(bytes, 6), field(bytes, 11));
            names.push(String::from_utf8(bytes[110..110 + name_size - 1].to_vec()).unwrap());
            let body = (110 + name_size).next_multiple_of(4);
            bytes = &bytes[(body + size).next_multiple_of(4)..];
        }
        names
    }

    fn field(bytes: &[u8], index: usize) -> usize {
        let text = std::str::from_utf8(&bytes[6 + index * 8..14 + index * 8]).unwrap();
        usize::from_str_radix(text, 16).unwrap()
    }
}
