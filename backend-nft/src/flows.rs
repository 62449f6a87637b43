//! Deletes the tracked flows that a sync leaves stale.
//!
//! Kept apart from programming because it comes after, and because its failure is no failure of the sync: it is tried
//! again with the next one.

use std::time::Instant;

use backend_api::{Cleaning, EndpointAddress, Family, Flow, PerFamily, Protocol, StaleFlows};

use crate::ruleset::lower::kernel_family;
use netlink::ReadError;
use netlink::conntrack::Conntrack;

/// Deletes every stale flow, and adds to `cleanings` what that came to.
///
/// # Errors
/// Some may be left.
pub(crate) async fn delete_stale(
    conntrack: &mut Conntrack,
    stale: &StaleFlows<'_>,
    cleanings: &mut PerFamily<Option<Cleaning>>,
) -> Result<(), ReadError> {
    for (family, protocol) in stale.kinds().collect::<Vec<_>>() {
        let started = Instant::now();
        let mut doomed = Vec::new();
        let each = |flow| {
            if stale.is_stale(&as_seen(&flow, protocol)) {
                doomed.push(flow);
            }
        };
        match protocol {
            Protocol::Tcp => conntrack.unanswered(kernel_family(family), protocol.number(), each).await?,
            Protocol::Udp | Protocol::Sctp => conntrack.flows(kernel_family(family), protocol.number(), each).await?,
        }
        let deleted = conntrack.delete(&doomed).await?;
        let cleaning = cleanings.of_mut(family).get_or_insert_default();
        cleaning.deleted += deleted;
        cleaning.took += started.elapsed();
    }
    Ok(())
}

/// A tracked flow in the words of the desired state.
pub(crate) fn as_seen(flow: &netlink::conntrack::Flow, protocol: Protocol) -> Flow {
    debug_assert_eq!(kernel_family(Family::of(flow.original.source)), flow.family);
    let (original, reply) = (&flow.original, &flow.reply);
    Flow {
        protocol,
        source: EndpointAddress::new(original.source, original.source_port).into(),
        destination: EndpointAddress::new(original.destination, original.destination_port).into(),
        reply_source: EndpointAddress::new(reply.source, reply.source_port).into(),
        answered: flow.is_answered(),
    }
}
