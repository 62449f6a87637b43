//! How servers are reached: kubeconfig, credentials that change, several servers.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::Event;
use kubernetes::source::ApiConfig;
use serde_json::json;
use switchyard_conformance::api::{Api, Refusing};

use crate::followed::{Followed, node, service, until};

const FREE: [SocketAddr; 2] = [
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0),
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2)), 0),
];

/// A kubeconfig as kubeadm writes kube-proxy's, with a token.
fn kubeconfig(server: &str, token: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- cluster:\n    server: {server}\n  name: default\ncontexts:\n\
         - context:\n    cluster: default\n    namespace: default\n    user: default\n  name: default\n\
         current-context: default\nusers:\n- name: default\n  user:\n    {token}\n"
    )
}

async fn guarded(token: &str) -> Api {
    let api = Api::local().await.unwrap();
    api.put(service("web", 80));
    api.set(|abilities| abilities.token = Some(token.to_owned()));
    api
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
}

#[tokio::test]
async fn a_kubeconfig_says_where_and_who() {
    let folder = tempfile::tempdir().unwrap();
    let (path, api) = (folder.path().join("kubeconfig"), guarded("first").await);
    write(&path, &kubeconfig(&api.urls()[0], "token: first"));
    let mut followed = Followed::with(api, |config| {
        *config = ApiConfig { kubeconfig: Some(path), ..ApiConfig::default() };
    });
    assert!(followed.until("listed").await.contains(&"web:80".to_owned()));
}

#[tokio::test]
async fn masters_stand_in_for_the_kubeconfigs_server_and_keep_its_credentials() {
    let folder = tempfile::tempdir().unwrap();
    let (path, api) = (folder.path().join("kubeconfig"), guarded("first").await);
    write(&path, &kubeconfig("https://192.0.2.1:6443", "token: first"));
    let mut followed = Followed::with(api, |config| config.kubeconfig = Some(path));
    assert!(followed.until("listed").await.contains(&"web:80".to_owned()));
}

#[tokio::test]
async fn a_token_that_was_renewed_is_read_again_when_the_old_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (path, token) = (folder.path().join("kubeconfig"), folder.path().join("token"));
    for by_file in ["", "tokenFile"] {
        let api = guarded("first").await;
        let says = |value: &str| match by_file {
            "" => write(&path, &kubeconfig(&api.urls()[0], &format!("token: {value}"))),
            _ => {
                write(&token, value);
                write(&path, &kubeconfig(&api.urls()[0], &format!("tokenFile: {}", token.display())));
            }
        };
        says("first");
        let config = ApiConfig { kubeconfig: Some(path.clone()), ..ApiConfig::default() };
        api.set(|abilities| abilities.token = Some("second".to_owned()));
        says("first");
        let urls = api.urls();
        let mut followed = Followed::with(api, |given| *given = config);
        assert!(followed.until("! ").await.iter().any(|word| word.contains("401")));
        match by_file {
            "" => write(&path, &kubeconfig(&urls[0], "token: second")),
            _ => write(&token, "second"),
        }
        let told = followed.until("listed").await;
        assert!(told.contains(&"web:80".to_owned()), "{told:?}");
        assert!(told.iter().all(|word| !word.contains("401")), "{told:?}");
    }
}

#[tokio::test]
async fn a_kubeconfig_that_is_not_there_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let (path, api) = (folder.path().join("kubeconfig"), guarded("first").await);
    let url = api.urls().remove(0);
    let place = path.clone();
    let mut followed = Followed::with(api, |config| {
        *config = ApiConfig { kubeconfig: Some(place), ..ApiConfig::default() };
    });
    let told = followed.until("! ").await;
    assert!(told[0].contains("kubeconfig") && told[0].contains("No such file"), "{told:?}");
    write(&path, &kubeconfig(&url, "token: first"));
    followed.until("listed").await;
}

/// How long a mended file may take to be used: it is looked at twice a second.
const MENDED: Duration = Duration::from_secs(2);

/// Waits until the next try is most of a second away, and of most kinds many seconds.
async fn until_waits_are_long(followed: &Followed) {
    // One kind asks for all.
    until("several requests", || followed.api.requests().len() > 24).await;
}

#[tokio::test]
async fn a_mended_file_is_used_at_once_however_long_the_wait_was() {
    let folder = tempfile::tempdir().unwrap();
    let (path, token) = (folder.path().join("kubeconfig"), folder.path().join("token"));
    for mended in ["kubeconfig", "token"] {
        let api = guarded("right").await;
        let url = api.urls().remove(0);
        write(&token, "wrong\n");
        match mended {
            "token" => write(&path, &kubeconfig(&url, "tokenFile: token")),
            _ => write(&path, &kubeconfig(&url, "token: wrong")),
        }
        let config = ApiConfig { kubeconfig: Some(path.clone()), ..ApiConfig::default() };
        let mut followed = Followed::with(api, |given| *given = config);
        let told = followed.until("! ").await;
        assert!(
            told[0].contains("refuses the credentials (401): it does not accept the token of kubeconfig"),
            "{told:?}"
        );
        until_waits_are_long(&followed).await;
        match mended {
            "token" => write(&token, "right\n"),
            _ => write(&path, &kubeconfig(&url, "token: right")),
        }
        tokio::time::timeout(MENDED, followed.until("listed")).await.unwrap_or_else(|_| panic!("{mended}: not used"));
    }
}

