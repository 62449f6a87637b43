//! Options of kube-proxy that have no effect here. They are accepted, checked, and logged with the reason.
//!
//! One table, so that flags, files, what is written back, and the documentation agree.

use backend_api::Cidr;

use super::duration::GoDuration;
use super::words::Switch;

/// A setting without effect.
#[derive(Debug)]
pub(super) struct Idle {
    /// Its flag, if it has one.
    pub(super) flag: Option<&'static str>,
    /// Its fields in a file.
    pub(super) fields: &'static [&'static str],
    /// What may be written.
    pub(super) shape: Shape,
    /// kube-proxy's default, as JSON.
    pub(super) usual: &'static str,
    /// Why it has no effect.
    pub(super) why: &'static str,
}

/// What may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A whole number between these.
    Whole(i64, i64),
    /// A number.
    Fraction,
    /// True or false.
    Switch,
    /// A duration, 0 or longer.
    Duration,
    /// Any text.
    Text,
    /// A port range, or nothing.
    PortRange,
    /// Ranges of addresses.
    Cidrs,
    /// Names with truth values.
    Gates,
    /// Any value.
    Anything,
}

const NO_MARK: &str = "connections to be masqueraded are recognised by their addresses; no packet is marked for it";
const NO_PERIOD: &str =
    "changes are written at once, and changes by other programs are noticed; there is no periodic sync";
const NO_DELAY: &str = "a sync costs as much as the change, and changes during a sync are written together afterwards";
const WINDOWS: &str = "it is for Windows";
const ONE_FORMAT: &str = "the log has one format and is not buffered";

const fn idle(
    flag: Option<&'static str>,
    fields: &'static [&'static str],
    shape: Shape,
    usual: &'static str,
    why: &'static str,
) -> Idle {
    Idle { flag, fields, shape, usual, why }
}

