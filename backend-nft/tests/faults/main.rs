//! Every system call on a netlink socket fails once, in every way in which it can, from the opening of a dataplane over
//! changes and a restart to the removal of everything: what comes of it is what an undisturbed process leaves, and in
//! between the kernel is never worse off.

mod calls;
mod sweep;

use std::collections::BTreeSet;

use backend_api::SyncError;
use sweep::{Subject, sweep, tables_and_flows};
use switchyard_nft::{NftDataplane, Options};

struct OfNft;

impl Subject for OfNft {
    type Dataplane = NftDataplane;

    async fn open() -> Result<NftDataplane, SyncError> {
        NftDataplane::open(Options::default()).await
    }

    async fn listing() -> BTreeSet<String> {
        tables_and_flows().await
    }
}

/// Each call meets one of its faults, and each fault many calls.
#[test]
fn whichever_call_fails_the_end_is_that_of_an_undisturbed_process() {
    if !testbed::privilege::skip() {
        sweep::<OfNft>(|number, faults| vec![faults[number % faults.len()]]);
    }
}

#[test]
#[ignore = "takes minutes: every call meets every fault"]
fn whichever_call_fails_in_whatever_way() {
    if !testbed::privilege::skip() {
        sweep::<OfNft>(|_, faults| faults);
    }
}
