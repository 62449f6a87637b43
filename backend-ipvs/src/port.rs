//! The seam between programming and what is programmed: IPVS and the tables, or fakes that refuse what they refuse.

use std::fmt::Debug;
use std::future::Future;
use std::io;

use backend_api::{Report, Scope, ServiceState, SyncError};
use backend_nft::marking::{Marked, Marks};
use netlink::ReadError;
use netlink::ipvs::{Ipvs, Operation, RealServerEntry, Refusal, VirtualKey, VirtualServer, VirtualServerEntry};
use nix::time::{ClockId, clock_gettime};

use crate::errors::{from_read, from_refusals, from_socket};
use crate::servers::our_mark;

/// Where virtual servers are.
pub(crate) trait Port: Debug + Send {
    /// Does all operations in order, each for itself; returns those that were refused.
    fn execute(&mut self, operations: &[Operation]) -> impl Future<Output = io::Result<Vec<Refusal>>> + Send;

    /// Every virtual server, those of other programs too.
    fn virtual_servers(&mut self) -> impl Future<Output = Result<Vec<VirtualServerEntry>, ReadError>> + Send;

    /// The virtual server of this key, if there is one.
    fn virtual_server(
        &mut self,
        key: &VirtualKey,
    ) -> impl Future<Output = Result<Option<VirtualServerEntry>, ReadError>> + Send;

    /// The real servers of a virtual server; none if there is no such.
    fn real_servers(
        &mut self,
        key: &VirtualKey,
    ) -> impl Future<Output = Result<Vec<RealServerEntry>, ReadError>> + Send;

    /// Seconds since boot, those asleep included: the unit of deadlines.
    fn now(&self) -> u32;
}

/// The tables that lead to virtual servers.
pub(crate) trait Tables: Send {
    /// What a sync of them did.
    type Synced: Send;

    /// Which marks they lead to.
    fn marks(&mut self) -> impl Future<Output = Result<Vec<Marked>, SyncError>> + Send;

    /// Makes them lead to virtual servers of these marks.
    fn sync(
        &mut self,
        desired: &ServiceState,
        scope: Scope<'_>,
        marks: &dyn Marks,
    ) -> impl Future<Output = Result<Self::Synced, SyncError>> + Send;

    /// Believes nothing any more.
    fn forget(&mut self);

    /// What a sync did, for the caller.
    fn report(synced: &mut Self::Synced) -> &mut Report;
}

/// Executes; returns refusals that are about their own operation.
///
/// # Errors
/// The socket's, and the first refusal that is about no operation in particular.
pub(crate) async fn execute<P: Port>(port: &mut P, operations: &[Operation]) -> Result<Vec<Refusal>, SyncError> {
    if operations.is_empty() {
        return Ok(Vec::new());
    }
    let refusals = port.execute(operations).await.map_err(|error| from_socket(&error))?;
    from_refusals(&refusals).map_or(Ok(refusals), Err)
}

/// Every virtual server of ours, whichever process made it.
///
/// # Errors
/// As [`Port::virtual_servers`].
pub(crate) async fn our_servers<P: Port>(port: &mut P) -> Result<Vec<VirtualServer>, SyncError> {
    let all = port.virtual_servers().await.map_err(from_read)?.into_iter().map(|entry| entry.server);
    Ok(all.filter(|server| our_mark(server.key).is_some()).collect())
}

impl Port for Ipvs {
    async fn execute(&mut self, operations: &[Operation]) -> io::Result<Vec<Refusal>> {
        Ipvs::execute(self, operations).await
    }

    async fn virtual_servers(&mut self) -> Result<Vec<VirtualServerEntry>, ReadError> {
        Ipvs::virtual_servers(self).await
    }

    async fn virtual_server(&mut self, key: &VirtualKey) -> Result<Option<VirtualServerEntry>, ReadError> {
        Ipvs::virtual_server(self, key).await
    }

    async fn real_servers(&mut self, key: &VirtualKey) -> Result<Vec<RealServerEntry>, ReadError> {
        Ipvs::real_servers(self, key).await
    }

    fn now(&self) -> u32 {
        let since_boot = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("Linux has this clock since 2.6.39");
        u32::try_from(since_boot.tv_sec()).unwrap_or(u32::MAX)
    }
}
