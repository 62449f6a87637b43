//! The node of the example cluster: what kube-proxy left on it, and an agent inside this process that takes over.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use agent::backend::Backend;
use agent::config::{KubeProxyRules, RunFlags};
use agent::migration::{self, FirstSync, Report, Rival, Told};
use agent::node_addresses;
use agent::reconcile::{self, Desired, Inputs};
use agent::resolve::Settings;
use agent::source::{self, files};
use agent::world::{Dial, Executor, Namespace, Outcome, World, WorldPlan};
use backend_api::Protocol;
use clap::Parser;
use tokio::sync::{oneshot, watch};

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
    _stop: oneshot::Sender<()>,
}

/// What the agent told.
#[derive(Debug)]
pub(crate) enum Heard {
    Rival(Rival),
    Pass(Report),
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
        self.executor.handle().spawn(async move {
            let dataplane = backend.open().await.unwrap();
            let (told, objects) = source::channel();
            let (known, addresses) = watch::channel(None);
            tokio::spawn(files::follow(PathBuf::from(SEED), told));
            tokio::spawn(node_addresses::follow(known));
            let (mut witness, programmed) = FirstSync::new();
            tokio::spawn(migration::follow(KubeProxyRules::Removed, programmed, move |told| {
                let _ = tell.send(owned(told));
            }));
            let until = async {
                let _ = stopped.await;
            };
            let (desired, inputs) = (Desired::new(Settings::from(&config)), Inputs::new(objects, addresses));
            reconcile::run(dataplane, desired, inputs, &mut witness, until).await.unwrap();
        });
        Agent { heard, _stop: stop }
    }

    /// Who answers `count` dials, each once, in alphabetical order.
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
    /// The next pass over the leftovers.
    pub(crate) fn pass(&self) -> Report {
        match self.heard.recv_timeout(PATIENCE).expect("waited in vain for the leftovers to be looked at") {
            Heard::Pass(report) => report,
            Heard::Rival(rival) => panic!("nobody else serves here, but {rival}"),
        }
    }
}

/// Dials TCP, patiently.
pub(crate) fn dial(to: &str) -> Dial {
    Dial::new(Protocol::Tcp, to.parse().unwrap()).within(Duration::from_secs(10))
}

pub(crate) fn owned(told: Told<'_>) -> Heard {
    match told {
        Told::Rival(rival) => Heard::Rival(rival.clone()),
        Told::Pass(report) => Heard::Pass(report.clone()),
    }
}

/// Runs a program in a namespace, and returns what it printed.
pub(crate) fn call(namespace: &Namespace, line: &str, input: &str) -> String {
    namespace.run(|| {
        let mut words = line.split_whitespace();
        let mut command = Command::new(words.next().unwrap());
        command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap_or_else(|error| panic!("{line}: {error}"));
        process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = process.wait_with_output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    })
}

/// Whether there is such a program here. Says so where there is none.
pub(crate) fn have(program: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|path| path.join(program).exists()));
    if !found {
        eprintln!("not tested: {program} is not installed");
    }
    found
}
