//! The node of the example cluster: what kube-proxy left on it, and an agent inside this process that takes over.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use backend_api::Protocol;
use clap::Parser;
use kubernetes::settings::Settings;
use kubernetes::source::{self, files};
use kubernetes::{ClusterState, Inputs};
use switchyard_agent::backend::Backend;
use switchyard_agent::config::{KubeProxyRules, RunFlags};
use switchyard_agent::migration::{self, CleanupReport, FirstSync, Rival, Told};
use switchyard_agent::node::watch_addresses;
use testbed::{Dial, Executor, Namespace, Outcome, World, WorldPlan};
use tokio::sync::{mpsc, oneshot, watch};

const SEED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/examples/seed");
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A world with the example cluster's node.
pub(crate) struct Node {
    pub(crate) world: World,
    pub(crate) executor: Executor,
}

/// An agent that runs, until it is dropped.
pub(crate) struct Agent {
    heard: Receiver<Heard>,
    succeed: Option<oneshot::Sender<()>>,
    _stop: oneshot::Sender<()>,
}

/// What the agent told.
#[derive(Debug)]
pub(crate) enum Heard {
    Rival(Rival),
    Pass(CleanupReport),
}

#[derive(Debug, Parser)]
#[command(no_binary_name = true)]
struct Line {
    #[command(flatten)]
    run: RunFlags,
}

impl Node {
    pub(crate) fn new() -> Self {
        let world = World::build(&WorldPlan::example()).unwrap();
        let executor = world.node().namespace.executor().unwrap();
        Self { world, executor }
    }

    /// Runs a program in the node's namespace, and returns what it printed.
    pub(crate) fn call(&self, line: &str, input: &str) -> String {
        call(&self.world.node().namespace, line, input)
    }

    /// Whether this kernel can run the backend.
    pub(crate) fn can_run(&self, backend: Backend) -> bool {
        match self.executor.run(backend.open()) {
            Err(error) if error.is_unsupported() => {
                eprintln!("not tested: {error}");
                false
            }
            opened => opened.is_ok(),
        }
    }

    /// Runs an agent that takes over from kube-proxy.
    pub(crate) fn take_over(&self, backend: Backend) -> Agent {
        let flags = ["--hostname-override=node2", "--cluster-cidr=10.244.0.0/16", "--source", SEED];
        let config = Line::try_parse_from(flags).unwrap().run.config().unwrap();
        let (tell, heard) = channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let (succeed, asked) = oneshot::channel::<()>();
        let mut asked = Some(asked);
        self.executor.handle().spawn(async move {
            let first = migration::first_backend(backend, config.kube_proxy).await;
            let dataplane = first.open().await.unwrap();
            let (successor, successors) = mpsc::channel(1);
            let (told, objects) = source::channel();
            let (known, addresses) = watch::channel(None);
            tokio::spawn(files::watch_folder(PathBuf::from(SEED), told));
            tokio::spawn(watch_addresses(known));
            let (mut witness, programmed) = FirstSync::new();
            let mut hear = move |told: Told<'_>| {
                if told == Told::Alone
                    && let Some(asked) = asked.take_if(|_| first != backend)
                {
                    let successor = successor.clone();
                    tokio::spawn(async move {
                        let _ = asked.await;
                        successor.try_send(backend.open().await.unwrap())
                    });
                }
                let _ = owned(told).map(|told| tell.send(told));
            };
            tokio::spawn(async move {
                if programmed.await.is_ok() {
                    migration::take_over_from_kube_proxy(KubeProxyRules::Removed, &mut hear).await;
                }
            });
            let until = async {
                let _ = stopped.await;
            };
            let desired = ClusterState::new(Settings::from(&config), Inputs::new(objects, addresses));
            reconcile::run(dataplane, desired, Some(successors), &mut witness, until).await.unwrap();
        });
        Agent { heard, succeed: Some(succeed), _stop: stop }
    }

    /// The names that answer `count` dials, each once, in alphabetical order.
    pub(crate) fn answers(&self, from: &str, to: &str, count: usize) -> Vec<String> {
        let outcomes = self.world.dial_many(from, &dial(to), count);
        let name = |outcome: &Outcome| outcome.name().unwrap_or_else(|| panic!("{from} → {to}: {outcome}")).to_owned();
        let mut names: Vec<String> = outcomes.iter().map(name).collect();
        names.sort();
        names.dedup();
        names
    }
}

impl Agent {
    /// Lets the backend that is wanted take over, if another was first.
    pub(crate) fn succeed(&mut self) {
        // The receiver is gone where the first backend is the wanted one.
        let _ = self.succeed.take().map(|succeed| succeed.send(()));
    }

    /// The next pass over the leftovers.
    pub(crate) fn pass(&self) -> CleanupReport {
        match self.heard.recv_timeout(PATIENCE).expect("waited in vain for an attempt to remove the leftovers") {
            Heard::Pass(report) => report,
            Heard::Rival(rival) => panic!("no other service proxy is here, but {rival}"),
        }
    }
}

/// Dials TCP, patiently.
pub(crate) fn dial(to: &str) -> Dial {
    Dial::new(Protocol::Tcp, to.parse().unwrap()).within(Duration::from_secs(10))
}

pub(crate) fn owned(told: Told<'_>) -> Option<Heard> {
    match told {
        Told::Rival(rival) => Some(Heard::Rival(rival.clone())),
        Told::Pass(report) => Some(Heard::Pass(report.clone())),
        Told::Alone => None,
    }
}

/// Runs a program in a namespace, and returns what it printed.
pub(crate) fn call(namespace: &Namespace, line: &str, input: &str) -> String {
    let output = output(namespace, line, input);
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a program in a namespace.
pub(crate) fn output(namespace: &Namespace, line: &str, input: &str) -> Output {
    namespace.run(|| {
        let mut words = line.split_whitespace();
        let mut command = Command::new(words.next().unwrap());
        command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap_or_else(|error| panic!("{line}: {error}"));
        process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        process.wait_with_output().unwrap()
    })
}

/// Whether iptables can write nf_tables here. Says so where it cannot.
pub(crate) fn have_iptables() -> bool {
    const RULE: &str = "*nat\n-A OUTPUT -m comment --comment c -j MARK --set-xmark 0x1/0x1\nCOMMIT\n";
    let probe = || {
        let namespace = Namespace::create("iptables").unwrap();
        output(&namespace, "iptables-nft-restore", RULE).status.success()
    };
    have("iptables-nft-restore") && (probe() || !say("this kernel lacks what iptables needs"))
}

/// Says why something is not tested.
fn say(reason: &str) -> bool {
    eprintln!("not tested: {reason}");
    true
}

/// Whether there is such a program here. Says so where there is none.
pub(crate) fn have(program: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|path| path.join(program).exists()));
    found || !say(&format!("{program} is not installed"))
}
