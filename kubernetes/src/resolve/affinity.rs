//! Session affinity of a service.

use std::num::NonZeroU32;

use backend_api::Affinity;

use super::notation::word;
use super::warning::{Log, Problem};
use crate::objects::{AffinityKind, ServiceSpec};

/// Three hours: what the API fills in where no timeout is given (`DefaultClientIPServiceAffinitySeconds`).
const DEFAULT_TIMEOUT: NonZeroU32 = NonZeroU32::new(10_800).unwrap();

/// The longest timeout that the API accepts: a day.
const LONGEST_TIMEOUT: u32 = 86_400;

/// Whether clients come back to the same endpoint, and for how long.
pub(super) fn of_spec(spec: &ServiceSpec, log: &mut Log<'_>) -> Affinity {
    let Some(kind) = &spec.session_affinity else { return Affinity::None };
    match word(kind, "read as None", "spec.sessionAffinity", log) {
        None | Some(AffinityKind::None) => Affinity::None,
        Some(AffinityKind::ClientIp) => Affinity::ClientIp { timeout: timeout(spec, log) },
    }
}

fn timeout(spec: &ServiceSpec, log: &mut Log<'_>) -> NonZeroU32 {
    let config = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
    let Some(seconds) = config.and_then(|client_ip| client_ip.timeout_seconds) else { return DEFAULT_TIMEOUT };
    let in_range = u32::try_from(seconds).ok().filter(|seconds| *seconds <= LONGEST_TIMEOUT);
    in_range.and_then(NonZeroU32::new).unwrap_or_else(|| {
        log.warn("spec.sessionAffinityConfig.clientIP.timeoutSeconds", Problem::Timeout(seconds));
        DEFAULT_TIMEOUT
    })
}