/// Follows a server that a kubeconfig in this folder names, with a token from a file; both files.
async fn listed_by_token_file(folder: &Path) -> (Followed, PathBuf, PathBuf) {
    let (path, token) = (folder.join("kubeconfig"), folder.join("token"));
    let api = guarded("first").await;
    write(&token, "first");
    write(&path, &kubeconfig(&api.urls()[0], "tokenFile: token"));
    let config = ApiConfig { kubeconfig: Some(path.clone()), ..ApiConfig::default() };
    let mut followed = Followed::with(api, |given| *given = config);
    followed.until("listed").await;
    (followed, path, token)
}

#[tokio::test]
async fn a_renewed_token_is_shown_before_the_old_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (mut followed, _, token) = listed_by_token_file(folder.path()).await;
    write(&token, "second");
    followed.api.set(|abilities| abilities.token = Some("second".to_owned()));
    followed.api.put(service("web", 81));
    followed.api.cut();
    followed.api.put(service("web", 82));
    let told = followed.until("web:82").await;
    assert!(told.iter().all(|word| !word.starts_with("! ")), "{told:?}");
}

#[tokio::test]
async fn what_was_read_before_is_used_while_a_file_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let (mut followed, path, token) = listed_by_token_file(folder.path()).await;
    fs::remove_file(&token).unwrap();
    for text in [kubeconfig(&followed.api.urls()[0], "tokenFile: token"), "{".to_owned()] {
        write(&path, &text);
        followed.api.cut();
        followed.api.put(service("web", 81));
        let told = followed.until("web:81").await;
        assert!(told.iter().all(|word| !word.starts_with("! ")), "{told:?}");
        followed.api.put(service("web", 80));
        followed.until("web:80").await;
    }
}

#[tokio::test]
async fn where_one_server_does_not_answer_the_next_one_is_asked() {
    let api = Api::local().await.unwrap();
    api.put(node("node2"));
    let mut followed = Followed::with(api, |config| config.masters.insert(0, "http://127.0.0.1:1".parse().unwrap()));
    let told = followed.until("listed").await;
    assert_eq!(told, ["Node node2", "listed"], "an outage without effect is not told");
}

#[tokio::test]
async fn a_server_that_falls_silent_or_fails_is_left_for_the_next_one() {
    let api = Api::start(&FREE).await.unwrap();
    api.put(service("web", 80));
    api.set(|abilities| abilities.bookmarks = Duration::from_millis(100));
    let first: SocketAddr = api.urls()[0].trim_start_matches("http://").parse().unwrap();
    let mut followed = Followed::with(api, |config| config.silence = Some(Duration::from_millis(500)));
    followed.until("listed").await;
    followed.api.go_silent(Some(first));
    followed.api.put(service("web", 81));
    assert_eq!(followed.until("web:81").await, ["web:81"]);
}

#[tokio::test]
async fn a_server_that_accepts_connections_and_says_nothing_is_passed_over() {
    let api = Api::start(&FREE).await.unwrap();
    api.put(service("web", 80));
    let first: SocketAddr = api.urls()[0].trim_start_matches("http://").parse().unwrap();
    api.go_silent(Some(first));
    let mut followed = Followed::with(api, |config| config.silence = Some(Duration::from_secs(1)));
    assert_eq!(followed.until("listed").await, ["web:80", "listed"], "nothing is away");
}

#[tokio::test]
async fn others_reach_the_same_servers() {
    let mut api = Api::start(&FREE).await.unwrap();
    let mut masters = api.urls();
    masters.insert(0, "http://127.0.0.1:1".to_owned());
    let config = ApiConfig::of_servers(&masters).unwrap();
    let client = kubernetes::source::api::connect(&config).await.unwrap();
    let events: kube::Api<Event> = kube::Api::namespaced(client.clone(), "default");
    let event: Event = serde_json::from_value(json!({
        "metadata": {"name": "node2.1", "namespace": "default"}, "reason": "Starting",
        "involvedObject": {"kind": "Node", "name": "node2"}
    }))
    .unwrap();
    events.create(&kube::api::PostParams::default(), &event).await.unwrap();
    assert_eq!(api.events()[0]["reason"], "Starting");
    api.stop();
    assert!(client.apiserver_version().await.is_err());
    api.resume().await.unwrap();
    assert_eq!(client.apiserver_version().await.unwrap().minor, "36");
}

#[tokio::test]
async fn refusals_are_for_those_requests_alone_that_they_name() {
    let api = Api::local().await.unwrap();
    api.refuse(Refusing::always("/nodes", 500));
    api.put(service("web", 80));
    let mut followed = Followed::of(api);
    followed.until("web:80").await;
    until("several requests", || followed.asked("nodes").len() > 2).await;
    assert!(!followed.rest().contains(&"listed".to_owned()));
    followed.api.relent();
    followed.until("listed").await;
}
