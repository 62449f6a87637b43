//! How old a service is.

use super::given::{given, service_text};
use backend_api::Age;

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
