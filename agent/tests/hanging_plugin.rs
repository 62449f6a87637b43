//! The real binary with a kubeconfig whose program hangs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testbed::{World, WorldPlan};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(20);

/// Killed when dropped.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until `look` sees something.
fn until<T>(awaited: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "waited in vain for {awaited}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A kubeconfig whose program never ends; it and what it starts write their numbers down.
fn kubeconfig(folder: &Path) -> PathBuf {
    let numbers = folder.join("numbers");
    let script = format!("sleep 1000 & echo $$ $! >{0}.new; mv {0}.new {0}; wait", numbers.display());
    let text = format!(
        "current-context: x\ncontexts: [{{name: x, context: {{cluster: c, user: u}}}}]\n\
         clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:1'}}}}]\n\
         users: [{{name: u, user: {{exec: {{apiVersion: client.authentication.k8s.io/v1, command: sh, args: [-c, '{script}']}}}}}}]\n"
    );
    let path = folder.join("kubeconfig");
    fs::write(&path, text).unwrap();
    path
}

async fn livez() -> std::io::Result<String> {
    let mut stream = TcpStream::connect("127.0.0.1:10256").await?;
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

fn is_running(number: &str) -> bool {
    let status = Path::new("/proc").join(number).join("status");
    fs::read_to_string(status).is_ok_and(|status| !status.contains("State:\tZ"))
}

#[test]
fn a_program_that_hangs_delays_neither_livez_nor_the_end() {
    if testbed::privilege::skip() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let world = World::build(&WorldPlan::example()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard"));
    command.args(["run", "--hostname-override", "node2", "--kubeconfig"]).arg(kubeconfig(folder.path()));
    let log = File::create(folder.path().join("log")).unwrap();
    let mut agent = Agent(world.node().namespace.run(|| command.stdin(Stdio::null()).stderr(log).spawn().unwrap()));
    let numbers = until("the program", || fs::read_to_string(folder.path().join("numbers")).ok());
    let executor = world.node().namespace.executor().unwrap();
    let answer = until("an answer", || {
        executor.run(async { tokio::time::timeout(Duration::from_secs(5), livez()).await.ok().and_then(Result::ok) })
    });
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(numbers.split_whitespace().all(is_running), "the program still runs");

    let asked = Instant::now();
    kill(Pid::from_raw(agent.0.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    let status: ExitStatus = until("the end", || agent.0.try_wait().unwrap());
    assert!(status.success(), "{status}: {}", fs::read_to_string(folder.path().join("log")).unwrap());
    assert!(asked.elapsed() < Duration::from_secs(5), "the end came after {:?}", asked.elapsed());
    for number in numbers.split_whitespace() {
        until("the program's end", || (!is_running(number)).then_some(()));
    }
}
