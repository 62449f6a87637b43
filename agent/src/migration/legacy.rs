//! What only the kernel's files tell: tables of the old iptables, and a setting of kube-proxy's iptables mode.

use std::fs;

use super::report::{Left, Removed, Report};

/// Adds what is found to `report`, which knows already what was removed.
pub(super) fn look(report: &mut Report) {
    let files = [
        ("iptables", "/proc/thread-self/net/ip_tables_names"),
        ("ip6tables", "/proc/thread-self/net/ip6_tables_names"),
    ];
    for (program, path) in files {
        report.left.extend(fs::read_to_string(path).ok().and_then(|names| tables(program, &names)));
    }
    // What no chain of kube-proxy's goes with, somebody else has set.
    let is_iptables = |removed: &Removed| matches!(removed, Removed::Chains { table, .. } if table == "ip nat");
    let is_on =
        || fs::read_to_string("/proc/sys/net/ipv4/conf/all/route_localnet").is_ok_and(|text| text.trim() == "1");
    if report.removed.iter().any(is_iptables) && is_on() {
        report.left.push(Left::RouteLocalnet);
    }
}

/// None unless services may be among them: those are in `nat`.
fn tables(program: &'static str, names: &str) -> Option<Left> {
    let tables: Vec<String> = names.lines().map(str::to_owned).collect();
    tables.iter().any(|table| table == "nat").then_some(Left::LegacyTables { program, tables })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legacy_tables_are_told_of_where_services_could_be() {
        assert_eq!(tables("iptables", ""), None);
        assert_eq!(tables("iptables", "filter\nmangle\n"), None);
        let left = tables("ip6tables", "nat\nfilter\n").unwrap();
        assert!(
            left.to_string().contains("`ip6tables-legacy-save | grep -v KUBE- | ip6tables-legacy-restore`"),
            "{left}"
        );
    }
}
