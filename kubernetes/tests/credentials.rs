//! How servers are reached: what requests show, through which proxy, and what a slow or failing program costs.
//!
//! The servers here say nothing: what counts is what they are sent.
#![cfg(feature = "api")]

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Request;
use kube::client::Body;
use switchyard_kubernetes::source::ApiConfig;
use switchyard_kubernetes::source::api::connect;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// A server that writes down what it is sent, and answers `{}`.
struct Recorder {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Recorder {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let recorder = Self { address: listener.local_addr().unwrap(), heads: Arc::default() };
        let heads = recorder.heads.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let heads = heads.clone();
                tokio::spawn(async move {
                    while let Some(head) = head(&mut stream).await {
                        heads.lock().unwrap().push(head);
                        let answer =
                            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
                        if stream.write_all(answer).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        recorder
    }

    /// The heads of the requests, in lower case.
    fn heads(&self) -> Vec<String> {
        std::mem::take(&mut *self.heads.lock().unwrap())
    }
}

/// The next request's head, in lower case; none at the end.
async fn head(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8_lossy(&bytes).to_lowercase())
}

/// A kubeconfig with these fields of its cluster and user.
fn kubeconfig(folder: &TempDir, cluster: &str, user: &str) -> ApiConfig {
    let path: PathBuf = folder.path().join("kubeconfig");
    let text = format!(
        "current-context: x\ncontexts: [{{name: x, context: {{cluster: c, user: u}}}}]\n\
         clusters: [{{name: c, cluster: {{{cluster}}}}}]\nusers: [{{name: u, user: {{{user}}}}}]\n"
    );
    fs::write(&path, text).unwrap();
    ApiConfig { kubeconfig: Some(path), ..ApiConfig::default() }
}

/// Sends one request.
async fn ask(config: &ApiConfig) -> Result<(), String> {
    let client = connect(config).await.map_err(|error| error.to_string())?;
    let request = Request::get("/api").body(Body::empty()).unwrap();
    client.send(request).await.map(drop).map_err(|error| {
        let mut words = error.to_string();
        let mut next = std::error::Error::source(&error);
        while let Some(error) = next {
            words = format!("{words}: {error}");
            next = error.source();
        }
        words
    })
}

#[tokio::test]
async fn a_request_shows_what_the_kubeconfig_gives() {
    let (folder, recorder) = (TempDir::new().unwrap(), Recorder::start().await);
    let file = folder.path().join("token");
    fs::write(&file, "of-a-file\n").unwrap();
    let by_file = format!("tokenFile: {}, token: written", file.display());
    let plugin = r#"exec: {apiVersion: client.authentication.k8s.io/v1, command: sh, args: [-c, "echo $OUT"], env: [{name: OUT,
        value: '{"apiVersion": "client.authentication.k8s.io/v1", "status": {"token": "of-a-program"}}'}]}"#;
    for (user, expected) in [
        ("token: written", &["authorization: bearer written\r\n"][..]),
        (&by_file, &["authorization: bearer of-a-file\r\n"]),
        ("tokenFile: token", &["authorization: bearer of-a-file\r\n"]),
        ("username: user, password: pass", &["authorization: basic dxnlcjpwyxnz\r\n"]),
        ("username: user", &["authorization: basic dxnlcjo=\r\n"]),
        (plugin, &["authorization: bearer of-a-program\r\n"]),
        (
            "token: t, as: me, as-uid: '7', as-groups: [one, two], as-user-extra: {scope: [view]}",
            &[
                "impersonate-user: me\r\n",
                "impersonate-uid: 7\r\n",
                "impersonate-group: one\r\n",
                "impersonate-group: two\r\n",
                "impersonate-extra-scope: view\r\n",
            ],
        ),
    ] {
        let config = kubeconfig(&folder, &format!("server: 'http://{}'", recorder.address), user);
        ask(&config).await.unwrap();
        let heads = recorder.heads();
        for line in expected {
            assert!(heads[0].contains(line), "{user}: {heads:?}");
        }
        assert!(heads[0].contains("user-agent: switchyard/"), "{heads:?}");
    }
}

#[tokio::test]
async fn a_password_in_a_url_is_shown_to_the_server_alone() {
    let (folder, recorder) = (TempDir::new().unwrap(), Recorder::start().await);
    let url = format!("http://user:hunter2@{}", recorder.address);
    let in_file = kubeconfig(&folder, &format!("server: '{url}'"), "token: other");
    for config in [ApiConfig::of_servers(std::slice::from_ref(&url)).unwrap(), in_file] {
        ask(&config).await.unwrap();
        let heads = recorder.heads();
        // user:hunter2
        assert!(heads[0].contains("authorization: basic dxnlcjpodw50zxiy\r\n"), "{heads:?}");
        assert!(!heads[0].contains("hunter2"), "{heads:?}");
        assert!(!format!("{config} {config:?}").contains("hunter2"), "{config:?}");
    }
    let nowhere = ApiConfig::of_servers(&["http://user:hunter2@127.0.0.1:1"]).unwrap();
    let error = ask(&nowhere).await.unwrap_err();
    assert!(error.contains("connection refused; is an API server running there?"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
}

/// Takes a connection, does its half of a handshake, and forwards to where it was asked to.
async fn proxy(scheme: &str, seen: Arc<Mutex<Vec<String>>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let by_socks = scheme.starts_with("socks");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let place =
                if by_socks { socks_handshake(&mut stream, &seen).await } else { tunnel(&mut stream, &seen).await };
            let mut server = TcpStream::connect(place).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut stream, &mut server).await });
        }
    });
    address
}

async fn tunnel(stream: &mut TcpStream, seen: &Mutex<Vec<String>>) -> SocketAddr {
    let request = head(stream).await.unwrap();
    let place = request.split(' ').nth(1).unwrap().parse().unwrap();
    seen.lock().unwrap().push(request);
    stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
    place
}

