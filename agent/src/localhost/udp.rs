//! UDP: for each client of a node port a socket towards an endpoint, until the flow is idle.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use backend_api::{EndpointAddress, Family};
use tokio::net::UdpSocket;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep};
use tracing::debug;

use super::listeners::{Task, due};
use super::{NodePort, PortEndpoints, Shared};

/// The largest payload of a datagram, and then some.
const DATAGRAM: usize = 65_536;
/// Datagrams that are received in one turn, before anything else is done.
const TURN: usize = 64;
/// How long to wait before the next receive if one failed.
const RESPITE: Duration = Duration::from_millis(100);

/// The flows of one node port.
#[derive(Debug)]
struct Flows {
    port: NodePort,
    socket: Arc<UdpSocket>,
    endpoints: watch::Receiver<PortEndpoints>,
    shared: Arc<Shared>,
    by_client: HashMap<SocketAddr, Flow>,
    /// When to look next for flows that are idle.
    sweep: Option<Instant>,
}

/// The datagrams between one client and one endpoint.
#[derive(Debug)]
struct Flow {
    socket: Arc<UdpSocket>,
    endpoint: EndpointAddress,
    sent: Instant,
    /// Whether the client has sent again after an answer.
    stream: bool,
    answers: Arc<AnswerLog>,
    _replies: Task,
    _permit: OwnedSemaphorePermit,
}

/// What the task that passes answers back has seen of the endpoint.
#[derive(Debug)]
struct AnswerLog {
    since: Instant,
    /// Milliseconds from `since` to the last answer, plus 1; 0 before the first.
    last: AtomicU64,
    /// Whether the endpoint refuses datagrams.
    refused: AtomicBool,
}

/// Forwards until dropped, with every flow.
pub(super) async fn serve(
    port: NodePort,
    socket: UdpSocket,
    endpoints: watch::Receiver<PortEndpoints>,
    shared: Arc<Shared>,
) {
    let counts = shared.counts.clone();
    let _counted = counts.listener(port.family);
    let mut flows = Flows { port, socket: Arc::new(socket), endpoints, shared, by_client: HashMap::new(), sweep: None };
    loop {
        let socket = flows.socket.clone();
        let sweep = flows.sweep;
        tokio::select! {
            ready = socket.readable() => {
                if let Err(error) = flows.receive(ready).await {
                    debug!(%port, %error, "datagrams could not be received, trying again");
                    sleep(RESPITE).await;
                }
            }
            changed = flows.endpoints.changed() => match changed {
                Ok(()) => flows.end_unkept(),
                Err(_) => return, // the listener is closed
            },
            () = due(sweep) => flows.forget_idle(Instant::now()),
        }
    }
}

impl Flows {
    /// Receives the datagrams that have arrived.
    async fn receive(&mut self, ready: io::Result<()>) -> io::Result<()> {
        ready?;
        let mut datagram = Vec::with_capacity(DATAGRAM);
        for _ in 0..TURN {
            datagram.clear();
            match self.socket.try_recv_buf_from(&mut datagram) {
                Ok((_, client)) => self.pass_on(client, &datagram).await,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends a client's datagram to its endpoint. Like any datagram, it may be lost.
    async fn pass_on(&mut self, client: SocketAddr, datagram: &[u8]) {
        let known = self.by_client.get(&client).is_some_and(|flow| !flow.answers.refused.load(Relaxed));
        if !known {
            // Before a permit is taken: the one that this client had may be the last.
            self.by_client.remove(&client);
            let Some(flow) = self.open(client).await else { return self.shared.rejected(self.port) };
            self.by_client.insert(client, flow);
        }
        let flow = self.by_client.get_mut(&client).expect("known, or inserted just now");
        flow.stream |= flow.answers.at().is_some();
        flow.sent = Instant::now();
        if let Err(error) = flow.socket.try_send(datagram) {
            debug!(port = %self.port, endpoint = %flow.endpoint, %error, "datagram was lost");
        }
    }

    async fn open(&mut self, client: SocketAddr) -> Option<Flow> {
        let permit = self.shared.flows.clone().try_acquire_owned().ok()?;
        let endpoint = self.shared.choose(&self.endpoints.borrow());
        let socket = match towards(endpoint).await {
            Ok(socket) => Arc::new(socket),
            Err(error) => {
                debug!(port = %self.port, %endpoint, %error, "cannot open a socket towards the endpoint, datagram is dropped");
                return None;
            }
        };
        let now = Instant::now();
        let answers = Arc::new(AnswerLog { since: now, last: AtomicU64::new(0), refused: AtomicBool::new(false) });
        let replies = reply(self.socket.clone(), client, socket.clone(), answers.clone(), self.shared.clone());
        self.sweep.get_or_insert(now + self.shared.limits.flow_idle);
        let replies = Task::start(replies);
        Some(Flow { socket, endpoint, sent: now, stream: false, answers, _replies: replies, _permit: permit })
    }

    /// Ends the flows whose endpoint has left the service: another endpoint answers their clients.
    fn end_unkept(&mut self) {
        let endpoints = self.endpoints.borrow_and_update();
        self.by_client.retain(|_, flow| endpoints.keeps(flow.endpoint));
    }

    fn forget_idle(&mut self, now: Instant) {
        let limits = self.shared.limits;
        self.by_client.retain(|_, flow| now < flow.expires(limits.flow_idle, limits.stream_idle));
        let first = self.by_client.values().map(|flow| flow.expires(limits.flow_idle, limits.stream_idle)).min();
        // Flows that began together end together, in one turn.
        self.sweep = first.map(|first| first.max(now + limits.flow_idle / 8));
    }
}

impl Flow {
    fn expires(&self, idle: Duration, stream_idle: Duration) -> Instant {
        let last = self.answers.at().map_or(self.sent, |answered| answered.max(self.sent));
        last + if self.stream { stream_idle } else { idle }
    }
}

impl AnswerLog {
    fn at(&self) -> Option<Instant> {
        let last = self.last.load(Relaxed).checked_sub(1)?;
        Some(self.since + Duration::from_millis(last))
    }

    fn one_more(&self) {
        let milliseconds = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.last.store(milliseconds + 1, Relaxed);
    }
}

/// Passes the endpoint's answers to the client, until the endpoint refuses.
async fn reply(
    node_port: Arc<UdpSocket>,
    client: SocketAddr,
    endpoint: Arc<UdpSocket>,
    answers: Arc<AnswerLog>,
    shared: Arc<Shared>,
) {
    let _counted = shared.counts.flow();
    loop {
        if endpoint.readable().await.is_err() {
            break;
        }
        let mut datagram = Vec::with_capacity(DATAGRAM);
        match endpoint.try_recv_buf(&mut datagram) {
            Ok(_) => {
                answers.one_more();
                // Like any datagram, it may be lost.
                let _ = node_port.send_to(&datagram, client).await;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
    }
    answers.refused.store(true, Relaxed);
}

/// A socket connected to `endpoint`, from the address that the kernel chooses by its routes.
async fn towards(endpoint: EndpointAddress) -> io::Result<UdpSocket> {
    let any: IpAddr = match Family::of(endpoint.ip) {
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect((endpoint.ip, endpoint.port)).await?;
    // The socket is writable at once, but the runtime does not try to send before it knows.
    socket.writable().await?;
    Ok(socket)
}
