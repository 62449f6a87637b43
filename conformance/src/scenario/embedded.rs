//! The suite's own scenarios and the clusters that they name, as `build.rs` found them: topic or cluster, file name,
//! text.

use std::collections::BTreeMap;

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// The files of the cluster of this name, for the agent's folder.
///
/// # Errors
/// There is no such cluster.
pub fn cluster(name: &str) -> Result<BTreeMap<String, String>, String> {
    let files = CLUSTERS.iter().filter(|(cluster, ..)| *cluster == name);
    let files: BTreeMap<_, _> = files.map(|(_, file, text)| ((*file).to_owned(), (*text).to_owned())).collect();
    if files.is_empty() { Err(format!("cluster {name}: there is none of this name in clusters/")) } else { Ok(files) }
}
