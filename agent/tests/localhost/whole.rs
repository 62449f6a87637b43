//! The real binary: node ports on localhost where its flags ask for them, and as long as it runs.

use std::fs::File;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use backend_api::Protocol;
use testbed::{Dial, Outcome, Refusal, World, WorldPlan};

use super::given::until;

const SEED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/examples/seed");
/// That of the service `nginx-deploy-nodeport-svc`.
const NGINX: &str = "127.0.0.1:30673";

struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        // Already dead is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_agent_answers_on_localhost_where_it_is_asked_to_and_while_it_runs() {
    if testbed::privilege::skip() {
        return;
    }
    let world = World::build(&WorldPlan::example()).unwrap();
    let to: SocketAddr = NGINX.parse().unwrap();
    let dial = || world.dial("node2", &Dial::new(Protocol::Tcp, to));
    let log = tempfile::NamedTempFile::new().unwrap();
    let said = || std::fs::read_to_string(log.path()).unwrap();
    let start = |addresses: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard"));
        command.args(["run", "--source", SEED, "--hostname-override", "node2", "--cluster-cidr", "10.244.0.0/16"]);
        command.args(["--nodeport-addresses", addresses]).stdin(Stdio::null());
        command.stderr(File::create(log.path()).unwrap());
        let agent = Agent(world.node().namespace.run(|| command.spawn().unwrap()));
        until("services to be programmed", || said().contains("every service was checked"));
        agent
    };
    let agent = start("192.168.0.0/16,127.0.0.0/8");
    until("localhost to be answered", || dial().name().is_some_and(|name| name.starts_with("nginx")));
    drop(agent);
    assert_eq!(dial(), Outcome::Refused(Refusal::Reset), "the agent has ended\n{}", said());
    let _agent = start("192.168.0.0/16");
    assert_eq!(dial(), Outcome::Refused(Refusal::Reset), "localhost is not among the addresses\n{}", said());
}
