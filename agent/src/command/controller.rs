//! `switchyard controller`: gives addresses to LoadBalancer services.

use std::path::PathBuf;

use allocation::{Options, OutsidePools, Sharing};
use clap::{Args, ValueEnum};
use tracing::info;

use super::CommandError;
use super::run::stop_signal;
use crate::allocate::{FolderAllocation, own_pool};
use crate::config::{POOL_NAMESPACE, PoolRange};

/// Flags of `switchyard controller`.
#[derive(Clone, Debug, Args)]
pub(super) struct ControllerFlags {
    /// Folder of Services and IPAddressPools, YAML or JSON
    #[arg(long, value_name = "DIR")]
    source: PathBuf,

    /// File in that folder which keeps the addresses; agents that read the folder find them there
    #[arg(long, value_name = "FILE")]
    write: PathBuf,

    /// Addresses to give beside those of IPAddressPools: 192.0.2.0/24 or 192.0.2.10-192.0.2.20
    #[arg(long, value_name = "RANGE", value_delimiter = ',')]
    load_balancer_pool: Vec<PoolRange>,

    /// Give addresses to services of this class, and to no others [default: services without a class]
    #[arg(long, alias = "lb-class", value_name = "CLASS")]
    load_balancer_class: Option<String>,

    /// Namespace whose IPAddressPools count
    #[arg(long, value_name = "NAME", default_value = POOL_NAMESPACE)]
    load_balancer_namespace: String,

    /// Which services may share an address, if their keys are equal
    #[arg(long, value_name = "SCOPE", default_value = "anywhere")]
    sharing: SharingFlag,

    /// What becomes of an address that no pool has any more
    #[arg(long, value_name = "WHAT", default_value = "re-address")]
    pool_removal: PoolRemoval,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SharingFlag {
    /// Those of one namespace
    Namespace,
    /// Those of any namespace
    Anywhere,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PoolRemoval {
    /// The service gets another one
    ReAddress,
    /// The service keeps it until it lets go of it
    Keep,
}

/// Gives addresses until SIGTERM or SIGINT.
pub(super) async fn control(flags: ControllerFlags) -> Result<(), CommandError> {
    let stop = stop_signal().map_err(CommandError::Signals)?;
    let allocation = allocation(flags)?;
    info!(source = %allocation.source.display(), write = %allocation.write.display(), "giving addresses");
    allocation.run(stop).await;
    Ok(())
}

fn allocation(flags: ControllerFlags) -> Result<FolderAllocation, CommandError> {
    let ControllerFlags { source, write, load_balancer_pool, .. } = flags;
    let folder = write.parent().unwrap_or(&write);
    let is_inside = folder.canonicalize().ok().is_some_and(|folder| source.canonicalize().ok() == Some(folder));
    let is_read = write.extension().is_some_and(|extension| ["yaml", "yml"].iter().any(|known| extension == *known));
    if !is_inside || !is_read {
        return Err(CommandError::NotInFolder { file: write, folder: source });
    }
    let mut options = Options::default();
    options.sharing = match flags.sharing {
        SharingFlag::Namespace => Sharing::Namespace,
        SharingFlag::Anywhere => Sharing::Anywhere,
    };
    options.outside_pools = match flags.pool_removal {
        PoolRemoval::ReAddress => OutsidePools::Readdress,
        PoolRemoval::Keep => OutsidePools::Keep,
    };
    let mut allocation = FolderAllocation::new(source, write);
    allocation.pool = own_pool(load_balancer_pool.into_iter().map(|PoolRange(range)| range).collect());
    (allocation.namespace, allocation.class) = (flags.load_balancer_namespace, flags.load_balancer_class);
    allocation.options = options;
    Ok(allocation)
}
