//! `switchyard cleanup`: removes everything that is ours, and says so.

use super::CommandError;
use crate::backend::{Backend, OpenError};

/// Removes what every backend of this build has in the kernel, one after the other; an error of one does not
/// keep the others.
pub(super) async fn cleanup() -> Result<(), CommandError> {
    let mut outcome = Ok(());
    for backend in Backend::compiled() {
        match remove(backend).await {
            Ok(removed) => println!("{}: {removed}", backend.name()),
            Err(error) => outcome = Err(CommandError::Cleanup(error)),
        }
    }
    outcome
}

/// What was removed, for people.
async fn remove(backend: Backend) -> Result<String, OpenError> {
    let refused = |source| OpenError::Refused { backend: backend.name(), source };
    let mut dataplane = backend.open().await?;
    // Only to say what was there: it is removed even if it cannot be read.
    let there = dataplane.observe().await.map(|observed| observed.frontends.len());
    dataplane.remove_all().await.map_err(refused)?;
    Ok(match there {
        Ok(0) => "clean; no frontend was programmed".to_owned(),
        Ok(frontends) => format!("clean; {frontends} frontends were removed"),
        Err(error) => format!("clean; what was there could not be read: {error}"),
    })
}
