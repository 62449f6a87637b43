//! Two thousand services through the whole pipeline: what is written is counted, what it takes is not judged.

use std::process::Command;

use agent::backend::Backend;
use switchyard_conformance::scale::{Cluster, Measured, Plan, measure};
use testbed::Namespace;

const CLUSTER: Cluster = Cluster { services: 2000, endpoints: 3 };

fn measure_two_thousand(backend: Backend) -> Measured {
    let program = env!("CARGO_BIN_EXE_scale").into();
    let plan =
        Plan { backend, cluster: CLUSTER, changes: 20, rate: None, rounds: 0, throughput: 0, rivals_up_to: 0, program };
    measure(&plan, &|_| ()).unwrap()
}

/// Whether this kernel lets the backend run.
fn runs(backend: Backend) -> bool {
    let namespace = Namespace::create("smoke").unwrap();
    match namespace.executor().unwrap().run(backend.open()) {
        Err(error) if error.is_unsupported() => {
            eprintln!("not tested: {error}");
            false
        }
        opened => opened.is_ok(),
    }
}

#[test]
fn a_restart_of_two_thousand_services_writes_nothing_and_a_change_its_own_size() {
    if testbed::privilege::skip() {
        return;
    }
    let measured = measure_two_thousand(Backend::Nftables);
    assert_eq!(measured.restart_writes, 0, "{measured:?}");
    // A slot with another endpoint: taken out and put in, and what lets the endpoint reach itself likewise.
    assert!((1..=4).contains(&measured.change_writes), "{measured:?}");
    // A frontend, its three endpoints, and less than as many again for what else there is to know of them.
    let (least, most) = (2000 * 4, 2000 * 4 * 3);
    assert!((least..most).contains(&measured.first_sync_writes), "{measured:?}");
    // A message attribute costs its length; a kilobyte a service would be something else than elements.
    assert!(measured.netlink_bytes < 2000 * 1024, "{measured:?}");
    // The backend's spans were heard: their names and their crate's are as the clock expects.
    assert!(measured.sync_phases.render > 0.0 && measured.sync_phases.kernel > 0.0, "{measured:?}");
}

#[test]
fn ipvs_restarts_without_a_write_too() {
    if testbed::privilege::skip() {
        return;
    }
    if !runs(Backend::Ipvs) {
        return;
    }
    let measured = measure_two_thousand(Backend::Ipvs);
    assert_eq!(measured.restart_writes, 0, "{measured:?}");
}

#[test]
fn one_json_object_has_every_number_of_a_size() {
    if testbed::privilege::skip() {
        return;
    }
    let output = Command::new(env!("CARGO_BIN_EXE_scale"))
        .args(["--services", "10", "--changes", "3", "--rounds", "1", "--rate", "100", "--seconds", "1", "--json"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for place in [
        "/backend",
        "/kernel",
        "/first_sync_seconds",
        "/sync_phases/resolve",
        "/change_seconds/p99",
        "/restart_seconds",
        "/rss_bytes/after_sync",
        "/rss_bytes/peak",
        "/kernel_bytes",
        "/netlink_bytes",
        "/connect/seconds",
        "/connect/single_dnat_seconds",
        "/connect/single_dnat_for_all_seconds",
        "/connect/chain_per_service_seconds",
        "/compared/as_text_seconds",
        "/sustained/cpu_share",
    ] {
        assert!(found.pointer(place).is_some_and(|value| !value.is_null()), "{place}: {found:#}");
    }
    assert_eq!(found["restart_writes"], 0);
    assert_eq!(found["compared"]["left_out"], serde_json::json!([]));
}
