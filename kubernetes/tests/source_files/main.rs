//! The file source against real folders, real mounts and real inotify.

mod changes;
mod places;
mod shortage;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use switchyard_kubernetes::objects::Object;
use switchyard_kubernetes::source::{Event, channel, files};
use tempfile::TempDir;
use tokio::sync::mpsc::Receiver;

/// A followed folder and what was told of it.
struct Followed {
    path: PathBuf,
    told: Receiver<Vec<Event>>,
    seen: Vec<String>,
}

impl Followed {
    fn at(path: &Path) -> Self {
        let (sender, told) = channel();
        tokio::spawn(files::watch_folder(path.to_owned(), sender));
        Self { path: path.to_owned(), told, seen: Vec::new() }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path.join(name), text).unwrap();
    }

    fn replace(&self, name: &str, text: &str) {
        self.write(".new", text);
        fs::rename(self.path.join(".new"), self.path.join(name)).unwrap();
    }

    /// Waits until an event is told whose words contain `awaited`, and returns all that was told until then.
    async fn until(&mut self, awaited: &str) -> Vec<String> {
        while !self.seen.iter().any(|word| word.contains(awaited)) {
            match tokio::time::timeout(Duration::from_secs(10), self.told.recv()).await {
                Ok(Some(events)) => self.seen.extend(events.iter().map(words)),
                _ => panic!("{awaited:?} was not told, but {:?}", self.seen),
            }
        }
        std::mem::take(&mut self.seen)
    }
}

/// A folder with these files, followed, and listed.
async fn followed(files: &[(&str, &str)]) -> (TempDir, Followed) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let mut followed = Followed::at(folder.path());
    followed.until("listed").await;
    (folder, followed)
}

/// An event in a few words.
fn words(event: &Event) -> String {
    match event {
        Event::Changed(object) => match object {
            Object::Service(service) => format!("{}:{}", service.metadata.name, service.spec.ports[0].port),
            other => other.key().to_string(),
        },
        Event::Deleted(key) => format!("-{}", key.name),
        Event::Anew => "anew".to_owned(),
        Event::Listed => "listed".to_owned(),
        Event::Trouble(trouble) => format!("! {trouble}"),
    }
}

fn service(name: &str, port: u16) -> String {
    format!("---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: {port}}}]}}\n")
}

/// Plays the test `name` in a process of its own, begun by the command `wrap`, and returns whether this is the outer
/// process, which has nothing more to do.
fn alone(name: &str, wrap: &[&str]) -> bool {
    const ALONE: &str = "SWITCHYARD_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return false;
    }
    let (first, rest) = wrap.split_first().unwrap();
    let mut command = std::process::Command::new(first);
    command.args(rest).arg(std::env::current_exe().unwrap()).args(["--exact", name, "--nocapture"]);
    let output = command.env(ALONE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    true
}

/// Whether this process may mount.
fn may_mount() -> bool {
    let may = nix::unistd::geteuid().is_root() && Path::new("/proc/self/ns/mnt").exists();
    if !may {
        eprintln!("skipped: not root");
    }
    may
}

/// A mount namespace of its own, whose mounts end with it.
const MOUNTS: [&str; 3] = ["unshare", "--mount", "--propagation=private"];
