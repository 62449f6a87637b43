//! Reads names and texts from the folder.

use std::collections::BTreeSet;
use std::io::{Error, ErrorKind};
use std::path::Path;

/// What became of an attempt to read a file.
pub(super) enum Reading {
    Text(String),
    /// It is not there, or it is no file.
    Gone,
    Failed(Error),
}

/// Names of the files in `folder` that count.
pub(super) fn names(folder: &Path) -> Result<BTreeSet<String>, Error> {
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(folder)? {
        if let Ok(name) = entry?.file_name().into_string()
            && counts(&name)
        {
            names.insert(name);
        }
    }
    Ok(names)
}

/// Whether a file of this name counts: YAML or JSON, and not hidden.
pub(super) fn counts(name: &str) -> bool {
    let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
    !name.starts_with('.') && matches!(extension, Some("yaml" | "yml" | "json"))
}

/// Reads the file `name`, through symbolic links.
pub(super) fn read(folder: &Path, name: &str) -> Reading {
    match std::fs::read_to_string(folder.join(name)) {
        Ok(text) => Reading::Text(text),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::IsADirectory) => Reading::Gone,
        Err(error) => Reading::Failed(error),
    }
}

#[cfg(test)]
mod tests {
    use super::counts;

    #[test]
    fn hidden_files_and_other_formats_do_not_count() {
        for name in ["a.yaml", "a.yml", "a.json", "a.b.yaml"] {
            assert!(counts(name), "{name}");
        }
        for name in [".a.yaml", "..data", ".a.yaml.swp", "a.yaml~", "a.txt", "yaml", "4913"] {
            assert!(!counts(name), "{name}");
        }
    }
}