/// Every setting without effect.
pub(super) static IDLE: [Idle; 29] = [
    idle(
        Some("feature-gates"),
        &["featureGates"],
        Shape::Gates,
        "{}",
        "Switchyard has no feature gates; what kube-proxy gates is always on here, or does not exist",
    ),
    idle(
        Some("kube-api-content-type"),
        &["clientConnection.contentType", "clientConnection.acceptContentTypes"],
        Shape::Text,
        r#""""#,
        "objects are requested as JSON",
    ),
    idle(
        Some("kube-api-qps"),
        &["clientConnection.qps"],
        Shape::Fraction,
        "5",
        "there is one request for each kind of object; its answer is streamed, and a failed one is delayed",
    ),
    idle(
        Some("kube-api-burst"),
        &["clientConnection.burst"],
        Shape::Whole(0, i32::MAX as i64),
        "10",
        "there is one request for each kind of object; its answer is streamed, and a failed one is delayed",
    ),
    idle(Some("profiling"), &["enableProfiling"], Shape::Switch, "false", "this program has no profiler"),
    idle(
        Some("show-hidden-metrics-for-version"),
        &["showHiddenMetricsForVersion"],
        Shape::Text,
        r#""""#,
        "no metric is hidden",
    ),
    idle(
        Some("iptables-masquerade-bit"),
        &["iptables.masqueradeBit", "nftables.masqueradeBit"],
        Shape::Whole(0, 31),
        "14",
        NO_MARK,
    ),
    idle(
        Some("iptables-sync-period"),
        &["iptables.syncPeriod", "nftables.syncPeriod"],
        Shape::Duration,
        r#""30s""#,
        NO_PERIOD,
    ),
    idle(
        Some("iptables-min-sync-period"),
        &["iptables.minSyncPeriod", "nftables.minSyncPeriod"],
        Shape::Duration,
        r#""1s""#,
        NO_DELAY,
    ),
    idle(Some("ipvs-sync-period"), &["ipvs.syncPeriod"], Shape::Duration, r#""30s""#, NO_PERIOD),
    idle(Some("ipvs-min-sync-period"), &["ipvs.minSyncPeriod"], Shape::Duration, r#""0s""#, NO_DELAY),
    idle(
        Some("ipvs-exclude-cidrs"),
        &["ipvs.excludeCIDRs"],
        Shape::Cidrs,
        "[]",
        "virtual servers of other programs are never touched; Switchyard's have marks of their own",
    ),
    idle(
        Some("config-sync-period"),
        &["configSyncPeriod"],
        Shape::Duration,
        r#""15m0s""#,
        "objects are listed again when a watch ends, not periodically",
    ),
    idle(
        None,
        &["portRange"],
        Shape::PortRange,
        r#""""#,
        "it is for the user-space mode that kube-proxy does not have any more",
    ),
    idle(None, &["windowsRunAsService"], Shape::Switch, "false", WINDOWS),
    idle(None, &["winkernel.networkName"], Shape::Text, r#""""#, WINDOWS),
    idle(None, &["winkernel.sourceVip"], Shape::Text, r#""""#, WINDOWS),
    idle(None, &["winkernel.enableDSR"], Shape::Switch, "false", WINDOWS),
    idle(None, &["winkernel.rootHnsEndpointName"], Shape::Text, r#""""#, WINDOWS),
    idle(None, &["winkernel.forwardHealthCheckVip"], Shape::Switch, "false", WINDOWS),
    idle(Some("logging-format"), &["logging.format"], Shape::Text, r#""text""#, ONE_FORMAT),
    idle(Some("log-flush-frequency"), &["logging.flushFrequency"], Shape::Anything, r#""5s""#, ONE_FORMAT),
    idle(Some("vmodule"), &["logging.vmodule"], Shape::Anything, "[]", "one log level is for all modules"),
    idle(Some("log-text-split-stream"), &[], Shape::Switch, "false", ONE_FORMAT),
    idle(Some("log-text-info-buffer-size"), &[], Shape::Text, r#""0""#, ONE_FORMAT),
    idle(Some("log-json-split-stream"), &[], Shape::Switch, "false", ONE_FORMAT),
    idle(Some("log-json-info-buffer-size"), &[], Shape::Text, r#""0""#, ONE_FORMAT),
    idle(None, &["logging.options"], Shape::Anything, "{}", ONE_FORMAT),
    idle(
        None,
        &["udpIdleTimeout", "resourceContainer", "conntrack.max"],
        Shape::Anything,
        "null",
        "kube-proxy itself does not have it any more",
    ),
];

/// The setting of the field `path`.
pub(super) fn of_field(path: &str) -> Option<&'static Idle> {
    IDLE.iter().find(|idle| idle.fields.contains(&path))
}

impl Idle {
    /// kube-proxy's default; null if kube-proxy itself does not have it any more.
    pub(super) fn usual_json(&self) -> serde_json::Value {
        serde_json::from_str(self.usual).expect("the table's defaults are JSON")
    }

    /// The remark where it is written.
    pub(super) fn remark(&self) -> String {
        format!("has no effect: {}", self.why)
    }
}

impl Shape {
    /// What may be written.
    pub(super) fn allowed(self) -> String {
        match self {
            Self::Whole(least, most) => format!("must be a whole number, {least} to {most}"),
            Self::Fraction => "must be a number".into(),
            Self::Switch => "must be true or false".into(),
            Self::Duration => "must be a duration of 0 or more such as 0s, 15m or 1h30m".into(),
            Self::Text => "must be text".into(),
            Self::PortRange => "must be a range of ports such as 300-2000, or empty".into(),
            Self::Cidrs => "must be ranges of addresses such as 10.0.0.0/8".into(),
            Self::Gates => "must be names with true or false, such as SomeFeature=true".into(),
            Self::Anything => "may be anything".into(),
        }
    }

    /// Whether a flag's value has this shape.
    pub(super) fn admits(self, text: &str) -> bool {
        let mut words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        match self {
            Self::Whole(least, most) => text.parse().is_ok_and(|number: i64| (least..=most).contains(&number)),
            Self::Fraction => text.parse::<f64>().is_ok_and(f64::is_finite),
            Self::Switch => text.parse::<Switch>().is_ok(),
            Self::Duration => text.parse::<GoDuration>().is_ok(),
            Self::PortRange => text.is_empty() || is_port_range(text),
            Self::Cidrs => words.all(|word| word.parse::<Cidr>().is_ok()),
            Self::Gates => words.all(|word| word.split_once('=').is_some_and(|(_, on)| on.parse::<Switch>().is_ok())),
            Self::Text | Self::Anything => true,
        }
    }
}

/// `300-2000`, `300+100` or `300`.
fn is_port_range(text: &str) -> bool {
    text.split(['-', '+']).count() <= 2 && text.split(['-', '+']).all(|port| port.trim().parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_flag_and_no_field_is_there_twice_and_every_default_is_json() {
        let flags: Vec<_> = IDLE.iter().filter_map(|idle| idle.flag).collect();
        let fields: Vec<_> = IDLE.iter().flat_map(|idle| idle.fields).collect();
        assert_eq!(flags.iter().collect::<BTreeSet<_>>().len(), flags.len());
        assert_eq!(fields.iter().collect::<BTreeSet<_>>().len(), fields.len());
        for idle in &IDLE {
            assert!(serde_json::from_str::<serde_json::Value>(idle.usual).is_ok(), "{idle:?}");
        }
    }

    #[test]
    fn shapes_admit_what_kube_proxy_takes() {
        for (shape, good, bad) in [
            (Shape::Whole(0, 31), "31", "32"),
            (Shape::Fraction, "5.5", "many"),
            (Shape::Switch, "true", "on"),
            (Shape::Duration, "1m", "-1s"),
            (Shape::PortRange, "300-2000", "1-2-3"),
            (Shape::PortRange, "", "a"),
            (Shape::Cidrs, "10.0.0.0/8,fd00::/8", "10.0.0.0"),
            (Shape::Gates, "A=true,B=false", "A"),
        ] {
            assert!(shape.admits(good) && !shape.admits(bad), "{shape:?}");
        }
    }
}