/// RFC 1928 and RFC 1929, IPv4 alone.
async fn socks_handshake(stream: &mut TcpStream, seen: &Mutex<Vec<String>>) -> SocketAddr {
    let mut greeting = [0; 3];
    stream.read_exact(&mut greeting).await.unwrap();
    stream.write_all(&[5, greeting[2]]).await.unwrap();
    if greeting[2] == 2 {
        let mut said = String::new();
        assert_eq!(stream.read_u8().await.unwrap(), 1);
        for _ in 0..2 {
            let mut word = vec![0; stream.read_u8().await.unwrap().into()];
            stream.read_exact(&mut word).await.unwrap();
            said = format!("{said}{} ", String::from_utf8_lossy(&word));
        }
        seen.lock().unwrap().push(said);
        stream.write_all(&[1, 0]).await.unwrap();
    }
    let mut request = [0; 10];
    stream.read_exact(&mut request).await.unwrap();
    assert_eq!(request[..4], [5, 1, 0, 1], "connect to an IPv4 address");
    seen.lock().unwrap().push("connect".to_owned());
    stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
    let address: [u8; 4] = request[4..8].try_into().unwrap();
    (address, u16::from_be_bytes([request[8], request[9]])).into()
}

#[tokio::test]
async fn the_proxy_of_a_cluster_is_gone_through() {
    let (folder, recorder) = (TempDir::new().unwrap(), Recorder::start().await);
    for (scheme, expected) in [
        ("http://", "host: "),
        ("http://user:pass@", "proxy-authorization: basic dxnlcjpwyxnz\r\n"),
        ("socks5://", "connect"),
        ("socks5://user:pass@", "user pass ;connect"),
    ] {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let at = proxy(scheme, seen.clone()).await;
        let cluster = format!("server: 'http://{}', proxy-url: '{scheme}{at}'", recorder.address);
        ask(&kubeconfig(&folder, &cluster, "token: t")).await.unwrap();
        assert!(recorder.heads()[0].contains("authorization: bearer t\r\n"), "{scheme}");
        let seen = seen.lock().unwrap().join(";");
        assert!(seen.contains(expected), "{scheme}: {seen}");
    }
}

#[tokio::test]
async fn a_proxy_that_cannot_be_used_is_said() {
    let folder = TempDir::new().unwrap();
    for (proxy, expected) in [
        ("ftp://user:hunter2@a:1", "proxy-url: must be a URL such as"),
        ("http://", "proxy-url: must be a URL such as"),
        ("socks4://a:1", "proxy-url: must be a URL such as"),
        ("http://user:hunter2@127.0.0.1:1", "through proxy http://127.0.0.1:1: connection refused"),
        ("https://user:hunter2@127.0.0.1:1", "through proxy https://127.0.0.1:1: connection refused"),
        ("socks5://user:hunter2@127.0.0.1:1", "through proxy socks5://127.0.0.1:1: the proxy cannot be reached"),
    ] {
        let config = kubeconfig(&folder, &format!("server: 'https://192.0.2.1', proxy-url: '{proxy}'"), "token: t");
        let error = ask(&config).await.unwrap_err();
        assert!(error.contains(expected) && !error.contains("hunter2"), "{proxy}: {error}");
    }
}

#[tokio::test]
async fn a_program_that_hangs_is_ended_and_blocks_nothing() {
    let folder = TempDir::new().unwrap();
    let plugin = "exec: {apiVersion: client.authentication.k8s.io/v1, command: sleep, args: ['1000']}";
    let mut config = kubeconfig(&folder, "server: 'http://127.0.0.1:1'", plugin);
    config.silence = Some(Duration::from_secs(1));
    // In one thread: whatever is waited for must let others run.
    let mut ticks = 0;
    let asked = ask(&config);
    tokio::pin!(asked);
    let error = loop {
        tokio::select! {
            outcome = &mut asked => break outcome.unwrap_err(),
            () = tokio::time::sleep(Duration::from_millis(20)) => ticks += 1,
        }
    };
    assert!(error.ends_with("exec plugin \"sleep\": gave nothing within 1s, and was ended"), "{error}");
    assert!(ticks > 5, "{ticks}");
}

#[tokio::test]
async fn a_program_runs_again_when_what_it_gave_has_expired() {
    for (expires, expected) in [("2001-01-01T00:00:00Z", 3), ("2999-01-01T00:00:00Z", 1)] {
        let (folder, recorder) = (TempDir::new().unwrap(), Recorder::start().await);
        let runs = folder.path().join("runs");
        let credential = format!(
            r#"{{"apiVersion": "client.authentication.k8s.io/v1beta1", "status": {{"token": "t", "expirationTimestamp": "{expires}"}}}}"#
        );
        let plugin = format!(
            "exec: {{apiVersion: client.authentication.k8s.io/v1beta1, command: sh, args: [-c, 'echo >>{}; echo \"$OUT\"'], \
             env: [{{name: OUT, value: '{credential}'}}]}}",
            runs.display()
        );
        let config = kubeconfig(&folder, &format!("server: 'http://{}'", recorder.address), &plugin);
        let client = connect(&config).await.unwrap();
        for _ in 0..2 {
            client.send(Request::get("/api").body(Body::empty()).unwrap()).await.unwrap();
        }
        assert_eq!(fs::read_to_string(&runs).unwrap().lines().count(), expected, "{expires}");
    }
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_said() {
    let config = ApiConfig::of_servers(&["http://name.invalid:6443"]).unwrap();
    let error = ask(&config).await.unwrap_err();
    assert!(error.contains("its name cannot be resolved"), "{error}");
}
