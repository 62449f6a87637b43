//! From OpenMetrics to Prometheus' text format (0.0.4), which kube-proxy serves.
//!
//! Dashboards would notice the differences: a counter is described by the name that its samples have, whole bounds of
//! buckets have no fraction (`le="1"`), and a gauge's name may end with `_total`, as one of kube-proxy's does.

/// Rewrites what `prometheus_client` writes.
pub(super) fn of_openmetrics(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let written = match line.strip_prefix("# ").map(|comment| comment.split_once(' ').unwrap_or((comment, ""))) {
            Some(("HELP", described)) => {
                let kind = lines.peek().and_then(|next| next.rsplit_once(' ')).map_or("", |(_, kind)| kind);
                let (name, help) = described.split_once(' ').unwrap_or((described, ""));
                format!("# HELP {} {help}", sample_name(name, kind))
            }
            Some(("TYPE", described)) => {
                let (name, kind) = described.split_once(' ').unwrap_or((described, ""));
                format!("# TYPE {} {kind}", sample_name(name, kind))
            }
            Some(_) => continue,
            None => whole_bucket(line),
        };
        out.push_str(&written);
        out.push('\n');
    }
    out
}

fn sample_name(name: &str, kind: &str) -> String {
    if kind == "counter" { format!("{name}_total") } else { name.to_owned() }
}

/// `le="1.0"` becomes `le="1"`.
fn whole_bucket(line: &str) -> String {
    let Some((before, rest)) = line.split_once("{le=\"") else { return line.to_owned() };
    let Some((bound, after)) = rest.split_once('"') else { return line.to_owned() };
    format!("{before}{{le=\"{}\"{after}", bound.strip_suffix(".0").unwrap_or(bound))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_and_descriptions_have_one_name() {
        let openmetrics = "# HELP a Some help.\n# TYPE a counter\na_total{b=\"# TYPE\"} 1\n\
                           # HELP g_total A gauge.\n# TYPE g_total gauge\ng_total 1.0\n\
                           # HELP h Long.\n# TYPE h histogram\n# UNIT h s\nh_bucket{le=\"0.5\"} 0\nh_bucket{le=\"1.0\",x=\"1.0\"} 2\nh_bucket{le=\"+Inf\"} 2\n# EOF\n";
        let expected = "# HELP a_total Some help.\n# TYPE a_total counter\na_total{b=\"# TYPE\"} 1\n\
                        # HELP g_total A gauge.\n# TYPE g_total gauge\ng_total 1.0\n\
                        # HELP h Long.\n# TYPE h histogram\nh_bucket{le=\"0.5\"} 0\nh_bucket{le=\"1\",x=\"1.0\"} 2\nh_bucket{le=\"+Inf\"} 2\n";
        assert_eq!(of_openmetrics(openmetrics), expected);
    }
}
