//! The node's settings, in a namespace of its own.

use std::fs;

use std::time::Duration;
use switchyard_agent::config::{ConntrackConfig, HostConfig};
use switchyard_agent::host::{Host, Knob};
use testbed::Namespace;

/// Connection tracking's size is the machine's: in another namespace it cannot be set, which is reported and stops
/// nothing.
#[test]
fn timeouts_are_the_namespaces_and_what_cannot_be_set_is_reported() {
    if testbed::privilege::skip() {
        return;
    }
    let namespace = Namespace::create("host").unwrap();
    let path = |knob: Knob| format!("/{}", knob.path());
    let read = |knob: Knob| fs::read_to_string(path(knob)).unwrap().trim().to_owned();
    let here = Knob::ALL.map(|knob| fs::read_to_string(path(knob)).ok());
    let conntrack = ConntrackConfig {
        tcp_close_wait_timeout: Some(Duration::from_secs(1234)),
        udp_stream_timeout: Some(Duration::from_secs(77)),
        tcp_be_liberal: true,
        max_per_core: Some(1_000),
        // More than any machine has: less would be kept.
        min: Some(1 << 30),
        ..ConntrackConfig::default()
    };
    let config = HostConfig { conntrack, oom_score_adj: None };
    namespace.run(|| {
        // Not to be tried where it would succeed: it is the machine's.
        assert!(
            fs::metadata(path(Knob::ConntrackMax)).unwrap().permissions().readonly(),
            "a kernel with its own per namespace"
        );
        let mut host = Host::default();
        let unset = host.prepare(&config);
        let knobs: Vec<_> = unset.iter().map(|unset| unset.setting.knob).collect();
        assert!(matches!(knobs[..], [Knob::ConntrackMax] | [Knob::ConntrackMax, Knob::ConntrackBuckets]), "{unset:?}");
        for (knob, value) in [(Knob::TcpCloseWait, "1234"), (Knob::UdpStream, "77"), (Knob::TcpBeLiberal, "1")] {
            assert_eq!(read(knob), value, "{knob}");
        }
        assert_eq!(host.prepare(&config), unset, "the rest is as it should be");
    });
    assert_eq!(Knob::ALL.map(|knob| fs::read_to_string(path(knob)).ok()), here, "the host's own");
}
