//! A server that listens where the configuration says, now and after each change.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use tokio::sync::watch;
use tracing::{info, warn};

use super::clients::Clients;
use super::http;
use crate::config::{ServersConfig, Unbound};

/// How long to wait before an address is tried again that could not be bound.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// An address that could not be bound, and must be.
#[derive(Debug, thiserror::Error)]
#[error("{server} server: {address} cannot be bound: {source}")]
#[non_exhaustive]
pub struct Unbindable {
    /// Which server: `health`, `metrics`.
    pub server: &'static str,
    /// Where.
    pub address: SocketAddr,
    /// The kernel's reason.
    pub source: io::Error,
}

/// One of the agent's own servers.
#[derive(Clone, Debug)]
pub(super) struct ConfiguredServer {
    /// Its name.
    pub(super) server: &'static str,
    /// Where the configuration says that it listens.
    pub(super) address: fn(&ServersConfig) -> Option<SocketAddr>,
    /// What it answers.
    pub(super) router: Router,
    /// Those of all servers.
    pub(super) clients: Clients,
}

impl ConfiguredServer {
    /// Serves until it is dropped. Where the address changes, the old server closes before the new one opens.
    ///
    /// # Errors
    /// Where an address cannot be bound and the configuration says that it must be.
    pub(super) async fn serve(self, mut config: watch::Receiver<ServersConfig>) -> Result<Infallible, Unbindable> {
        loop {
            let (address, unbound) = self.wanted(&config.borrow_and_update());
            tokio::select! {
                ended = self.serve_at(address, unbound) => return ended,
                () = self.moved(&mut config, (address, unbound)) => {}
            }
        }
    }

    fn wanted(&self, config: &ServersConfig) -> (Option<SocketAddr>, Unbound) {
        ((self.address)(config), config.unbound)
    }

    async fn moved(&self, config: &mut watch::Receiver<ServersConfig>, from: (Option<SocketAddr>, Unbound)) {
        if config.wait_for(|config| self.wanted(config) != from).await.is_err() {
            std::future::pending().await // the configuration is final
        }
    }

    async fn serve_at(&self, address: Option<SocketAddr>, unbound: Unbound) -> Result<Infallible, Unbindable> {
        let Some(address) = address else { return std::future::pending().await };
        let mut logged = None;
        loop {
            match (http::listen(address), unbound) {
                (Ok(listener), _) => {
                    info!(server = self.server, %address, "listening");
                    http::serve(listener, self.router.clone(), self.clients.of_one_more_server()).await;
                }
                (Err(source), Unbound::Fatal) => return Err(Unbindable { server: self.server, address, source }),
                (Err(error), Unbound::Retried) => {
                    if logged != Some(error.kind()) {
                        warn!(server = self.server, %address, %error, "address cannot be bound, trying again");
                        logged = Some(error.kind());
                    }
                }
            }
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }
}
