//! Where packets go in this benchmark: a client, a node and a server that has every endpoint's address.
//!
//! ```text
//! client 10.64.0.2 ── node (the rules under test) ── server 10.128.0.0/9, port 8080
//! ```
//!
//! One of these for each kind of rules, so that all of them can be dialled in turns.

use std::io;
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use testbed::Namespace;
use testbed::links::{End, LOOPBACK, Links, Via, connect, everything};
use tokio::runtime::Runtime;

use super::cluster::{ENDPOINT_PORT, ENDPOINT_RANGE};

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 2);
const NODE_TO_CLIENT: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 1);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 65, 0, 2);
const NODE_TO_SERVER: Ipv4Addr = Ipv4Addr::new(10, 65, 0, 1);
/// Prefix length of both links.
const LINK: u8 = 24;

/// A client, a node and a server, connected.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) client: Namespace,
    pub(super) node: Namespace,
    pub(super) server: Namespace,
    listening: Option<JoinHandle<io::Result<()>>>,
    stop: Arc<AtomicBool>,
}

impl Place {
    /// Builds it, in which the node has no rules.
    ///
    /// # Errors
    /// A sentence: no privilege, for example.
    pub(super) fn build(label: &str) -> Result<Self, String> {
        let (client, node, server) = (create(label, "client")?, create(label, "node")?, create(label, "server")?);
        let runtime = Runtime::new().map_err(|error| format!("runtime: {error}"))?;
        wire(&runtime, &client, &node, &server).map_err(|error| format!("links of {label}: {error}"))?;
        let settings = [(&node, "net/ipv4/ip_forward", "1"), (&client, "net/ipv4/ip_local_port_range", "1024 65535")];
        for (namespace, key, value) in settings {
            namespace.sysctl(key, value).map_err(|error| error.to_string())?;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let mut place = Self { client, node, server, listening: None, stop };
        place.listen().map_err(|error| format!("server of {label}: {error}"))?;
        Ok(place)
    }

    /// From now on the server refuses connections.
    pub(super) fn refuse(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes it up; where that fails, the process' end will do.
        if self.server.run(|| TcpStream::connect((Ipv4Addr::LOCALHOST, ENDPOINT_PORT))).is_ok()
            && let Some(listening) = self.listening.take()
        {
            let _ = listening.join();
        }
    }

    fn listen(&mut self) -> io::Result<()> {
        let listener = self.server.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, ENDPOINT_PORT)))?;
        let stop = self.stop.clone();
        self.listening = Some(self.server.spawn("server", move || {
            while !stop.load(Ordering::Relaxed) {
                // One that is reset while it waits is none.
                drop(listener.accept());
            }
        })?);
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.listening.is_some() {
            self.refuse();
        }
    }
}

fn create(label: &str, role: &str) -> Result<Namespace, String> {
    Namespace::create(&format!("{label}-{role}")).map_err(|error| error.to_string())
}

fn wire(
    runtime: &Runtime,
    client: &Namespace,
    node: &Namespace,
    server: &Namespace,
) -> Result<(), Box<dyn std::error::Error>> {
    let handle = runtime.handle();
    let (client, node, server) =
        (Links::open(client, handle)?, Links::open(node, handle)?, Links::open(server, handle)?);
    runtime.block_on(async {
        for links in [&client, &node, &server] {
            links.up(LOOPBACK).await?;
        }
        let ends = (End { links: &client, name: "eth0" }, End { links: &node, name: "client0" });
        let [at_client, to_client] = connect(ends.0, ends.1).await?;
        let ends = (End { links: &server, name: "eth0" }, End { links: &node, name: "server0" });
        let [at_server, to_server] = connect(ends.0, ends.1).await?;
        client.address(at_client, (CLIENT.into(), LINK)).await?;
        node.address(to_client, (NODE_TO_CLIENT.into(), LINK)).await?;
        server.address(at_server, (SERVER.into(), LINK)).await?;
        node.address(to_server, (NODE_TO_SERVER.into(), LINK)).await?;
        client.route(everything(IpAddr::V4(NODE_TO_CLIENT)), Via::Gateway(NODE_TO_CLIENT.into(), at_client)).await?;
        server.route(everything(IpAddr::V4(NODE_TO_SERVER)), Via::Gateway(NODE_TO_SERVER.into(), at_server)).await?;
        let endpoints = (IpAddr::V4(ENDPOINT_RANGE.0), ENDPOINT_RANGE.1);
        node.route(endpoints, Via::Gateway(SERVER.into(), to_server)).await?;
        server.route(endpoints, Via::Local).await?;
        while !(node.unready().await?.is_empty()
            && client.unready().await?.is_empty()
            && server.unready().await?.is_empty())
        {
            tokio::task::yield_now().await;
        }
        Ok(())
    })
}
