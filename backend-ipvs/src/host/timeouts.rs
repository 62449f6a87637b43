//! How long IPVS remembers connections.
//!
//! Kept apart from sysctls because IPVS is told over generic netlink.

use std::time::Duration;

use backend_api::SyncError;
use netlink::ipvs::{self, Ipvs, Operation};

use super::settings::Values;
use crate::errors::{from_errno, from_read, from_socket};
use crate::options::Timeouts;

/// Names under which originals are remembered.
const TCP: &str = "timeout/tcp";
const TCP_FIN: &str = "timeout/tcp-fin";
const UDP: &str = "timeout/udp";

/// All of them.
pub(crate) const NAMES: [&str; 3] = [TCP, TCP_FIN, UDP];

impl Timeouts {
    /// What is wanted where IPVS has `now`, and conntrack remembers established TCP for `tcp_established` seconds.
    ///
    /// IPVS forgets an idle TCP connection after 15 minutes, and its next packet is answered with silence; conntrack,
    /// and so the nftables backend, keeps it for 5 days (<https://github.com/kubernetes/kubernetes/issues/80298>).
    pub(crate) fn wanted(&self, now: ipvs::Timeouts, tcp_established: Option<u32>) -> Values {
        let tcp = seconds(self.tcp).or(tcp_established.map(|conntrack| conntrack.max(now.tcp)));
        let all = [(TCP, tcp), (TCP_FIN, seconds(self.tcp_fin)), (UDP, seconds(self.udp))];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// Whole seconds, rounded up; none for zero, which the kernel takes for "as it is".
fn seconds(duration: Option<Duration>) -> Option<u32> {
    let duration = duration?;
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    (seconds > 0).then(|| u32::try_from(seconds).unwrap_or(u32::MAX))
}

/// The kernel's, by name.
pub(super) fn values(timeouts: ipvs::Timeouts) -> Values {
    [(TCP, timeouts.tcp), (TCP_FIN, timeouts.tcp_fin), (UDP, timeouts.udp)].into()
}

/// The kernel's.
pub(super) async fn read(kernel: &mut Ipvs) -> Result<ipvs::Timeouts, SyncError> {
    kernel.timeouts().await.map_err(from_read)
}

/// Sets those timeouts that are among `values`.
pub(super) async fn write(kernel: &mut Ipvs, values: &Values) -> Result<(), SyncError> {
    // 0 leaves a timeout as it is.
    let [tcp, tcp_fin, udp] = NAMES.map(|name| values.get(name).copied().unwrap_or_default());
    let timeouts = ipvs::Timeouts { tcp, tcp_fin, udp };
    if timeouts == ipvs::Timeouts::default() {
        return Ok(());
    }
    let refusals = kernel.execute(&[Operation::SetTimeouts(timeouts)]).await.map_err(|error| from_socket(&error))?;
    match refusals.into_iter().next() {
        Some(refusal) => Err(from_errno(refusal.object, refusal.errno, &refusal.text)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(chosen: Timeouts, tcp_established: Option<u32>, expected: &[(&'static str, u32)]) {
        let now = ipvs::Timeouts { tcp: 900, tcp_fin: 120, udp: 300 };
        assert_eq!(chosen.wanted(now, tcp_established), expected.iter().copied().collect(), "{chosen:?}");
    }

    #[test]
    fn a_chosen_timeout_is_wanted_and_an_idle_connection_lives_as_long_as_conntrack_says() {
        let none = Timeouts::default();
        let chosen = |millis| Some(Duration::from_millis(millis));
        check(none, Some(432_000), &[(TCP, 432_000)]);
        check(none, Some(600), &[(TCP, 900)]);
        check(none, None, &[]);
        check(Timeouts { tcp: chosen(60_000), ..none }, Some(432_000), &[(TCP, 60)]);
        check(Timeouts { tcp: chosen(0), ..none }, Some(432_000), &[(TCP, 432_000)]);
        check(Timeouts { tcp_fin: chosen(500), udp: chosen(1_001), ..none }, None, &[(TCP_FIN, 1), (UDP, 2)]);
    }
}
