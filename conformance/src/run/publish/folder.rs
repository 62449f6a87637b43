//! Objects as files in a folder that the agent watches.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use crate::scenario::Cluster;

/// A folder of its own, which is removed in the end.
pub(in crate::run) struct Folder {
    path: PathBuf,
    contents: BTreeMap<String, String>,
}

impl Folder {
    pub(super) fn new() -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let serial = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("switchyard-conformance-{}-{serial}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self { path, contents: BTreeMap::new() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the folder hold these objects and files; those that stay the same are not touched.
    pub(super) fn hold(&mut self, cluster: &Cluster, files: &BTreeMap<String, String>) -> io::Result<()> {
        let mut contents = files.clone();
        contents.extend(cluster.objects().map(|(id, object)| {
            let name = format!("{}-{}-{}.json", id.kind, id.namespace, id.name).to_lowercase();
            (name, object.to_string())
        }));
        let gone: BTreeSet<_> = self.contents.keys().filter(|name| !contents.contains_key(*name)).cloned().collect();
        for (name, text) in &contents {
            if self.contents.get(name) != Some(text) {
                self.write(name, text)?;
            }
        }
        for name in gone {
            fs::remove_file(self.path.join(name))?;
        }
        self.contents = contents;
        Ok(())
    }

    /// Writes the marker, after everything else.
    pub(super) fn mark(&self, marker: &Value) -> io::Result<()> {
        self.write("zz-marker.json", &marker.to_string())
    }

    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let (hidden, place): (PathBuf, &Path) = (self.path.join(format!(".{name}.new")), &self.path.join(name));
        fs::write(&hidden, text)?;
        fs::rename(hidden, place)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}
