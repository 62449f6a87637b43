//! A node in a network namespace, a folder of objects, and the binary between them.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use testbed::Namespace;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const HEALTH: &str = "127.0.0.1:10256";

/// An address of the node, where a test listens as an endpoint.
pub(crate) const ENDPOINT: &str = "10.244.0.4";

/// A network namespace with a loopback, and a folder.
pub(crate) struct Node {
    pub(crate) namespace: Namespace,
    pub(crate) folder: TempDir,
}

/// A running `switchyard run`; killed when dropped.
pub(crate) struct Agent {
    pub(crate) process: Child,
    log: Option<PathBuf>,
}

impl Node {
    pub(crate) fn new() -> Self {
        let namespace = Namespace::create("process").unwrap();
        let set_up =
            || Command::new("sh").args(["-c", "ip link set lo up && ip address add $0/24 dev lo", ENDPOINT]).status();
        assert!(namespace.run(set_up).unwrap().success());
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join("objects")).unwrap();
        Self { namespace, folder }
    }

    /// Puts a file of objects in place.
    pub(crate) fn put(&self, name: &str, text: &str) {
        let aside = self.folder.path().join("aside");
        fs::write(&aside, text).unwrap();
        fs::rename(aside, self.folder.path().join("objects").join(name)).unwrap();
    }

    /// `switchyard run`, behind the words of another program that runs it.
    pub(crate) fn command(&self, through: &[&str], flags: &[&str]) -> Command {
        let mut words = through.to_vec();
        words.push(env!("CARGO_BIN_EXE_switchyard"));
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).args(["run", "--conntrack-max-per-core=0", "--hostname-override=here"]);
        command.arg("--source").arg(self.folder.path().join("objects")).args(flags).stdin(Stdio::null());
        command
    }

    /// With its log in a file.
    pub(crate) fn start(&self, through: &[&str], flags: &[&str]) -> Agent {
        let log = self.folder.path().join("log");
        let mut command = self.command(through, flags);
        command.stderr(File::create(&log).unwrap());
        Agent { process: self.namespace.run(|| command.spawn().unwrap()), log: Some(log) }
    }

    /// With its log in a pipe.
    pub(crate) fn start_logging_to(&self, pipe: std::io::PipeWriter, flags: &[&str]) -> Agent {
        let mut command = self.command(&[], flags);
        command.stderr(pipe);
        Agent { process: self.namespace.run(|| command.spawn().unwrap()), log: None }
    }

    /// What the kernel holds, as `switchyard status` says it.
    pub(crate) fn status(&self) -> String {
        let status = || Command::new(env!("CARGO_BIN_EXE_switchyard")).arg("status").output().unwrap();
        String::from_utf8(self.namespace.run(status).stdout).unwrap()
    }

    pub(crate) fn connect(&self, at: &str) -> std::io::Result<TcpStream> {
        let at: SocketAddr = at.parse().unwrap();
        self.namespace.run(|| TcpStream::connect_timeout(&at, PATIENCE))
    }

    /// The status of the answer, if there is one.
    pub(crate) fn ask(&self, at: &str, path: &str) -> Option<String> {
        let mut stream = self.connect(at).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.split(' ').nth(1).map(str::to_owned)
    }
}

impl Agent {
    pub(crate) fn log(&self) -> String {
        self.log.as_ref().map(|log| fs::read_to_string(log).unwrap()).unwrap_or_default()
    }

    pub(crate) fn until(&self, awaited: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < deadline, "waited in vain for {awaited}; the log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Stops it as an init system does.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        kill(Pid::from_raw(self.process.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "SIGTERM is ignored; the log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Already dead is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A service with this name, address and more of its specification.
pub(crate) fn service(name: &str, address: &str, spec: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: default}}\n\
         spec: {{clusterIP: {address}, clusterIPs: [{address}], ports: [{{port: 80, protocol: TCP}}], {spec}}}\n"
    )
}
