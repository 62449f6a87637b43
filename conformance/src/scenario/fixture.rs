//! Whole clusters by name, as files for the agent's folder: the examples of `deploy/`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

/// The files of `deploy/examples/<name>`.
///
/// # Errors
/// There is no such example.
pub fn fixture(name: &str) -> io::Result<BTreeMap<String, String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples").join(name);
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("cluster {name}: {}: {error}", folder.display()));
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(&folder).map_err(named)? {
        let entry = entry.map_err(named)?;
        let text = fs::read_to_string(entry.path()).map_err(named)?;
        files.insert(entry.file_name().to_string_lossy().into_owned(), text);
    }
    Ok(files)
}
