//! How IPVS is to choose, by the annotation `switchyard.dev/scheduler`.

use backend_api::Scheduler;

use super::given::given;

fn check(annotations: &str, spec: &str, expected: Option<Scheduler>, warning: Option<&str>) {
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
    check("null", "", None, None);
    check("{example.com/scheduler: rr}", "", None, None);
    check("{switchyard.dev/scheduler: null}", "", None, None);
    check("{switchyard.dev/scheduler: ''}", "", None, None);
    for scheduler in Scheduler::ALL {
        check(&format!("{{switchyard.dev/scheduler: {scheduler}}}"), "", Some(scheduler), None);
    }
}

#[test]
fn another_name_leaves_the_default_and_is_told_what_is_allowed() {
    for name in ["maglev", "RR", "rr "] {
        let warning = format!(
            "{name:?} is no scheduler, which are rr, wrr, lc, wlc, fo, ovf, lblc, lblcr, dh, sh, mh, sed, nq, twos: \
             the default is used"
        );
        check(&format!("{{switchyard.dev/scheduler: '{name}'}}"), "", None, Some(&warning));
    }
}

#[test]
fn session_affinity_decides_where_both_are_asked_for() {
    let warning = "lc has no effect: spec.sessionAffinity is ClientIP, and decides";
    check("{switchyard.dev/scheduler: lc}", "sessionAffinity: ClientIP", None, Some(warning));
    check("{switchyard.dev/scheduler: lc}", "sessionAffinity: None", Some(Scheduler::Lc), None);
}
