//! Puts the scenarios and the clusters that they name into the program, so that a packaged crate has them too.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let mut code = String::new();
    for (constant, folder) in [("SCENARIOS", "scenarios"), ("CLUSTERS", "clusters")] {
        println!("cargo::rerun-if-changed={folder}");
        writeln!(code, "pub(crate) const {constant}: &[(&str, &str, &str)] = &[").expect("a String");
        for (group, file) in files(Path::new(folder))? {
            let (path, name) = (file.canonicalize()?, file.file_name().expect("a file").display().to_string());
            writeln!(code, "    ({group:?}, {name:?}, include_str!({path:?})),").expect("a String");
        }
        code.push_str("];\n");
    }
    fs::write(out.join("embedded.rs"), code)
}

/// Every file of a folder's folders, in order, each with the name of its own.
fn files(folder: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    for group in entries(folder)? {
        println!("cargo::rerun-if-changed={}", group.display());
        let name = group.file_name().expect("a folder").display().to_string();
        files.extend(entries(&group)?.into_iter().map(|file| (name.clone(), file)));
    }
    Ok(files)
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    entries.sort();
    Ok(entries)
}
