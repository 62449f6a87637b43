//! The node agent as a scenario runs it: its own flags, file source, resolver and loop, inside the node's namespace.
//!
//! Objects are published as the source under test reads them. A marker service, published last, tells when everything
//! before it has been programmed.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use agent::config::{Config, RunFlags};
use agent::node;
use backend_api::{Scope, ServiceState};
use clap::Parser;
use kubernetes::settings::Settings;
use kubernetes::source;
use kubernetes::{ClusterState, Inputs};
use testbed::{Executor, Namespace};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::listing::children_are_gone;
use super::patience::patient;
use super::publish::Published;
use super::recorder::{self, Progress, Recorder};
use super::stage;
use super::subject::{Promise, Subject};
use crate::scenario::{Cluster, Flag, Flags};

/// How long a change may take until it is programmed. Generous: it passes on a busy machine only.
const DEADLINE: Duration = Duration::from_secs(20);

/// What the agent under test lives in.
pub(super) struct NodeAgent<'a> {
    subject: &'a Subject,
    executor: Executor,
    published: Published,
    flags: Flags,
    marker: u16,
    process: Option<Process>,
    /// What processes that have ended checked, and how often they rewrote the same.
    checks: usize,
    rewrites: usize,
    /// What the last of them had programmed, where that is needed.
    state: Option<ServiceState>,
}

struct Process {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), String>>,
    progress: watch::Receiver<Progress>,
}

/// What must hold of the node's addresses before a change counts as programmed.
#[derive(Clone, Debug, Default)]
pub(super) struct Awaited {
    pub(super) present: Vec<IpAddr>,
    pub(super) absent: Vec<IpAddr>,
}

impl Awaited {
    fn holds(&self, progress: &Progress) -> bool {
        self.present.iter().all(|address| progress.addresses.contains(address))
            && !self.absent.iter().any(|address| progress.addresses.contains(address))
    }
}

#[derive(Debug, Parser)]
#[command(name = "switchyard run", no_binary_name = true, args_override_self = true)]
struct Line {
    #[command(flatten)]
    run: RunFlags,
}

impl<'a> NodeAgent<'a> {
    /// An agent in `node` that does not run yet.
    pub(super) fn new(subject: &'a Subject, node: &Namespace, flags: &Flags) -> io::Result<Self> {
        let own = [("hostname-override", stage::NODE), ("cluster-cidr", "10.244.0.0/16,fd00:10:244::/48")];
        let own = own.map(|(name, value)| (name.to_owned(), Flag::Text(value.to_owned())));
        let mut all = Flags::from(own);
        all.extend(subject.flags().clone());
        all.extend(flags.clone());
        let executor = node.executor()?;
        let published = Published::through(subject.source(), &executor)?;
        let (process, state) = (None, None);
        Ok(Self { subject, executor, published, flags: all, marker: 0, process, checks: 0, rewrites: 0, state })
    }

    /// Threads inside the node's namespace.
    pub(super) fn executor(&self) -> &Executor {
        &self.executor
    }

    /// Whether the agent runs.
    pub(super) fn runs(&self) -> bool {
        self.process.is_some()
    }

    /// How often "writes nothing" was checked.
    pub(super) fn checks(&self) -> usize {
        self.checks + self.process.as_ref().map_or(0, |process| process.progress.borrow().checks)
    }

    /// Puts the objects and `files` where the agent finds them.
    pub(super) fn publish(&mut self, cluster: &Cluster, files: &BTreeMap<String, String>) -> Result<(), String> {
        self.marker += 1;
        self.published.hold(cluster, files)?;
        if self.runs() {
            self.published.await_told(&self.executor)?;
        }
        self.published.mark(self.marker)
    }

