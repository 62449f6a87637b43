//! Other service proxies on this node, as far as they can be seen.
//!
//! A process with the name is one, and a device is there because its program made it. A kube-proxy in another process
//! namespace is not seen; it is noticed later, when it writes its rules again.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::device;
use super::report::Rival;

/// All that can be seen.
pub(super) async fn find_rivals() -> Vec<Rival> {
    let mut rivals: Vec<Rival> = kube_proxy().into_iter().collect();
    for (name, rival) in [("kube-dummy-if", Rival::KubeRouter), ("cilium_host", Rival::Cilium)] {
        // Where links cannot be read, the part that programs the kernel fails and reports it.
        if device::is_there(name).await.unwrap_or(false) {
            rivals.push(rival);
        }
    }
    rivals
}

/// A kube-proxy process in the network namespace of this thread.
pub(super) fn kube_proxy() -> Option<Rival> {
    find_process(Path::new("/proc"), "kube-proxy", namespace(Path::new("/proc/thread-self"))?)
        .map(|process| Rival::KubeProxy { process })
}

/// The inode of a process's network namespace; none if the process has ended, or if this process may not look into it.
fn namespace(process: &Path) -> Option<u64> {
    fs::metadata(process.join("ns/net")).ok().map(|file| file.ino())
}

fn find_process(proc: &Path, name: &str, own: u64) -> Option<u32> {
    fs::read_dir(proc).ok()?.flatten().find_map(|entry| {
        let process = entry.file_name().to_str()?.parse().ok()?;
        let path = entry.path();
        let is_named = fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim_end() == name);
        (is_named && namespace(&path) == Some(own)).then_some(process)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_counts_if_it_has_the_name_and_our_network() {
        let proc = tempfile::tempdir().unwrap();
        let put = |process: &str, comm: &str| {
            let path = proc.path().join(process);
            fs::create_dir_all(path.join("ns")).unwrap();
            fs::write(path.join("comm"), comm).unwrap();
            fs::write(path.join("ns/net"), "").unwrap();
            namespace(&path).unwrap()
        };
        put("self", "kube-proxy\n");
        put("7", "kube-proxy-x\n");
        let (eight, nine) = (put("8", "kube-proxy\n"), put("9", "kube-proxy\n"));
        assert_eq!(find_process(proc.path(), "kube-proxy", eight), Some(8));
        assert_eq!(find_process(proc.path(), "kube-proxy", nine), Some(9));
        assert_eq!(find_process(proc.path(), "kube-proxy", 0), None);
    }
}
