//! The node agent as a scenario runs it: its own flags, file source, resolver and loop, inside the node's namespace.
//!
//! Objects become files in a folder that the agent watches. A marker service, written last, tells when everything
//! before it has been programmed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use agent::config::{Config, RunFlags};
use agent::node_addresses;
use agent::reconcile::{self, Desired, Inputs};
use agent::resolve::Settings;
use agent::source::{self, files};
use agent::world::{Executor, Namespace};
use clap::Parser;
use serde_json::json;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::listing::children_are_gone;
use super::patience::patient;
use super::recorder::{MARKER, Progress, Recorder};
use super::stage;
use super::subject::Subject;
use crate::scenario::{Cluster, Flag, Flags};

/// How long a change may take until it is programmed. Generous: it passes on a busy machine only.
const DEADLINE: Duration = Duration::from_secs(20);

/// What the agent under test lives in.
pub(super) struct NodeAgent<'a> {
    subject: &'a Subject,
    executor: Executor,
    folder: Folder,
    flags: Flags,
    marker: u16,
    process: Option<Process>,
    /// Checks of processes that have ended.
    checks: usize,
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

#[derive(Debug, Parser)]
#[command(name = "switchyard run", no_binary_name = true, args_override_self = true)]
struct Line {
    #[command(flatten)]
    run: RunFlags,
}

impl<'a> NodeAgent<'a> {
    /// An agent in `node` that does not run yet.
    pub(super) fn new(subject: &'a Subject, node: &Namespace, flags: &Flags) -> io::Result<Self> {
        let text = |text: &str| Flag::Text(text.to_owned());
        let mut all = Flags::from([
            ("hostname-override".to_owned(), text(stage::NODE)),
            ("cluster-cidr".to_owned(), text("10.244.0.0/16,fd00:10:244::/48")),
        ]);
        all.extend(flags.clone());
        let (executor, folder) = (node.executor()?, Folder::new()?);
        Ok(Self { subject, executor, folder, flags: all, marker: 0, process: None, checks: 0 })
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

    /// Puts the objects and `files` into the agent's folder.
    pub(super) fn publish(&mut self, cluster: &Cluster, files: &BTreeMap<String, String>) -> io::Result<()> {
        let mut contents = files.clone();
        contents.extend(cluster.objects().map(|(id, object)| {
            let name = format!("{}-{}-{}.json", id.kind, id.namespace, id.name).to_lowercase();
            (name, object.to_string())
        }));
        self.folder.hold(contents)?;
        self.marker += 1;
        self.folder.mark(self.marker)
    }

    /// Starts a process with further flags.
    pub(super) fn start(&mut self, flags: &Flags) -> Result<(), String> {
        self.flags.extend(flags.clone());
        let config = self.config()?;
        let (recorded, progress) = watch::channel(Progress::default());
        let (stop, stopped) = oneshot::channel();
        let flags = config.ipvs;
        let open = self.subject.open.clone();
        let folder = self.folder.path.clone();
        let task = self.executor.handle().spawn(async move {
            let dataplane = Recorder::new(open(flags).await?, (open, flags), recorded);
            let (told, objects) = source::channel();
            let (known, addresses) = watch::channel(None);
            let following = [tokio::spawn(files::follow(folder, told)), tokio::spawn(node_addresses::follow(known))];
            let desired = Desired::new(Settings::from(&config));
            let until = async {
                let _ = stopped.await;
            };
            let inputs = Inputs::new(objects, addresses);
            let outcome = reconcile::run(Box::new(dataplane), desired, inputs, &mut (), until).await;
            following.iter().for_each(JoinHandle::abort);
            outcome.map_err(|error| error.to_string())
        });
        self.process = Some(Process { stop, task, progress });
        Ok(())
    }

    /// Ends the process, if there is one; its rules stay.
    pub(super) fn stop(&mut self) -> Result<(), String> {
        self.checks = self.checks();
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
        let settled = move |progress: &Progress| {
            progress.marker == Some(marker)
                && awaited.present.iter().all(|address| progress.addresses.contains(address))
                && !awaited.absent.iter().any(|address| progress.addresses.contains(address))
        };
        let outcome = self.executor.run(async move {
            let ended = match tokio::time::timeout(patient(DEADLINE), progress.wait_for(settled)).await {
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

    fn config(&self) -> Result<Config, String> {
        let mut arguments = vec![format!("--source={}", self.folder.path.display())];
        for (name, value) in &self.flags {
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
}

/// The folder that the agent watches.
struct Folder {
    path: PathBuf,
    contents: BTreeMap<String, String>,
}

impl Folder {
    fn new() -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let serial = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("switchyard-conformance-{}-{serial}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self { path, contents: BTreeMap::new() })
    }

    /// Makes the folder hold these files; those that stay the same are not touched.
    fn hold(&mut self, contents: BTreeMap<String, String>) -> io::Result<()> {
        let gone: BTreeSet<_> = self.contents.keys().filter(|name| !contents.contains_key(*name)).cloned().collect();
        for (name, text) in &contents {
            if self.contents.get(name) != Some(text) {
                self.write(name, text)?;
            }
        }
        for name in gone {
            fs::remove_file(self.path.join(name))?;
        }
        self.contents = contents;
        Ok(())
    }

    /// Writes the marker, after everything else.
    fn mark(&self, marker: u16) -> io::Result<()> {
        let (namespace, name) = MARKER;
        let service = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"namespace": namespace, "name": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"clusterIP": "192.0.2.1", "ports": [{"port": marker}]},
        });
        self.write("zz-marker.json", &service.to_string())
    }

    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let (hidden, place): (PathBuf, &Path) = (self.path.join(format!(".{name}.new")), &self.path.join(name));
        fs::write(&hidden, text)?;
        fs::rename(hidden, place)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}
