//! Files and folders that cannot be read, hang, or are no files; and a system that has no more to give.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sys::stat::Mode;

use super::{Followed, MOUNTS, alone, followed, may_mount, service};

#[tokio::test]
async fn what_is_no_regular_file_is_named_and_stops_no_other() {
    let (_folder, mut followed) = followed(&[("a.yaml", &service("x", 1)), ("b.yaml", &service("y", 1))]).await;
    nix::unistd::mkfifo(&followed.path.join("bad.yaml"), Mode::S_IRWXU).unwrap();
    symlink("/dev/ptmx", followed.path.join("worse.yaml")).unwrap();
    followed.until("! worse.yaml: is no regular file but a device; ignored").await;
    fs::remove_file(followed.path.join("a.yaml")).unwrap();
    nix::unistd::mkfifo(&followed.path.join("a.yaml.new"), Mode::S_IRWXU).unwrap();
    fs::rename(followed.path.join("a.yaml.new"), followed.path.join("b.yaml")).unwrap();
    let told = followed.until("! b.yaml: is no regular file but a FIFO; its objects are kept").await;
    assert_eq!(told[0], "-x");
    followed.replace("b.yaml", &service("y", 2));
    assert_eq!(followed.until("y:2").await, ["y:2"]);
    followed.replace("bad.yaml", &service("z", 2));
    assert_eq!(followed.until("z:2").await, ["z:2"]);
}

/// A file system in user space whose server never answers, as of a server on a network that is away.
#[tokio::test]
async fn a_file_that_hangs_stops_no_other() {
    if !may_mount() || !Path::new("/dev/fuse").exists() || alone("shortage::a_file_that_hangs_stops_no_other", &MOUNTS)
    {
        return;
    }
    let outer = tempfile::tempdir().unwrap();
    let path = |name: &str| outer.path().join(name);
    fs::create_dir(path("hangs")).unwrap();
    fs::create_dir(path("inner")).unwrap();
    let server = File::options().read(true).write(true).open("/dev/fuse").unwrap();
    let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", server.as_raw_fd());
    mount(Some("hangs"), &path("hangs"), Some("fuse"), MsFlags::empty(), Some(options.as_str())).unwrap();
    fs::write(path("inner/b.yaml"), service("y", 1)).unwrap();
    symlink("../hangs/a.yaml", path("inner/a.yaml")).unwrap();
    let mut followed = Followed::at(&path("inner"));
    let told = followed.until("listed").await;
    let hangs = "! a.yaml: does not answer for 3 s; is it on a network that is away?; ignored";
    assert_eq!(told, ["y:1", hangs, "listed"]);
    followed.write("b.yaml", &service("y", 2));
    assert_eq!(followed.until("y:2").await, ["y:2"]);
    drop(server);
    followed.until("! a.yaml: cannot be read: ").await;
    nix::mount::umount2(&path("hangs"), nix::mount::MntFlags::MNT_DETACH).unwrap();
    fs::write(path("hangs/a.yaml"), service("x", 1)).unwrap();
    followed.until("x:1").await;
}

const FEW: [&str; 3] = ["sh", "-c", "ulimit -n 64; exec \"$0\" \"$@\""];

/// Every descriptor that there still is.
fn all_descriptors() -> Vec<File> {
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

#[tokio::test]
async fn what_changed_while_no_file_could_be_opened_is_read_when_one_can() {
    if alone("shortage::what_changed_while_no_file_could_be_opened_is_read_when_one_can", &FEW) {
        return;
    }
    let names: Vec<String> = (0..21).map(|n| format!("{n:02}.yaml")).collect();
    let (_folder, mut followed) = followed(&[("a.yaml", &service("x", 1))]).await;
    for name in &names {
        followed.write(&format!(".{name}"), &service(&name[..2], 1));
    }
    let all = all_descriptors();
    for name in &names {
        fs::rename(followed.path.join(format!(".{name}")), followed.path.join(name)).unwrap();
    }
    followed.until("Too many open files").await;
    drop(all);
    for name in &names {
        let awaited = format!("{}:1", &name[..2]);
        if !followed.seen.contains(&awaited) {
            let mut before = std::mem::take(&mut followed.seen);
            before.extend(followed.until(&awaited).await);
            followed.seen = before;
        }
    }
}

#[tokio::test]
async fn a_folder_that_could_not_be_listed_at_the_start_is_listed_when_it_can() {
    if alone("shortage::a_folder_that_could_not_be_listed_at_the_start_is_listed_when_it_can", &FEW) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.yaml"), service("x", 1)).unwrap();
    let all = all_descriptors();
    let mut followed = Followed::at(folder.path());
    let told = followed.until("Too many open files").await;
    assert_eq!(told.len(), 1, "{told:?}");
    drop(all);
    assert_eq!(followed.until("listed").await, ["x:1", "listed"]);
    followed.write("a.yaml", &service("x", 2));
    followed.until("x:2").await;
}

#[tokio::test]
async fn a_folder_is_followed_where_no_inotify_instance_is_left() {
    // Of this user namespace alone.
    let script = "echo 0 > /proc/sys/user/max_inotify_instances && exec \"$0\" \"$@\"";
    let wrap = ["unshare", "--user", "--map-root-user", "sh", "-c", script];
    if !may_mount() || alone("shortage::a_folder_is_followed_where_no_inotify_instance_is_left", &wrap) {
        return;
    }
    assert!(inotify::Inotify::init().is_err());
    let (_folder, mut followed) = followed(&[("a.yaml", &service("x", 1))]).await;
    followed.write("a.yaml", &service("x", 2));
    followed.until("x:2").await;
    followed.replace("b.yaml", &service("y", 1));
    followed.until("y:1").await;
    fs::remove_file(followed.path.join("a.yaml")).unwrap();
    assert_eq!(followed.until("-x").await, ["-x"]);
}
