//! The agent as a process: what it holds, what it logs, what its metrics say.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, SysconfVar, sysconf};
use testbed::{Namespace, WorldPlan};

use super::cluster::POD_RANGE;

const METRICS: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 10249);
/// How long it may take to end.
const PATIENCE: Duration = Duration::from_secs(30);
/// Lines of its log that are kept.
const KEPT: usize = 50;

/// A running `switchyard run`; killed when dropped.
pub(super) struct Agent<'a> {
    node: &'a Namespace,
    process: Child,
    log: Arc<Mutex<Log>>,
}

/// What an agent's log holds that needs attention.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    pub(super) errors: u64,
    pub(super) warnings: u64,
    /// The first of both.
    pub(super) kept: Vec<String>,
    last: String,
}

/// What a process holds, and what it has used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Process {
    /// Resident memory, in bytes.
    pub resident: u64,
    /// Open descriptors.
    pub descriptors: usize,
    /// Processor time since its start.
    pub processor: Duration,
}

impl<'a> Agent<'a> {
    /// Starts it on `node`, with objects from this API server.
    pub(super) fn start(node: &'a Namespace, program: &Path, master: &str) -> Result<Self, String> {
        let mut command = Command::new(program);
        command.args([
            "run",
            "--backend=nftables",
            "--conntrack-max-per-core=0",
            "--oom-score-adj=0",
            "--master",
            master,
        ]);
        command.args(["--hostname-override", &WorldPlan::default().node.name, "--cluster-cidr", POD_RANGE]);
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        let spawned = node.run(|| command.spawn());
        let mut process = spawned.map_err(|error| format!("{}: {error}", program.display()))?;
        let lines = BufReader::new(process.stderr.take().expect("piped above")).lines();
        let log = Arc::<Mutex<Log>>::default();
        let kept = log.clone();
        // It ends with the process.
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                kept.lock().unwrap_or_else(PoisonError::into_inner).add(line);
            }
        });
        Ok(Self { node, process, log })
    }

    /// What it holds now.
    pub(super) fn look(&self) -> Result<Process, String> {
        let folder = format!("/proc/{}", self.process.id());
        read_process(&folder).map_err(|error| format!("the agent has ended: {error}; its last line: {}", self.said()))
    }

    /// The last line of its log.
    pub(super) fn said(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).last.clone()
    }

    /// The sum of a metric's values over all labels.
    pub(super) fn gauge(&self, name: &str) -> Option<f64> {
        sum(&self.metrics().ok()?, name, |_labels| true)
    }

    /// Its metrics, as it prints them.
    pub(super) fn metrics(&self) -> io::Result<String> {
        self.node.run(|| {
            let mut stream = TcpStream::connect_timeout(&SocketAddr::from(METRICS), Duration::from_secs(1))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            write!(stream, "GET /metrics HTTP/1.1\r\nHost: soak\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        })
    }

    /// Ends it as an init system does; what its log held, and how it ended.
    pub(super) fn terminate(&mut self) -> (Log, Option<ExitStatus>) {
        let pid = Pid::from_raw(self.process.id().try_into().expect("process ids are positive numbers of 31 bits"));
        // It may have ended by itself: then its exit status says so.
        let _ = kill(pid, Signal::SIGTERM);
        let deadline = Instant::now() + PATIENCE;
        let mut status = None;
        while status.is_none() && Instant::now() < deadline {
            status = self.process.try_wait().ok().flatten();
            thread::sleep(Duration::from_millis(10));
        }
        (self.log.lock().unwrap_or_else(PoisonError::into_inner).clone(), status)
    }
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Log {
    fn add(&mut self, line: String) {
        match line.split_whitespace().nth(1) {
            Some("ERROR") => self.errors += 1,
            Some("WARN") => self.warnings += 1,
            _ => {
                self.last = line;
                return;
            }
        }
        self.last.clone_from(&line);
        if self.kept.len() < KEPT {
            self.kept.push(line);
        }
    }
}

/// The sum of those values of a metric whose labels are chosen; nothing if it is not there.
pub(super) fn sum(metrics: &str, name: &str, chosen: impl Fn(&str) -> bool) -> Option<f64> {
    let values = metrics.lines().filter_map(|line| {
        let (metric, value) = line.rsplit_once(' ')?;
        let labels = metric.strip_prefix(name)?;
        (labels.is_empty() || labels.starts_with('{') && chosen(labels)).then(|| value.parse::<f64>().ok())?
    });
    values.reduce(|one, other| one + other)
}

/// User and system time, the 14th and 15th word of /proc/PID/stat (proc(5)); the name before them may hold spaces.
fn processor(stat: &str) -> Duration {
    let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
    let after_name = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    let ticks: u64 = after_name.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<u64>().ok()).sum();
    Duration::from_secs_f64(ticks as f64 / per_second as f64)
}

/// What `/proc/PID` says.
fn read_process(folder: &str) -> io::Result<Process> {
    let status = fs::read_to_string(format!("{folder}/status"))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = resident.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    let descriptors = fs::read_dir(format!("{folder}/fd"))?.count();
    let stat = fs::read_to_string(format!("{folder}/stat"))?;
    Ok(Process { resident: kilobytes.unwrap_or_default() * 1024, descriptors, processor: processor(&stat) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels() {
        let metrics =
            "# HELP a x\na 3\nab 4\nsyncs{result=\"ok\",scope=\"all\"} 5\nsyncs{result=\"failed\",scope=\"all\"} 2\n";
        assert_eq!(sum(metrics, "a", |_| true), Some(3.0));
        assert_eq!(sum(metrics, "syncs", |_| true), Some(7.0));
        assert_eq!(sum(metrics, "syncs", |labels| labels.contains("failed")), Some(2.0));
        assert_eq!(sum(metrics, "none", |_| true), None);
    }

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "7 (a b) c) S 1 1 1 0 -1 0 0 0 0 0 150 50 0 0 20 0 4 0 9";
        let per_second = sysconf(SysconfVar::CLK_TCK).unwrap().unwrap() as f64;
        assert_eq!(processor(stat), Duration::from_secs_f64(200.0 / per_second));
    }

    #[test]
    fn errors_and_warnings_of_a_log_are_counted() {
        let mut log = Log::default();
        for line in ["2026-01-01T00:00:00Z  INFO x", "2026-01-01T00:00:00Z ERROR y", "2026-01-01T00:00:00Z  WARN z"] {
            log.add(line.to_owned());
        }
        assert_eq!((log.errors, log.warnings, log.kept.len()), (1, 1, 2));
    }
}
