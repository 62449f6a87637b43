//! `switchyard cleanup`: removes everything that is ours, and says so.

use backend_api::{Dataplane, SyncError};

use super::CommandError;
use crate::backend::{Backend, OpenError};

/// A backend, and how many frontends it had.
struct Found {
    dataplane: Box<dyn Dataplane>,
    frontends: Result<usize, SyncError>,
}

/// Removes what every backend of this build has in the kernel, one after the other; an error of one does not
/// keep the others.
pub(super) async fn cleanup() -> Result<(), CommandError> {
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
            // What this kernel cannot run has left nothing in it; but if it can run none, we are not allowed to look.
            Err(OpenError::Refused { source: lacking @ SyncError::Unsupported { .. }, .. }) if one_can => {
                Ok(format!("nothing to remove; {lacking}"))
            }
            Err(error) => Err(error),
        };
        match removed {
            Ok(removed) => println!("{}: {removed}", backend.name()),
            // The first is told: where nothing is allowed they are all the same.
            Err(error) => outcome = outcome.and(Err(CommandError::Cleanup(error))),
        }
    }
    outcome
}

async fn look(backend: Backend) -> Result<Found, OpenError> {
    let mut dataplane = backend.open().await?;
    let frontends = dataplane.observe().await.map(|observed| observed.frontends.len());
    Ok(Found { dataplane, frontends })
}

/// What was removed, for people.
async fn remove(backend: Backend, mut found: Found) -> Result<String, OpenError> {
    let refused = |source| OpenError::Refused { backend: backend.name(), source };
    found.dataplane.remove_all().await.map_err(refused)?;
    Ok(match found.frontends {
        Ok(0) => "clean; no frontend was programmed".to_owned(),
        Ok(frontends) => format!("clean; {frontends} frontends were removed"),
        // It was only to say what was there.
        Err(error) => format!("clean; what was there could not be read: {error}"),
    })
}
