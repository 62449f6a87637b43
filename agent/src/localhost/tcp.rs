//! TCP: accepts on a node port, dials an endpoint, and relays until both sides have ended.
//!
//! **Invariant:** a connection does not depend on its listener: it continues when its endpoint leaves the service, and
//! when the service is deleted (`tests/localhost: held_connections_go_on_when_their_endpoint_leaves`).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use backend_api::EndpointAddress;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::{NodePort, PortEndpoints, Shared};
use crate::descriptors::is_shortage;

/// How long to wait before the next accept if the process is short of descriptors or memory.
const RESPITE: Duration = Duration::from_millis(100);

/// Accepts until dropped.
pub(super) async fn serve(
    port: NodePort,
    listener: TcpListener,
    endpoints: watch::Receiver<PortEndpoints>,
    shared: Arc<Shared>,
) {
    let counts = shared.counts.clone();
    let _counted = counts.listener(port.family);
    loop {
        match listener.accept().await {
            Ok((client, _)) => admit(port, client, &endpoints.borrow(), &shared),
            // accept(2) returns errors of the connection itself, which concern no other.
            Err(error) if !is_shortage(&error) => debug!(%port, %error, "connection ended before it was accepted"),
            Err(error) => {
                debug!(%port, %error, "connection could not be accepted, trying again");
                sleep(RESPITE).await;
            }
        }
    }
}

/// Starts to forward a connection, or resets it.
fn admit(port: NodePort, client: TcpStream, endpoints: &PortEndpoints, shared: &Arc<Shared>) {
    let Ok(permit) = shared.connections.clone().try_acquire_owned() else {
        shared.rejected(port);
        reset(&client);
        return;
    };
    let (endpoint, shared) = (shared.choose(endpoints), shared.clone());
    tokio::spawn(async move {
        let _counted = shared.counts.connection();
        // Given back before the count goes down: where the count shows room, there is room.
        let _permit = permit;
        forward(port, client, endpoint, &shared).await;
    });
}

async fn forward(port: NodePort, mut client: TcpStream, endpoint: EndpointAddress, shared: &Shared) {
    let mut server = match dial(endpoint, shared.limits.connect).await {
        Ok(server) => server,
        Err(error) => {
            debug!(%port, %endpoint, %error, "endpoint did not accept a connection, client is reset");
            shared.rejected(port);
            reset(&client);
            return;
        }
    };
    let prepared = set_options(&client).and_then(|()| set_options(&server));
    let relayed = match prepared {
        Ok(()) => copy_bidirectional(&mut client, &mut server).await.map(|_| ()),
        Err(error) => Err(error),
    };
    if let Err(error) = relayed {
        debug!(%port, %endpoint, %error, "connection was reset");
        reset(&client);
        reset(&server);
    }
}

async fn dial(endpoint: EndpointAddress, within: Duration) -> io::Result<TcpStream> {
    timeout(within, TcpStream::connect((endpoint.ip, endpoint.port))).await?
}

/// Adds no delay to small writes, and notices a peer that is gone: the agent's kernel answers the keepalives of both
/// ends, so the agent has to send its own.
fn set_options(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &60)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &15)?;
    Ok(setsockopt(stream, sockopt::TcpKeepCount, &8)?)
}

/// Makes the end of `stream` a RST.
fn reset(stream: &TcpStream) {
    // If it fails, the stream ends with a FIN.
    let _ = stream.set_zero_linger();
}
