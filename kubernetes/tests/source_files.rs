//! The file source against a real folder and real inotify.

use std::fs;
use std::os::unix::fs::symlink;
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

#[tokio::test]
async fn everything_there_is_told_before_listed() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("b.yaml"), service("x", 1)).unwrap();
    fs::write(folder.path().join("a.json"), r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"n"}}"#).unwrap();
    fs::write(folder.path().join(".c.yaml"), service("hidden", 1)).unwrap();
    fs::create_dir(folder.path().join("d.yaml")).unwrap();
    assert_eq!(Followed::at(folder.path()).until("listed").await, ["Node n", "x:1", "listed"]);
}

#[tokio::test]
async fn files_are_followed_when_edited_in_place_replaced_renamed_and_deleted() {
    let (_folder, mut followed) = followed(&[("a.yaml", &service("x", 1))]).await;
    followed.write("a.yaml", &service("x", 2));
    assert_eq!(followed.until("x:2").await, ["x:2"]);
    followed.replace("a.yaml", &service("x", 3));
    assert_eq!(followed.until("x:3").await, ["x:3"]);
    followed.write("b.yml", &service("y", 1));
    assert_eq!(followed.until("y:1").await, ["y:1"]);
    fs::rename(followed.path.join("b.yml"), followed.path.join("b.off")).unwrap();
    assert_eq!(followed.until("-y").await, ["-y"]);
    fs::remove_file(followed.path.join("a.yaml")).unwrap();
    assert_eq!(followed.until("-x").await, ["-x"]);
}

#[tokio::test]
async fn a_file_is_read_when_its_writer_has_closed_it() {
    use std::io::Write;

    let (_folder, mut followed) = followed(&[("a.yaml", &service("x", 1))]).await;
    let mut writer = fs::File::create(followed.path.join("a.yaml")).unwrap();
    writer.write_all(service("y", 1).as_bytes()).unwrap();
    followed.write("z.yaml", &service("z", 1));
    assert_eq!(followed.until("z:1").await, ["z:1"], "the half-written file is left alone");
    writer.write_all(service("x", 2).as_bytes()).unwrap();
    drop(writer);
    assert_eq!(followed.until("x:2").await, ["x:2", "y:1"]);
}

#[tokio::test]
async fn a_file_that_is_truncated_and_then_written_deletes_nothing() {
    let (_folder, mut followed) = followed(&[("a.yaml", &service("x", 1))]).await;
    followed.write("a.yaml", "");
    followed.write("z.yaml", &service("z", 1));
    assert_eq!(followed.until("z:1").await, ["z:1"]);
    followed.write("z.yaml", &service("z", 2));
    assert_eq!(followed.until("z:2").await, ["z:2"], "the other file was read twice since the truncation");
    followed.write("a.yaml", &service("x", 2));
    assert_eq!(followed.until("x:2").await, ["x:2"]);
}

#[tokio::test]
async fn a_file_that_stays_empty_holds_nothing() {
    let (_folder, mut followed) = followed(&[("a.yaml", &service("x", 1))]).await;
    followed.write("a.yaml", "");
    assert_eq!(followed.until("-x").await, ["-x"]);
}

#[tokio::test]
async fn a_bad_document_is_named_and_keeps_its_object() {
    let (_folder, mut followed) = followed(&[("a.yaml", &(service("x", 1) + &service("y", 1)))]).await;
    let bad = "---\napiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec:\n  ports: many\n";
    followed.write("a.yaml", &(bad.to_owned() + &service("y", 2)));
    let told = followed.until("! a.yaml:6: Service default/x:").await;
    assert_eq!(told[0], "y:2");
    assert_eq!(told.len(), 2, "{told:?}");
}

#[tokio::test]
async fn a_mounted_config_map_is_followed_when_it_is_swapped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let version = |name: &str, port| {
        fs::create_dir(path.join(name)).unwrap();
        fs::write(path.join(name).join("a.yaml"), service("x", port)).unwrap();
    };
    version("..2026_1", 1);
    symlink("..2026_1", path.join("..data")).unwrap();
    symlink("..data/a.yaml", path.join("a.yaml")).unwrap();
    let mut followed = Followed::at(path);
    assert_eq!(followed.until("listed").await, ["x:1", "listed"]);

    version("..2026_2", 2);
    symlink("..2026_2", path.join("..data_tmp")).unwrap();
    fs::rename(path.join("..data_tmp"), path.join("..data")).unwrap();
    assert_eq!(followed.until("x:2").await, ["x:2"]);
}

#[tokio::test]
async fn a_folder_that_is_moved_away_is_waited_for_and_deletes_nothing() {
    let outer = tempfile::tempdir().unwrap();
    let path = outer.path().join("inner");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("a.yaml"), service("x", 1)).unwrap();
    let mut followed = Followed::at(&path);
    assert_eq!(followed.until("listed").await, ["x:1", "listed"]);

    fs::rename(&path, outer.path().join("away")).unwrap();
    let told = followed.until("folder is gone").await;
    assert_eq!(told.len(), 1, "{told:?}");
    fs::create_dir(outer.path().join("next")).unwrap();
    fs::write(outer.path().join("next/a.yaml"), service("x", 1) + &service("y", 1)).unwrap();
    fs::rename(outer.path().join("next"), &path).unwrap();
    let told = followed.until("y:1").await;
    assert!(!told.contains(&"-x".to_owned()), "{told:?}");
    followed.write("a.yaml", &service("x", 1));
    assert_eq!(followed.until("-y").await, ["-y"]);
}

#[tokio::test]
async fn files_that_are_deleted_with_their_folder_are_gone() {
    let outer = tempfile::tempdir().unwrap();
    let path = outer.path().join("inner");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("a.yaml"), service("x", 1)).unwrap();
    let mut followed = Followed::at(&path);
    followed.until("listed").await;
    fs::remove_dir_all(&path).unwrap();
    followed.until("-x").await;
}

#[tokio::test]
async fn a_folder_that_is_not_there_yet_is_waited_for() {
    let outer = tempfile::tempdir().unwrap();
    let path = outer.path().join("later");
    let mut followed = Followed::at(&path);
    let told = followed.until("waiting for it").await;
    assert_eq!(told.len(), 1, "nothing is listed: {told:?}");
    fs::create_dir(&path).unwrap();
    followed.until("listed").await;
}

#[tokio::test]
async fn events_that_the_kernel_lost_are_made_up_for() {
    let (_folder, mut followed) = followed(&[("a.yaml", &service("x", 1)), ("b.yaml", &service("y", 1))]).await;
    let limit: usize = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
    // Nothing reads meanwhile, as this thread is the runtime's only one; the kernel merges equal events in a row.
    for _ in 0..limit / 2 + 1 {
        followed.write("c.yaml", "");
        followed.write("d.yaml", "");
    }
    fs::remove_file(followed.path.join("a.yaml")).unwrap();
    followed.write("b.yaml", &service("y", 2));
    let told = followed.until("y:2").await;
    assert_eq!(told, ["-x", "y:2"]);
}
