//! What all ports of a service share: age, session affinity (A6.1), and the scheduler of the annotation
//! `switchyard.dev/scheduler`.

use backend_api::{Affinity, Age, Scheduler};

use super::given::{given, service_text};

#[test]
fn a_service_without_a_readable_time_is_younger_than_any_with_one() {
    let year_2026 = 1_767_225_600_000_000_000;
    let cases = [
        ("2026-01-01T00:00:00Z", Age(year_2026), 0),
        ("2026-01-01T01:00:00+01:00", Age(year_2026), 0),
        ("2026-01-01T00:00:00.000000001Z", Age(year_2026 + 1), 0),
        ("null", Age(i128::MAX), 0),
        ("yesterday", Age(i128::MAX), 1),
    ];
    for (time, expected, warnings) in cases {
        let text = service_text("clusterIP: 10.96.0.1, ports: [{port: 80}]", "")
            .replace("{name: web}", &format!("{{name: web, creationTimestamp: {time}}}"));
        let outcome = given().object(text).resolved();
        assert_eq!(outcome.service.unwrap().age, expected, "{time}");
        assert_eq!(outcome.warnings.len(), warnings, "{time}");
    }
}

#[test]
fn affinity_and_its_timeout_come_from_the_spec() {
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
            Some(bad_timeout(86401)),
        ),
        (
            "sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 0}}",
            10800,
            Some(bad_timeout(0)),
        ),
        (
            "sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: -1}}",
            10800,
            Some(bad_timeout(-1)),
        ),
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

fn bad_timeout(seconds: i64) -> String {
    format!(
        "Service default/web: spec.sessionAffinityConfig.clientIP.timeoutSeconds: {seconds} is no timeout, 1 to 86400 seconds: 10800 is used"
    )
}

fn check_scheduler(annotations: &str, spec: &str, expected: Option<Scheduler>, warning: Option<&str>) {
    let service = format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: web, annotations: {annotations}}}, \
         spec: {{clusterIPs: [10.96.0.1, 'fd00::1'], ports: [{{name: a, port: 80}}, {{name: b, port: 81}}], {spec}}}}}"
    );
    let outcome = given().object(service).resolved();
    let ports = outcome.service.unwrap().ports;
    assert_eq!(ports.iter().map(|port| port.scheduler).collect::<Vec<_>>(), [expected; 4], "{annotations} {spec}");
    let field = "Service default/web: metadata.annotations[switchyard.dev/scheduler]";
    assert_eq!(outcome.warnings, Vec::from_iter(warning.map(|warning| format!("{field}: {warning}"))), "{annotations}");
}

#[test]
fn the_annotation_counts_for_every_port_and_family() {
    check_scheduler("null", "", None, None);
    check_scheduler("{example.com/scheduler: rr}", "", None, None);
    check_scheduler("{switchyard.dev/scheduler: null}", "", None, None);
    check_scheduler("{switchyard.dev/scheduler: ''}", "", None, None);
    for scheduler in Scheduler::ALL {
        check_scheduler(&format!("{{switchyard.dev/scheduler: {scheduler}}}"), "", Some(scheduler), None);
    }
}

#[test]
fn another_name_leaves_the_default_and_is_told_what_is_allowed() {
    for name in ["maglev", "RR", "rr "] {
        let warning = format!(
            "{name:?} is no scheduler, which are rr, wrr, lc, wlc, fo, ovf, lblc, lblcr, dh, sh, mh, sed, nq, twos: \
             the default is used"
        );
        check_scheduler(&format!("{{switchyard.dev/scheduler: '{name}'}}"), "", None, Some(&warning));
    }
}

#[test]
fn session_affinity_decides_where_both_are_asked_for() {
    let warning = "lc has no effect: spec.sessionAffinity is ClientIP, and decides";
    check_scheduler("{switchyard.dev/scheduler: lc}", "sessionAffinity: ClientIP", None, Some(warning));
    check_scheduler("{switchyard.dev/scheduler: lc}", "sessionAffinity: None", Some(Scheduler::Lc), None);
}
