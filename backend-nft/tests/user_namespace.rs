//! Root of a user namespace is enough: `kind` and `k3s` without root run their nodes so.
//!
//! The test starts itself again inside one, because a process with threads cannot enter it.

mod netns;
mod sample;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use backend_api::*;
use switchyard_nft::{NftDataplane, Options};

/// Says that this is the process inside.
const INSIDE: &str = "SWITCHYARD_INSIDE";

/// So many services take more than one message of such a process can, unless `net.core.wmem_max` is beyond 4 MiB.
const MANY: u32 = 30_000;

/// Runs `test` as root of a user namespace, in a network namespace of its own with loopback. Skips it where there can
/// be none.
fn inside<F: Future<Output = ()>>(name: &str, test: impl FnOnce() -> F) {
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(test());
    }
    if testbed::privilege::skip() || testbed::privilege::skip_without("unshare") {
        return;
    }
    if !unshare().arg("true").status().is_ok_and(|status| status.success()) {
        println!("skipped: there can be no user namespace here");
        return;
    }
    let me = std::env::current_exe().unwrap();
    let status = unshare().arg(me).args(["--exact", name, "--nocapture"]).env(INSIDE, "1").status().unwrap();
    assert!(status.success(), "{status}");
}

/// Runs what follows in user and network namespaces of its own.
fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"]);
    command
}

/// A service on a loopback address.
fn service(endpoint: u16) -> Service {
    let port = ServicePort {
        frontends: vec![Frontend {
            masquerade: Masquerade::Never, // loopback has no address of a scope that would do
            ..Frontend::cluster_ip([127, 0, 0, 96].into(), Protocol::Tcp, 80)
        }],
        endpoints: vec![Endpoint::elsewhere(EndpointAddress::new([127, 0, 0, 1].into(), endpoint))],
        ..ServicePort::new(Family::V4, Protocol::Tcp)
    };
    Service::new(ServiceName::new("default", "web"), vec![port])
}

/// The name of the endpoint that answers a client of the service.
fn dial() -> String {
    let mut line = String::new();
    BufReader::new(TcpStream::connect("127.0.0.96:80").unwrap()).read_line(&mut line).unwrap();
    line.trim().to_owned()
}

/// Answers one client with `name`.
fn answer(name: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || writeln!(listener.accept().unwrap().0, "{name}").unwrap());
    port
}

#[test]
fn root_of_a_user_namespace_programs_changes_and_dials() {
    inside("root_of_a_user_namespace_programs_changes_and_dials", || async {
        let mut dataplane = NftDataplane::open(Options::default()).await.unwrap();
        let mut state = ServiceState::new(sample::node());
        state.upsert(service(answer("first"))).unwrap();
        let report = dataplane.sync(&state, Scope::All).await.unwrap();
        assert!(report.writes > 0 && report.failed.is_empty(), "{report:?}");
        assert_eq!(dial(), "first");
        let change = state.upsert(service(answer("second"))).unwrap();
        dataplane.sync(&state, Scope::Services(&change.touched)).await.unwrap();
        assert_eq!(dial(), "second");
        assert_eq!(dataplane.sync(&state, Scope::All).await.unwrap().writes, 0);
    });
}

#[test]
fn what_is_longer_than_one_message_is_programmed_in_parts() {
    inside("what_is_longer_than_one_message_is_programmed_in_parts", || async {
        let mut dataplane = NftDataplane::open(Options::default()).await.unwrap();
        let mut state = ServiceState::new(sample::node());
        sample::plain(MANY).into_iter().for_each(|service| drop(state.upsert(service).unwrap()));
        let report = dataplane.sync(&state, Scope::All).await.unwrap();
        assert_eq!(report.failed, []);
        drop(dataplane);
        let mut next = NftDataplane::open(Options::default()).await.unwrap();
        assert_eq!(next.sync(&state, Scope::All).await.unwrap().writes, 0, "a new process finds the whole");
        // Gone and replaced at once, in parts too.
        let mut other = ServiceState::new(sample::node());
        (0..MANY).for_each(|n| drop(other.upsert(sample::plain_service(n, &[4, 5, 6])).unwrap()));
        next.sync(&other, Scope::All).await.unwrap();
        let observed = next.observe().await.unwrap();
        let expected = Observed::expected(&other);
        assert!(expected.frontends.iter().all(|(key, is)| observed.frontends[key].forwards_like(is)));
        next.remove_all().await.unwrap();
    });
}
