//! When things are done, with a clock that advances by itself: rules that come back are not removed again, and the
//! agent waits for a kube-proxy that runs.

use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use switchyard_agent::config::KubeProxyRules;
use switchyard_agent::migration::{self, Removed, Rival};
use testbed::Namespace;

use crate::node::{Heard, call, owned};

const RULES: &str = "table ip nat {
    chain KUBE-SERVICES { ip daddr 10.96.0.1 tcp dport 443 counter; }
    chain PREROUTING { type nat hook prerouting priority dstnat; jump KUBE-SERVICES; }
}";

/// Takes over in a namespace until the task ends, as if hours passed in no time. Returns what was told, in order;
/// `react` hears it first.
fn take_over(namespace: &Namespace, rules: KubeProxyRules, react: impl Fn(&Heard) + Send) -> Vec<Heard> {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let told = heard.clone();
    namespace.run(move || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build().unwrap();
        runtime.block_on(migration::take_over_from_kube_proxy(rules, |news| {
            let Some(news) = owned(news) else { return };
            react(&news);
            told.lock().unwrap().push(news);
        }));
    });
    std::mem::take(&mut *heard.lock().unwrap())
}

fn has_rules(namespace: &Namespace) -> bool {
    call(namespace, "nft list ruleset", "").contains("KUBE-SERVICES")
}

#[test]
fn rules_that_come_back_are_reported_and_not_removed_again() {
    if testbed::privilege::skip_without("nft") {
        return;
    }
    let namespace = Namespace::create("back").unwrap();
    call(&namespace, "nft -f -", RULES);
    let heard = take_over(&namespace, KubeProxyRules::Removed, |news| {
        if matches!(news, Heard::Pass(report) if !report.removed.is_empty()) {
            assert!(!has_rules(&namespace));
            call(&namespace, "nft -f -", RULES);
        }
    });
    let removals = heard.iter().filter(|news| matches!(news, Heard::Pass(report) if !report.removed.is_empty()));
    assert_eq!(removals.count(), 1, "{heard:?}");
    assert!(matches!(heard.last(), Some(Heard::Rival(Rival::HiddenKubeProxy))), "{heard:?}");
    assert!(has_rules(&namespace));
}

#[test]
fn rules_stay_if_so_configured_and_cilium_is_reported() {
    if testbed::privilege::skip_without("nft") {
        return;
    }
    let namespace = Namespace::create("left").unwrap();
    call(&namespace, "nft -f -", RULES);
    call(&namespace, "ip link add cilium_host type bridge", "");
    let heard = take_over(&namespace, KubeProxyRules::Left, |_| ());
    assert!(matches!(&heard[..], [Heard::Rival(Rival::Cilium)]), "{heard:?}");
    assert!(has_rules(&namespace));
}

/// A process that goes by another name, in a namespace.
struct Impostor(Child);

impl Impostor {
    fn start(namespace: &Namespace, name: &str, folder: &std::path::Path) -> Self {
        let program = folder.join(name);
        std::fs::copy("/bin/sleep", &program).unwrap();
        let mut command = Command::new(program);
        command.arg("600").stdin(Stdio::null());
        Self(namespace.run(|| command.spawn().unwrap()))
    }

    fn end(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        // Ended already is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_kube_proxy_that_runs_keeps_its_rules_until_it_ends() {
    if testbed::privilege::skip_without("nft") {
        return;
    }
    let (namespace, folder) = (Namespace::create("live").unwrap(), tempfile::tempdir().unwrap());
    let elsewhere = Namespace::create("elsewhere").unwrap();
    call(&namespace, "nft -f -", RULES);
    let _of_another_node = Impostor::start(&elsewhere, "kube-proxy", folder.path());
    let other = tempfile::tempdir().unwrap();
    let process = Mutex::new(Impostor::start(&namespace, "kube-proxy", other.path()));
    let expected = process.lock().unwrap().0.id();
    let heard = take_over(&namespace, KubeProxyRules::Removed, |news| {
        if let Heard::Rival(rival) = news {
            assert_eq!(*rival, Rival::KubeProxy { process: expected });
            assert!(has_rules(&namespace));
            process.lock().unwrap().end();
        }
    });
    // What could not be read at once, because others wrote meanwhile, is read again.
    let removed = heard.iter().filter_map(|news| match news {
        Heard::Pass(report) => Some(report.removed.clone()),
        Heard::Rival(_) => None,
    });
    let removed: Vec<_> = removed.flatten().collect();
    assert_eq!(removed, [Removed::Chains { table: "ip nat".into(), chains: 1, jumps: 1 }], "{heard:?}");
    assert!(!has_rules(&namespace));
}
