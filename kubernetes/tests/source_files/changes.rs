//! Every way by which a file can appear, change and go.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::linkat;

use super::{Followed, MOUNTS, alone, followed, may_mount, service};

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
    followed.replace("a.yaml", &(bad.to_owned() + &service("y", 2)));
    let told = followed.until("! a.yaml:6: Service default/x:").await;
    assert_eq!(told[0], "y:2");
    assert_eq!(told.len(), 2, "{told:?}");
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

#[tokio::test]
async fn a_file_that_is_put_in_place_by_a_link_is_read() {
    let (_folder, mut followed) = followed(&[]).await;
    for port in 1..30 {
        let _ = fs::remove_file(followed.path.join("a.yaml"));
        followed.write(".new", &service("x", port));
        fs::hard_link(followed.path.join(".new"), followed.path.join("a.yaml")).unwrap();
        fs::remove_file(followed.path.join(".new")).unwrap();
        followed.until(&format!("x:{port}")).await;
    }
}

#[tokio::test]
async fn a_file_without_a_name_that_is_given_one_is_read() {
    let (_folder, mut followed) = followed(&[]).await;
    for port in 1..30 {
        let _ = fs::remove_file(followed.path.join("a.yaml"));
        let nameless = open(&followed.path, OFlag::O_TMPFILE | OFlag::O_WRONLY, Mode::S_IRWXU).unwrap();
        let mut nameless = File::from(nameless);
        nameless.write_all(service("x", port).as_bytes()).unwrap();
        let proc = format!("/proc/self/fd/{}", nameless.as_raw_fd());
        let name = followed.path.join("a.yaml");
        linkat(AT_FDCWD, proc.as_str(), AT_FDCWD, &name, AtFlags::AT_SYMLINK_FOLLOW).unwrap();
        followed.until(&format!("x:{port}")).await;
    }
}

#[tokio::test]
async fn a_file_that_is_cut_or_never_closed_is_read_when_its_writer_pauses() {
    let two = service("x", 1) + &service("y", 1);
    let (_folder, mut followed) = followed(&[("a.yaml", &two), ("b.yaml", &service("z", 1))]).await;
    nix::unistd::truncate(&followed.path.join("a.yaml"), service("x", 1).len().try_into().unwrap()).unwrap();
    let mut writer = File::create(followed.path.join("b.yaml")).unwrap();
    writer.write_all(service("z", 2).as_bytes()).unwrap();
    assert_eq!(followed.until("z:2").await, ["-y", "z:2"]);
    drop(writer);
}

/// Nothing is closed and inotify says nothing.
#[tokio::test]
async fn a_file_that_is_changed_in_mapped_memory_is_read() {
    if std::process::Command::new("python3").arg("--version").output().is_err() {
        eprintln!("skipped: python3 is missing");
        return;
    }
    let (_folder, mut followed) = followed(&[("a.yaml", &service("x", 1))]).await;
    let script = "import mmap, sys, time\nf = open(sys.argv[1], 'r+b')\nm = mmap.mmap(f.fileno(), 0)\n\
                  m[:] = m[:].replace(b'port: 1', b'port: 2')\nprint(flush=True)\nsys.stdin.read()\n";
    let mut writer = std::process::Command::new("python3");
    writer.args(["-c", script]).arg(followed.path.join("a.yaml"));
    let mut writer = writer.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::null()).spawn().unwrap();
    assert_eq!(followed.until("x:2").await, ["x:2"]);
    drop(writer.stdin.take());
    writer.wait().unwrap();
}

#[tokio::test]
async fn a_touched_file_is_not_told_again() {
    let (_folder, mut followed) = followed(&[("a.yaml", &(service("x", 1) + "---\nkind: Service\n"))]).await;
    File::options()
        .append(true)
        .open(followed.path.join("a.yaml"))
        .unwrap()
        .set_modified(std::time::SystemTime::now())
        .unwrap();
    followed.write("b.yaml", &service("y", 1));
    assert_eq!(followed.until("y:1").await, ["y:1"]);
}

#[tokio::test]
async fn a_file_that_something_is_mounted_over_is_read() {
    if !may_mount() || alone("changes::a_file_that_something_is_mounted_over_is_read", &MOUNTS) {
        return;
    }
    let (_folder, mut followed) = followed(&[("a.yaml", &service("x", 1))]).await;
    let other = tempfile::NamedTempFile::new().unwrap();
    fs::write(other.path(), service("x", 2)).unwrap();
    let flags = nix::mount::MsFlags::MS_BIND;
    nix::mount::mount(Some(other.path()), &followed.path.join("a.yaml"), None::<&Path>, flags, None::<&Path>).unwrap();
    assert_eq!(followed.until("x:2").await, ["x:2"]);
    fs::write(other.path(), service("x", 3)).unwrap();
    assert_eq!(followed.until("x:3").await, ["x:3"]);
    nix::mount::umount(&followed.path.join("a.yaml")).unwrap();
    assert_eq!(followed.until("x:1").await, ["x:1"]);
}

/// What is missing in a file that is half written is not gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_rewritten_all_the_time_is_never_read_half_written() {
    let whole = |port| service("x", port) + &service("y", 1);
    let (_folder, mut followed) = followed(&[("a.yaml", &whole(1))]).await;
    let path = followed.path.join("a.yaml");
    let writer = tokio::task::spawn_blocking(move || {
        let began = std::time::Instant::now();
        for round in (0..).take_while(|_| began.elapsed() < Duration::from_secs(3)) {
            let mut writer = File::create(&path).unwrap();
            writer.write_all(service("x", 2 + round % 2).as_bytes()).unwrap();
            writer.write_all(service("y", 1).as_bytes()).unwrap();
        }
        fs::write(&path, whole(9)).unwrap();
    });
    let told = followed.until("x:9").await;
    writer.await.unwrap();
    assert!(told.iter().all(|word| word.starts_with("x:")), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_that_is_replaced_all_the_time_is_complained_of_once_a_second() {
    let (_folder, mut followed) = followed(&[("a.yaml", &service("x", 1))]).await;
    let path = followed.path.clone();
    let writer = tokio::task::spawn_blocking(move || {
        let began = std::time::Instant::now();
        let mut rounds = 0_u32;
        while began.elapsed() < Duration::from_secs(3) {
            rounds += 1;
            fs::write(path.join(".new"), format!("kind: Bad{rounds}\napiVersion: v1\n").repeat(3)).unwrap();
            fs::rename(path.join(".new"), path.join("a.yaml")).unwrap();
        }
        fs::write(path.join("a.yaml"), service("x", 2)).unwrap();
        rounds
    });
    let told = followed.until("x:2").await;
    let rounds = writer.await.unwrap();
    assert!((1..=5).contains(&(told.len() - 1)), "after {rounds} rounds: {told:?}");
}

#[tokio::test]
async fn a_file_full_of_mistakes_costs_some_lines() {
    let (_folder, mut followed) = followed(&[]).await;
    followed.write("a.yaml", &"---\nkind: Service\napiVersion: v7\n".repeat(1000));
    followed.write("b.yaml", &service("x", 1));
    let told = followed.until("more mistakes").await;
    assert!(told.len() < 25, "{told:?}");
    assert!(told.last().unwrap().contains("980 more mistakes"), "{told:?}");
}
