//! `switchyard cleanup`: removes everything that is Switchyard's, or everything that kube-proxy left, and says so.

use backend_api::{Dataplane, SyncError};
use clap::Args;

use super::{CommandError, output, privilege};
use crate::backend::{Backend, OpenError};
use crate::migration::{self, CleanupReport};

/// Flags of `switchyard cleanup`.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(super) struct CleanupFlags {
    /// Remove what kube-proxy left, and nothing of Switchyard's: its nftables tables, its chains of iptables
    /// (nf_tables), its virtual servers, their device and IP sets. Connections through its IPVS mode are cut
    #[arg(long)]
    kube_proxy: bool,
}

/// Removes what `flags` say.
pub(super) async fn cleanup(flags: CleanupFlags) -> Result<(), CommandError> {
    privilege::check()?;
    if flags.kube_proxy { remove_kube_proxys().await } else { remove_ours().await }
}

async fn remove_kube_proxys() -> Result<(), CommandError> {
    let CleanupReport { removed, left, failed } = migration::remove_all().await;
    if removed.is_empty() && failed.is_empty() {
        output::line("kube-proxy: clean; nothing was there to be removed")?;
    }
    removed.iter().try_for_each(output::line)?;
    left.iter().try_for_each(output::error_line)?;
    failed.into_iter().next().map_or(Ok(()), |failed| Err(CommandError::KubeProxy(failed)))
}

/// A backend that was opened, and how many frontends it has.
struct Opened {
    dataplane: Box<dyn Dataplane>,
    frontends: Result<usize, SyncError>,
}

/// Removes what every backend of this build has in the kernel, one after the other. An error of one does not stop the
/// others.
async fn remove_ours() -> Result<(), CommandError> {
    // All are looked at before one removes: backends share tables, and each removes the other's.
    let mut found = Vec::new();
    for backend in Backend::compiled() {
        found.push((backend, look(backend).await));
    }
    let one_can = found.iter().any(|(_, found)| found.is_ok());
    let mut outcome = Ok(());
    for (backend, found) in found {
        let removed = match found {
            Ok(found) => remove(backend, found).await,
            // A backend that this kernel cannot run has left nothing in it. If none can run, privileges are missing.
            Err(OpenError::Refused { source: lacking @ SyncError::Unsupported { .. }, .. }) if one_can => {
                Ok(format!("nothing to remove; {lacking}"))
            }
            Err(error) => Err(error),
        };
        match removed {
            Ok(removed) => {
                let written = output::line(format_args!("{}: {removed}", backend.name()));
                outcome = outcome.and(written.map_err(CommandError::Output));
            }
            // The first is reported: without privileges they are all the same.
            Err(error) => outcome = outcome.and(Err(CommandError::Cleanup(error))),
        }
    }
    outcome
}

async fn look(backend: Backend) -> Result<Opened, OpenError> {
    let mut dataplane = backend.open().await?;
    let frontends = dataplane.observe().await.map(|observed| observed.frontends.len());
    Ok(Opened { dataplane, frontends })
}

/// What was removed, for people.
async fn remove(backend: Backend, mut opened: Opened) -> Result<String, OpenError> {
    let removed = opened.dataplane.remove_all().await;
    removed.map_err(|source| OpenError::Refused { backend: backend.name(), source })?;
    Ok(match opened.frontends {
        Ok(0) => "clean; no frontend was programmed".to_owned(),
        Ok(frontends) => format!("clean; {frontends} frontends were removed"),
        // The number is for the message alone.
        Err(error) => format!("clean; what was there could not be read: {error}"),
    })
}
