//! `switchyard run`.

use super::CommandError;
use crate::config::Config;

/// Forwards service traffic until SIGTERM or SIGINT.
pub(crate) async fn run(config: Config) -> Result<(), CommandError> {
    let _dataplane = config.backend.open().await?;
    Ok(())
}
