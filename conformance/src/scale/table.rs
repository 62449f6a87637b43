//! What was measured, as a table for people.

use std::fmt;

use super::measured::Measured;

/// A row for each thing that was measured, a column for each size.
#[derive(Debug)]
pub struct Table<'a>(pub &'a [Measured]);

/// A name, and how its value is written.
type Row = (&'static str, fn(&Measured) -> Option<String>);

const ROWS: [Row; 27] = [
    ("endpoints of each", |m| Some(m.endpoints.to_string())),
    ("first sync", |m| Some(time(m.first_sync_seconds))),
    ("  objects to state", |m| Some(time(m.sync_phases.resolve))),
    ("  state to elements", |m| some(m.sync_phases.render)),
    ("  elements to changes", |m| some(m.sync_phases.diff)),
    ("  changes to netlink", |m| some(m.sync_phases.encode)),
    ("  the kernel", |m| some(m.sync_phases.kernel)),
    ("  as text by nft or ipvsadm", |m| m.compared.as_text_seconds.map(time)),
    ("  a chain for each service", |m| m.compared.chain_per_service_load_seconds.map(time)),
    ("  kube-proxy", |m| m.compared.peer_first_sync_seconds.map(time)),
    ("one change, p50", |m| m.change_seconds.map(|spread| time(spread.p50))),
    ("one change, p99", |m| m.change_seconds.map(|spread| time(spread.p99))),
    ("  a chain for each service", |m| m.compared.chain_per_service_change_seconds.map(time)),
    ("restart", |m| Some(format!("{}, {} writes", time(m.restart_seconds), m.restart_writes))),
    ("memory after the first sync", |m| Some(bytes(m.rss_bytes.after_sync))),
    ("memory after all changes", |m| Some(bytes(m.rss_bytes.after_changes))),
    ("the kernel's memory", |m| Some(bytes(m.kernel_bytes))),
    ("netlink, first sync", |m| Some(bytes(m.netlink_bytes))),
    ("first packet and its answer, p10", |m| m.connect.as_ref().map(|connect| time(connect.seconds))),
    ("  over one static DNAT rule", |m| {
        m.connect.as_ref().map(|connect| format!("{:.3}", connect.ratio_to_single_dnat))
    }),
    ("  over one static DNAT rule, as many dialled", |m| {
        m.connect.as_ref().map(|connect| format!("{:.3}", connect.ratio_to_single_dnat_for_all))
    }),
    ("  over a chain for each service", |m| {
        m.connect.as_ref()?.ratio_to_chain_per_service.map(|ratio| format!("{ratio:.3}"))
    }),
    ("  p50", |m| m.connect.as_ref().map(|connect| time(connect.first_packet_seconds.p50))),
    ("one connection, bytes per second", |m| m.throughput.as_ref().map(|carried| rate(carried.bytes_per_second))),
    ("  through the flowtable", |m| m.throughput.as_ref()?.flowtable_bytes_per_second.map(rate)),
    ("  in single frames", |m| m.throughput.as_ref().map(|carried| rate(carried.frames_bytes_per_second))),
    ("  in single frames through the flowtable", |m| {
        m.throughput.as_ref()?.frames_flowtable_bytes_per_second.map(rate)
    }),
];

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.0.first() else { return Ok(()) };
        writeln!(f, "{}, kernel {}, load {:.1}\n", first.backend, first.kernel, first.load)?;
        let sizes: Vec<_> = self.0.iter().map(|measured| measured.services.to_string()).collect();
        writeln!(f, "| services | {} |", sizes.join(" | "))?;
        writeln!(f, "|---|{}", "--:|".repeat(sizes.len()))?;
        for (name, value) in ROWS {
            let values: Vec<_> = self.0.iter().map(value).collect();
            if values.iter().any(Option::is_some) {
                let written: Vec<_> = values.into_iter().map(|value| value.unwrap_or_else(|| "–".to_owned())).collect();
                writeln!(f, "| {} | {} |", name.replace("  ", "… "), written.join(" | "))?;
            }
        }
        for measured in self.0 {
            for reason in &measured.compared.left_out {
                writeln!(f, "\n{} services: left out: {reason}", measured.services)?;
            }
            if let Some(sustained) = &measured.sustained {
                writeln!(
                    f,
                    "\n{} services, {} changes a second for {} s: {:.0} taken a second in {} syncs, backlog by the second {:?}, {:.1} % of one processor",
                    measured.services,
                    sustained.asked.per_second,
                    sustained.asked.seconds,
                    sustained.per_second,
                    sustained.syncs,
                    sustained.backlog,
                    sustained.cpu_share * 100.0
                )?;
            }
        }
        Ok(())
    }
}

/// A phase; a backend that does not tell it has none.
fn some(seconds: f64) -> Option<String> {
    (seconds > 0.0).then(|| time(seconds))
}

/// Three digits and a unit.
pub(crate) fn time(seconds: f64) -> String {
    match seconds {
        s if s >= 1.0 => format!("{} s", digits(s)),
        s if s >= 1e-3 => format!("{} ms", digits(s * 1e3)),
        s => format!("{} µs", digits(s * 1e6)),
    }
}

fn rate(bytes: f64) -> String {
    self::bytes(bytes as u64)
}

fn bytes(bytes: u64) -> String {
    match bytes as f64 {
        b if b >= 1e6 => format!("{} MB", digits(b / 1e6)),
        b => format!("{} kB", digits(b / 1e3)),
    }
}

fn digits(value: f64) -> String {
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_have_three_digits() {
        assert_eq!([0.2834, 46.2, 0.000_091_2].map(time), ["283 ms", "46.2 s", "91.2 µs"]);
        assert_eq!([57_000_000, 1_234].map(bytes), ["57.0 MB", "1.23 kB"]);
    }
}
