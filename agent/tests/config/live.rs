//! The file while the agent runs: real files, every way in which they are replaced.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use switchyard_agent::config::live::{Reread, watch_file};
use switchyard_agent::config::{Action, Config};
use switchyard_agent::process::{Part, Views};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::given::order;

const DEADLINE: Duration = Duration::from_secs(20);

/// A followed file.
struct Followed {
    folder: TempDir,
    path: PathBuf,
    configs: watch::Receiver<Config>,
    heard: mpsc::UnboundedReceiver<Reread>,
}

fn text(min: &str) -> String {
    format!(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nconntrack: {{min: {min}}}\nswitchyard: {{source: /s}}\n"
    )
}

impl Followed {
    /// `lay` puts the file into the folder and says where it is.
    fn start(lay: impl FnOnce(&Path) -> PathBuf, flags: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let path = lay(folder.path());
        let place = format!("--config={}", path.display());
        let flags: Vec<_> = [place.as_str(), "--hostname-override=n"].iter().chain(flags).copied().collect();
        let Action::Run { config, file: Some(file) } = order(&flags).unwrap().unwrap().action else {
            panic!("a run with a file was asked for")
        };
        let (changed, configs) = watch::channel(*config);
        let (tell, heard) = mpsc::unbounded_channel();
        tokio::spawn(watch_file(*file, changed, move |outcome| drop(tell.send(outcome.clone()))));
        Self { folder, path, configs, heard }
    }

    fn plain() -> Self {
        let lay = |folder: &Path| {
            let path = folder.join("config.conf");
            fs::write(&path, text("1")).unwrap();
            path
        };
        Self::start(lay, &[])
    }

    /// Waits until the configuration has this `conntrack.min`.
    async fn until(&mut self, min: u32, after: &str) {
        let configs = &mut self.configs;
        let wanted = configs.wait_for(|config| config.host.conntrack.min == Some(min));
        timeout(DEADLINE, wanted).await.unwrap_or_else(|_| panic!("conntrack.min {min} after {after}")).unwrap();
    }

    /// Waits for the next outcome that is a refusal, and says the mistakes.
    async fn refused(&mut self, after: &str) -> Vec<String> {
        loop {
            let outcome = timeout(DEADLINE, self.heard.recv()).await;
            match outcome.unwrap_or_else(|_| panic!("a refusal after {after}")).unwrap() {
                Reread::Applied { .. } => {}
                Reread::Refused(error) => return error.mistakes().iter().map(ToString::to_string).collect(),
            }
        }
    }
}

#[tokio::test]
async fn an_edit_in_place_is_applied_and_tells_what_was_there_before() {
    let mut followed = Followed::plain();
    fs::write(&followed.path, text("2")).unwrap();
    followed.until(2, "an edit in place").await;
    let outcome = timeout(DEADLINE, followed.heard.recv()).await.expect("an outcome").unwrap();
    let Reread::Applied { former, config, remarks } = outcome else { panic!("{outcome:?}") };
    assert_eq!(Views::from(&*former).changes(&Views::from(&*config)), [Part::Host].into());
    assert_eq!(remarks, []);
}

#[tokio::test]
async fn a_file_that_is_renamed_over_it_is_applied_and_so_is_the_next() {
    let mut followed = Followed::plain();
    for min in 2..5_u32 {
        let new = followed.folder.path().join("new");
        fs::write(&new, text(&min.to_string())).unwrap();
        fs::rename(&new, &followed.path).unwrap();
        followed.until(min, "a rename").await;
    }
}

/// As the kubelet mounts a ConfigMap: `config.conf` → `..data/config.conf`, `..data` → a folder.
#[tokio::test]
async fn a_mounted_config_map_that_is_swapped_is_applied() {
    let version = |folder: &Path, name: &str, min: &str| {
        fs::create_dir(folder.join(name)).unwrap();
        fs::write(folder.join(name).join("config.conf"), text(min)).unwrap();
        symlink(name, folder.join("..data_tmp")).unwrap();
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    };
    let lay = |folder: &Path| {
        version(folder, "..1", "1");
        symlink("..data/config.conf", folder.join("config.conf")).unwrap();
        folder.join("config.conf")
    };
    let mut followed = Followed::start(lay, &[]);
    for min in 2..4_u32 {
        version(followed.folder.path(), &format!("..{min}"), &min.to_string());
        fs::remove_dir_all(followed.folder.path().join(format!("..{}", min - 1))).unwrap();
        followed.until(min, "a swap of ..data").await;
    }
}

