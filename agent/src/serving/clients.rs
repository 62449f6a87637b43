//! Connections of clients to all servers together: bounded, and none can keep another out.
//!
//! One more closes the oldest connection of the server that has most, so that clients of one server cannot keep a probe
//! of another out by holding connections open.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Connections of one server at the same time; fewer, if all servers together may have fewer.
const OF_ONE_SERVER: usize = 128;

/// Which connections there are. Cheap to clone; clones share.
#[derive(Clone, Debug)]
pub(super) struct Clients {
    free: Arc<Semaphore>,
    seated: Arc<Mutex<Seated>>,
}

#[derive(Debug, Default)]
struct Seated {
    numbered: u64,
    /// By server, and by a number that grows with each connection. Dropping one asks its connection to end.
    by_server: BTreeMap<u64, BTreeMap<u64, oneshot::Sender<()>>>,
}

/// One server's share of the clients.
#[derive(Debug)]
pub(super) struct ServerClients {
    clients: Clients,
    server: u64,
}

/// One connection's place; free again when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    clients: Clients,
    server: u64,
    number: u64,
    asked_to_end: oneshot::Receiver<()>,
    _permit: OwnedSemaphorePermit,
}

impl Clients {
    /// At most so many at the same time.
    pub(super) fn at_most(most: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(most)), seated: Arc::default() }
    }

    /// For one more server.
    pub(super) fn of_one_more_server(&self) -> ServerClients {
        ServerClients { clients: self.clone(), server: self.lock().number() }
    }

    fn lock(&self) -> MutexGuard<'_, Seated> {
        self.seated.lock().expect("nothing panics while it holds the seats")
    }
}

impl ServerClients {
    /// A place for one more connection, as soon as there is one: an older connection ends for it. Cancel-safe.
    pub(super) async fn seat(&self) -> Seat {
        if self.clients.lock().of(self.server) >= OF_ONE_SERVER {
            self.clients.lock().end_oldest_of(self.server);
        }
        let permit = match self.clients.free.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                self.clients.lock().end_one();
                self.clients.free.clone().acquire_owned().await.expect("it is never closed")
            }
        };
        let (end, asked_to_end) = oneshot::channel();
        let mut seated = self.clients.lock();
        let number = seated.number();
        seated.by_server.entry(self.server).or_default().insert(number, end);
        drop(seated);
        Seat { clients: self.clients.clone(), server: self.server, number, asked_to_end, _permit: permit }
    }
}

impl Seated {
    fn number(&mut self) -> u64 {
        self.numbered += 1;
        self.numbered
    }

    fn of(&self, server: u64) -> usize {
        self.by_server.get(&server).map_or(0, BTreeMap::len)
    }

    fn end_one(&mut self) {
        let fullest = self.by_server.iter().max_by_key(|(_, connections)| connections.len());
        if let Some(server) = fullest.map(|(server, _)| *server) {
            self.end_oldest_of(server);
        }
    }

    fn end_oldest_of(&mut self, server: u64) {
        if let Some(connections) = self.by_server.get_mut(&server) {
            connections.pop_first();
        }
    }
}

impl Seat {
    /// Resolves when the connection has to make room for another.
    pub(super) async fn asked_to_end(&mut self) {
        // It is never sent, only dropped.
        let _ = (&mut self.asked_to_end).await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seated = self.clients.lock();
        if let Some(connections) = seated.by_server.get_mut(&self.server) {
            connections.remove(&self.number);
            if connections.is_empty() {
                seated.by_server.remove(&self.server);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn the_fullest_server_makes_room() {
        let clients = Clients::at_most(4);
        let (crowded, probed) = (clients.of_one_more_server(), clients.of_one_more_server());
        let mut probe = probed.seat().await;
        let mut crowd = [crowded.seat().await, crowded.seat().await, crowded.seat().await];
        let mut waiting = Box::pin(probed.seat());
        assert!(waiting.as_mut().now_or_never().is_none(), "the descriptor is still open");
        crowd[0].asked_to_end().await;
        assert!(crowd[1].asked_to_end().now_or_never().is_none() && probe.asked_to_end().now_or_never().is_none());
        drop(crowd);
        waiting.await;
    }

    #[tokio::test]
    async fn one_server_does_not_use_the_places_of_all() {
        let clients = Clients::at_most(4 * OF_ONE_SERVER);
        let server = clients.of_one_more_server();
        let mut seats = Vec::new();
        for _ in 0..=OF_ONE_SERVER {
            seats.push(server.seat().await);
        }
        seats[0].asked_to_end().await;
        assert!(seats[1].asked_to_end().now_or_never().is_none());
    }
}
