//! Session affinity (A6.1).

use super::given::given;
use backend_api::Affinity;

#[test]
fn affinity_and_its_timeout_come_from_the_spec() {
    let bad = |seconds: i64| {
        format!(
            "Service default/web: spec.sessionAffinityConfig.clientIP.timeoutSeconds: {seconds} is no timeout, 1 to 86400 seconds: 10800 is used"
        )
    };
    let cases: [(&str, u32, Option<String>); 14] = [
        ("", 0, None),
        ("sessionAffinity: None", 0, None),
        ("sessionAffinity: ''", 0, None),
        ("sessionAffinity: null", 0, None),
        ("sessionAffinity: None, sessionAffinityConfig: {clientIP: {timeoutSeconds: 5}}", 0, None),
        ("sessionAffinity: ClientIP", 10800, None),
        ("sessionAffinity: ClientIP, sessionAffinityConfig: null", 10800, None),
        ("sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: null}", 10800, None),
        ("sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 1}}", 1, None),
        ("sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 86400}}", 86400, None),
        (
            "sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 86401}}",
            10800,
            Some(bad(86401)),
        ),
        ("sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 0}}", 10800, Some(bad(0))),
        ("sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: -1}}", 10800, Some(bad(-1))),
        (
            "sessionAffinity: Cookie",
            0,
            Some("Service default/web: spec.sessionAffinity: \"Cookie\" is unknown, read as None".to_owned()),
        ),
    ];
    for (spec, timeout, warning) in cases {
        let outcome = given().service(&format!("clusterIP: 10.96.0.1, ports: [{{port: 80}}], {spec}")).resolved();
        let expected = timeout.try_into().map_or(Affinity::None, |timeout| Affinity::ClientIp { timeout });
        assert_eq!(outcome.affinities(), [expected], "{spec}");
        assert_eq!(outcome.warnings, Vec::from_iter(warning), "{spec}");
    }
}
