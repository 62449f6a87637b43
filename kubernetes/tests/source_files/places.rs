//! Folders that come, go, are mounted, unmounted and replaced.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount, umount};
use switchyard_kubernetes::source::files::{FollowedFiles, Seen};
use tokio::time::timeout;

use super::{Followed, MOUNTS, alone, followed, may_mount, service};

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

/// The notice of the file comes before its folder is removed, the look after.
#[tokio::test]
async fn a_file_that_is_deleted_is_gone_though_its_folder_is_too_when_it_is_looked_at() {
    let outer = tempfile::tempdir().unwrap();
    let path = outer.path().join("inner");
    fs::create_dir(&path).unwrap();
    for name in ["a.yaml", "b.yaml"] {
        fs::write(path.join(name), service("x", 1)).unwrap();
    }
    let mut files = FollowedFiles::in_folder(path.clone());
    look_until(&mut files, &Seen::All).await;
    fs::remove_file(path.join("a.yaml")).unwrap();
    files.changed().await;
    fs::rename(&path, outer.path().join("away")).unwrap();
    let seen = look_until(&mut files, &Seen::Gone { name: "a.yaml".to_owned() }).await;
    assert!(!seen.contains(&Seen::Gone { name: "b.yaml".to_owned() }), "it went away with its folder: {seen:?}");
}

/// What is seen, up to what is awaited.
async fn look_until(files: &mut FollowedFiles, awaited: &Seen) -> Vec<Seen> {
    let mut seen = Vec::new();
    let looking = async {
        files.look(&mut |one| seen.push(one)).await;
        while !seen.contains(awaited) {
            files.changed().await;
            files.look(&mut |one| seen.push(one)).await;
        }
    };
    let outcome = timeout(Duration::from_secs(10), looking).await;
    assert!(outcome.is_ok(), "waited in vain for {awaited:?}, seen were {seen:?}");
    seen
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

fn mount_tmpfs(path: &Path) {
    mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), None::<&Path>).unwrap();
}

/// As soon as no file of it is open any more.
async fn unmount(path: &Path) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while umount(path).is_err() {
        assert!(Instant::now() < deadline, "cannot be unmounted");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_unmounted_folder_deletes_nothing() {
    if !may_mount() || alone("places::an_unmounted_folder_deletes_nothing", &MOUNTS) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    mount_tmpfs(path);
    fs::write(path.join("a.yaml"), service("x", 1) + &service("y", 1)).unwrap();
    let mut followed = Followed::at(path);
    followed.until("listed").await;

    unmount(path).await;
    let told = followed.until("another one than before").await;
    assert_eq!(told.len(), 1, "{told:?}");
    mount_tmpfs(path);
    fs::write(path.join("b.yaml"), service("z", 1)).unwrap();
    assert_eq!(followed.until("z:1").await, ["z:1"], "what is not there yet is not gone");
    fs::write(path.join("c.yaml"), service("x", 2)).unwrap();
    followed.until("-y").await;
    unmount(path).await;
    followed.until("another one than before").await;
}

/// Two folders, and a link to the first of them. Returns what switches it to the second.
fn switchable(outer: &Path) -> impl Fn() {
    fs::create_dir_all(outer.join("1/inner")).unwrap();
    fs::create_dir_all(outer.join("2/inner")).unwrap();
    fs::write(outer.join("1/inner/a.yaml"), service("x", 1)).unwrap();
    fs::write(outer.join("1/inner/b.yaml"), service("y", 1)).unwrap();
    fs::write(outer.join("2/inner/a.yaml"), service("x", 2)).unwrap();
    symlink("1", outer.join("now")).unwrap();
    let outer = outer.to_owned();
    move || {
        symlink("2", outer.join("next")).unwrap();
        fs::rename(outer.join("next"), outer.join("now")).unwrap();
    }
}

#[tokio::test]
async fn a_link_of_the_folders_path_that_is_switched_is_followed() {
    let outer = tempfile::tempdir().unwrap();
    let switch = switchable(outer.path());
    let mut followed = Followed::at(&outer.path().join("now/inner"));
    followed.until("listed").await;
    switch();
    assert_eq!(followed.until("-y").await, ["x:2", "-y"]);
    fs::write(outer.path().join("2/inner/a.yaml"), service("x", 3)).unwrap();
    followed.until("x:3").await;
}

#[tokio::test]
async fn a_link_out_of_the_folder_is_followed_and_its_missing_target_deletes_nothing() {
    let outer = tempfile::tempdir().unwrap();
    fs::create_dir(outer.path().join("inner")).unwrap();
    let target = outer.path().join("target");
    fs::write(&target, service("x", 1)).unwrap();
    symlink("../target", outer.path().join("inner/a.yaml")).unwrap();
    let mut followed = Followed::at(&outer.path().join("inner"));
    followed.until("listed").await;
    fs::write(&target, service("x", 2)).unwrap();
    assert_eq!(followed.until("x:2").await, ["x:2"]);
    fs::rename(&target, outer.path().join("away")).unwrap();
    let told = followed.until("a link to what is not there; its objects are kept").await;
    assert_eq!(told.len(), 1, "{told:?}");
    fs::write(&target, service("x", 3)).unwrap();
    assert_eq!(followed.until("x:3").await, ["x:3"]);
    fs::remove_file(outer.path().join("inner/a.yaml")).unwrap();
    assert_eq!(followed.until("-x").await, ["-x"]);
}

#[tokio::test]
async fn the_last_file_of_a_folder_can_be_deleted() {
    let (_folder, mut followed) = followed(&[("a.yaml", &service("x", 1))]).await;
    fs::remove_file(followed.path.join("a.yaml")).unwrap();
    assert_eq!(followed.until("-x").await, ["-x"]);
}