#[tokio::test]
async fn a_link_to_a_file_elsewhere_is_followed() {
    let lay = |folder: &Path| {
        fs::create_dir(folder.join("elsewhere")).unwrap();
        fs::create_dir(folder.join("here")).unwrap();
        fs::write(folder.join("elsewhere/file"), text("1")).unwrap();
        symlink("../elsewhere/file", folder.join("here/config.conf")).unwrap();
        folder.join("here/config.conf")
    };
    let mut followed = Followed::start(lay, &[]);
    fs::write(followed.folder.path().join("elsewhere/file"), text("2")).unwrap();
    followed.until(2, "an edit behind a link").await;
}

#[tokio::test]
async fn a_switched_link_of_its_folder_is_followed() {
    let lay = |folder: &Path| {
        for version in ["1", "2"] {
            fs::create_dir(folder.join(version)).unwrap();
            fs::write(folder.join(version).join("config.conf"), text(version)).unwrap();
        }
        symlink("1", folder.join("now")).unwrap();
        folder.join("now/config.conf")
    };
    let mut followed = Followed::start(lay, &[]);
    let now = |target: &str| {
        symlink(target, followed.folder.path().join("next")).unwrap();
        fs::rename(followed.folder.path().join("next"), followed.folder.path().join("now")).unwrap();
    };
    now("2");
    followed.until(2, "a switch of its folder").await;
    fs::write(followed.folder.path().join("2/config.conf"), text("3")).unwrap();
    followed.until(3, "an edit in the folder that it leads to").await;
}

#[tokio::test]
async fn what_is_no_file_any_more_is_told_and_changes_nothing() {
    let mut followed = Followed::plain();
    fs::remove_file(&followed.path).unwrap();
    nix::unistd::mkfifo(&followed.path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mistakes = followed.refused("a FIFO in its place").await;
    let mistakes = if mistakes[0].contains("FIFO") { mistakes } else { followed.refused("a FIFO in its place").await };
    assert!(mistakes[0].ends_with(": is no regular file but a FIFO"), "{mistakes:?}");
    assert_eq!(followed.configs.borrow().host.conntrack.min, Some(1));
    let new = followed.folder.path().join("new");
    fs::write(&new, text("2")).unwrap();
    fs::rename(&new, &followed.path).unwrap();
    followed.until(2, "a file in the place of the FIFO").await;
}

#[tokio::test]
async fn a_bad_file_is_told_with_all_its_mistakes_and_the_former_configuration_holds() {
    let mut followed = Followed::plain();
    fs::write(&followed.path, text("many").replace("{source", "{apiSilence: 1d, source")).unwrap();
    let mistakes = followed.refused("a bad edit").await;
    let path = followed.path.display();
    assert_eq!(
        mistakes,
        [
            format!("{path}:3: conntrack.min: \"many\": must be a whole number, 0 to 2147483647"),
            format!("{path}:4: switchyard.apiSilence: \"1d\": must be a duration such as 0s, 15m or 1h30m"),
        ]
    );
    assert_eq!(followed.configs.borrow().host.conntrack.min, Some(1));
    fs::write(&followed.path, text("3")).unwrap();
    followed.until(3, "a good edit").await;
}

#[tokio::test]
async fn a_file_that_vanishes_changes_nothing_and_counts_when_it_is_back() {
    let mut followed = Followed::plain();
    fs::remove_file(&followed.path).unwrap();
    let mistakes = followed.refused("its removal").await;
    assert!(mistakes[0].ends_with(": is not there"), "{mistakes:?}");
    assert_eq!(followed.configs.borrow().host.conntrack.min, Some(1));
    fs::write(&followed.path, text("2")).unwrap();
    followed.until(2, "its return").await;
}

#[tokio::test]
async fn a_folder_that_vanishes_changes_nothing_and_is_waited_for() {
    let lay = |folder: &Path| {
        fs::create_dir(folder.join("inner")).unwrap();
        fs::write(folder.join("inner/config.conf"), text("1")).unwrap();
        folder.join("inner/config.conf")
    };
    let mut followed = Followed::start(lay, &[]);
    fs::remove_dir_all(followed.folder.path().join("inner")).unwrap();
    followed.refused("the removal of its folder").await;
    fs::create_dir(followed.folder.path().join("inner")).unwrap();
    fs::write(&followed.path, text("2")).unwrap();
    followed.until(2, "the folder's return").await;
}

#[tokio::test]
async fn flags_that_count_more_go_on_counting_more() {
    let lay = |folder: &Path| {
        fs::write(folder.join("c"), text("1")).unwrap();
        folder.join("c")
    };
    let mut followed = Followed::start(lay, &["--source=/flag", "-v=4"]);
    let before = followed.configs.borrow().clone();
    fs::write(&followed.path, text("2").replace("/s", "/t")).unwrap();
    followed.until(2, "an edit").await;
    let after = followed.configs.borrow().clone();
    assert_eq!((&after.source, after.verbosity), (&before.source, before.verbosity));
}