    /// Starts a process with further flags.
    pub(super) fn start(&mut self, flags: &Flags) -> Result<(), String> {
        self.flags.extend(flags.clone());
        let settings = config(self.published.folder(), &self.flags)?;
        let (recorded, progress) = watch::channel(Progress::default());
        let (stop, stopped) = oneshot::channel();
        let opening = recorder::Process::of(self.subject, self.flags.clone());
        let unkept = self.subject.unkept().keys().copied().collect();
        let follow = self.published.follow(&settings.node_name);
        let task = self.executor.handle().spawn(async move {
            let inner = opening.open().await.map_err(|error| error.to_string())?;
            let dataplane = Recorder::new(inner, opening, unkept, recorded);
            let (told, objects) = source::channel();
            let (known, addresses) = watch::channel(None);
            let (found, node_links) = watch::channel(None);
            let wanted = watch::channel(settings.flowtable_after.is_some()).1;
            let following = [
                tokio::spawn(follow(told)),
                tokio::spawn(node::watch_addresses(known)),
                tokio::spawn(node::watch_links(wanted, found)),
            ];
            let until = async {
                let _ = stopped.await;
            };
            let inputs = Inputs { links: Some(node_links), ..Inputs::new(objects, addresses) };
            let desired = ClusterState::new(Settings::from(&settings), inputs);
            let outcome = reconcile::run(Box::new(dataplane), desired, None, &mut (), until).await;
            following.iter().for_each(JoinHandle::abort);
            outcome.map_err(|error| error.to_string())
        });
        self.process = Some(Process { stop, task, progress });
        Ok(())
    }

    /// Ends the process, if there is one; its rules stay.
    pub(super) fn stop(&mut self) -> Result<(), String> {
        self.checks = self.checks();
        if let Some(process) = &self.process {
            let progress = process.progress.borrow();
            self.rewrites += progress.rewrites;
            self.state.clone_from(&progress.state);
        }
        let Some(Process { stop, task, .. }) = self.process.take() else { return Ok(()) };
        let _ = stop.send(());
        let ended = self.executor.run(async move {
            let ended = tokio::time::timeout(patient(DEADLINE), task).await.map_err(|_| "agent: does not stop")?;
            ended.map_err(|panic| format!("agent: {panic}"))?
        });
        children_are_gone();
        ended
    }

    /// Waits until everything that was published is programmed. Broken promises of the dataplane are errors.
    pub(super) fn settle(&mut self, awaited: Awaited) -> Result<Progress, String> {
        let process = self.process.as_mut().ok_or("agent: does not run")?;
        let (mut progress, marker) = (process.progress.clone(), self.marker);
        let outcome = self.executor.run(async move {
            let settled = progress.wait_for(|progress| progress.marker == Some(marker) && awaited.holds(progress));
            let ended = match tokio::time::timeout(patient(DEADLINE), settled).await {
                Ok(Ok(reached)) => return Ok(reached.clone()),
                Ok(Err(_)) => true,
                Err(_) => false,
            };
            let last = progress.borrow().clone();
            Err((last, ended))
        });
        match outcome {
            Ok(progress) if progress.faults.is_empty() => Ok(progress),
            Ok(progress) => Err(progress.faults.join("\n")),
            Err((last, ended)) => {
                let why = last.error.unwrap_or_else(|| "no error was reported".into());
                let ended = if ended { self.stop().err() } else { None };
                let what = ended.unwrap_or_else(|| format!("not programmed within {:?}", patient(DEADLINE)));
                Err(format!("agent: {what}; last sync: {why}"))
            }
        }
    }

    /// Whether a promise holds that the subject declares not to keep. The process has ended.
    pub(super) fn holds_nevertheless(&self) -> Result<(), String> {
        for promise in self.subject.unkept().keys() {
            let holds = match promise {
                Promise::Steady => self.rewrites == 0,
                Promise::Adopts => self.adopts(),
            };
            if holds {
                return Err(format!("{promise}, although the backend is declared not to promise it: take that out"));
            }
        }
        Ok(())
    }

    /// Whether a new process has nothing to write.
    fn adopts(&self) -> bool {
        let Some(state) = self.state.clone() else { return false };
        let opening = recorder::Process::of(self.subject, self.flags.clone());
        self.executor.run(async move {
            let Ok(mut dataplane) = opening.open().await else { return false };
            dataplane.sync(&state, Scope::All).await.is_ok_and(|report| report.writes == 0)
        })
    }
}

/// The configuration of an agent with these flags that reads objects in `source`.
pub(super) fn config(source: &Path, flags: &Flags) -> Result<Config, String> {
    let mut arguments = vec![format!("--source={}", source.display())];
    for (name, value) in flags {
        match value {
            Flag::Switch(true) => arguments.push(format!("--{name}")),
            Flag::Switch(false) => {}
            Flag::Number(number) => arguments.push(format!("--{name}={number}")),
            Flag::Text(text) => arguments.push(format!("--{name}={text}")),
        }
    }
    let line = Line::try_parse_from(arguments).map_err(|error| error.to_string())?;
    line.run.config().map_err(|error| error.to_string())
}
