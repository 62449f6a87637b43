//! `switchyard status`: what the kernel holds, whether an agent runs or not.

use std::fmt::{self, Write};

use backend_api::{
    Affinity, Family, FrontendKind, Masquerade, Observed, ObservedAnswer, ObservedFrontend, ObservedOffload,
    ObservedRoute, SourceRanges,
};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{CommandError, output};
use crate::backend::{Backend, OpenError};

/// Flags of `switchyard status`.
#[derive(Clone, Debug, Args)]
pub(super) struct StatusFlags {
    /// Show the rules of this backend [default: the first backend that has some]
    #[arg(long, alias = "proxy-mode", value_name = "NAME", ignore_case = true)]
    backend: Option<Backend>,

    /// Format of the output
    #[arg(long, short, value_name = "FORMAT", default_value = "table")]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Columns, for people
    Table,
    /// A list of frontends, for programs
    Json,
}

/// A frontend as it is printed.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    frontend: String,
    kind: &'static str,
    endpoints: Answers,
    masquerade: &'static str,
    affinity_seconds: Option<u32>,
    source_ranges: Option<Vec<String>>,
    connections: u64,
}

/// Which endpoints answer.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum Answers {
    Everyone(Answer),
    Split { inside: Answer, outside: Answer },
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Answer {
    /// Endpoints, with their weight where it is not 1.
    Balance(Vec<Endpoint>),
    Reject,
    Drop,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Endpoint {
    address: String,
    weight: u32,
}

pub(super) async fn status(flags: StatusFlags) -> Result<(), CommandError> {
    let backends = flags.backend.map_or_else(Backend::compiled, |backend| vec![backend]);
    let observed = observe(&backends).await?;
    let frontends = rows(&observed);
    let text = match flags.output {
        Output::Json => serde_json::to_string_pretty(&frontends).expect("rows are plain data"),
        Output::Table if frontends.is_empty() => {
            let names: Vec<_> = backends.into_iter().map(Backend::name).collect();
            format!("No frontends are programmed by {}.", names.join(" or "))
        }
        Output::Table => format!("{}{}{}", table(&frontends), turned_away(&observed), handed_over(&observed)),
    };
    Ok(output::line(text.trim_end_matches('\n'))?)
}

/// How many connections were turned away, by reason; empty if none.
fn turned_away(observed: &Observed) -> String {
    let counts: Vec<_> = observed.refused.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    if counts.is_empty() { String::new() } else { format!("\nTurned away: {}\n", counts.join(", ")) }
}

/// When connections are handed to the flowtable; empty if they are not.
fn handed_over(observed: &Observed) -> String {
    let mut lines = String::new();
    for family in Family::ALL {
        let Some(ObservedOffload { after, devices }) = observed.offload.of(family) else { continue };
        // The kernel allows control characters in them.
        let names: Vec<_> = devices.iter().map(|name| name.escape_debug().to_string()).collect();
        let names = if names.is_empty() { "no device".to_owned() } else { names.join(", ") };
        lines += &format!("\nTo the flowtable after about {after} packets ({family}): {names}\n");
    }
    lines
}

/// What the first of these backends that has frontends holds.
async fn observe(backends: &[Backend]) -> Result<Observed, OpenError> {
    let mut nothing = Vec::new();
    for backend in backends {
        match look(*backend).await {
            Ok(observed) if !observed.frontends.is_empty() => return Ok(observed),
            Err(error) if !error.is_unsupported() => return Err(error),
            other => nothing.push(other),
        }
    }
    // A backend that cannot run here is an error only if none can.
    let can = nothing.iter().position(Result::is_ok).unwrap_or(0);
    nothing.into_iter().nth(can).unwrap_or_else(|| Ok(Observed::default()))
}

async fn look(backend: Backend) -> Result<Observed, OpenError> {
    let observed = backend.open().await?.observe().await;
    observed.map_err(|source| OpenError::Refused { backend: backend.name(), source })
}

fn rows(observed: &Observed) -> Vec<Row> {
    observed.frontends.iter().map(|(key, frontend)| row(key.to_string(), frontend)).collect()
}

fn row(frontend: String, observed: &ObservedFrontend) -> Row {
    Row {
        frontend,
        kind: match observed.kind {
            FrontendKind::ClusterIp => "ClusterIP",
            FrontendKind::External => "External",
            FrontendKind::NodePort => "NodePort",
        },
        endpoints: match &observed.route {
            ObservedRoute::Everyone(all) => Answers::Everyone(answer(all)),
            ObservedRoute::Split { inside, outside } => {
                Answers::Split { inside: answer(inside), outside: answer(outside) }
            }
        },
        masquerade: match observed.masquerade {
            Masquerade::Never => "never",
            Masquerade::Always => "always",
            Masquerade::UnlessPod => "unless pod",
            Masquerade::FromNode => "from node",
        },
        affinity_seconds: match observed.affinity {
            Affinity::None => None,
            Affinity::ClientIp { timeout } => Some(timeout.get()),
        },
        source_ranges: match &observed.source_ranges {
            SourceRanges::Any => None,
            SourceRanges::Only(ranges) => Some(ranges.iter().map(ToString::to_string).collect()),
        },
        connections: observed.connections,
    }
}

fn answer(observed: &ObservedAnswer) -> Answer {
    match observed {
        ObservedAnswer::Balance(shares) => {
            let shares = shares.iter();
            Answer::Balance(
                shares.map(|(address, weight)| Endpoint { address: address.to_string(), weight: *weight }).collect(),
            )
        }
        ObservedAnswer::Reject => Answer::Reject,
        ObservedAnswer::Drop => Answer::Drop,
    }
}

/// Rows below headings, in columns as wide as their widest cell.
fn table(rows: &[Row]) -> String {
    let headings = ["FRONTEND", "KIND", "CONNECTIONS", "MASQUERADE", "AFFINITY", "SOURCES", "ANSWERED BY"];
    let mut lines = vec![headings.map(str::to_owned)];
    lines.extend(rows.iter().map(cells));
    let widths: [usize; 7] =
        std::array::from_fn(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0));
    let mut text = String::new();
    for line in &lines {
        let padded: Vec<_> = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        writeln!(text, "{}", padded.join("   ").trim_end()).expect("writing to a String cannot fail");
    }
    text
}

fn cells(row: &Row) -> [String; 7] {
    [
        row.frontend.clone(),
        row.kind.to_owned(),
        row.connections.to_string(),
        row.masquerade.to_owned(),
        row.affinity_seconds.map_or("-".to_owned(), |seconds| format!("{seconds}s")),
        row.source_ranges.as_ref().map_or("any".to_owned(), |ranges| ranges.join(",")),
        match &row.endpoints {
            Answers::Everyone(answer) => words(answer),
            Answers::Split { inside, outside } => format!("inside: {}; outside: {}", words(inside), words(outside)),
        },
    ]
}

fn words(answer: &Answer) -> String {
    match answer {
        Answer::Balance(endpoints) => endpoints.iter().map(Endpoint::to_string).collect::<Vec<_>>().join(", "),
        Answer::Reject => "refused".to_owned(),
        Answer::Drop => "dropped".to_owned(),
    }
}

/// `10.244.0.4:80`, or with a weight `10.244.0.4:80 ×3`.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.weight {
            1 => f.write_str(&self.address),
            weight => write!(f, "{} ×{weight}", self.address),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::IpAddr;

    use backend_api::{EndpointAddress, Family, FrontendKey, Protocol, TurnedAway};

    use super::*;

    fn example() -> Observed {
        let endpoint = |text: &str, weight| (EndpointAddress { ip: text.parse().unwrap(), port: 80 }, weight);
        let balance =
            |endpoints: &[(EndpointAddress, u32)]| ObservedAnswer::Balance(endpoints.iter().copied().collect());
        let frontend = |kind, route| ObservedFrontend {
            kind,
            route,
            masquerade: Masquerade::UnlessPod,
            affinity: Affinity::None,
            source_ranges: SourceRanges::Any,
            connections: 7,
        };
        let address: IpAddr = "10.105.145.136".parse().unwrap();
        let cluster = FrontendKey::Address { address, protocol: Protocol::Tcp, port: 8080 };
        let node_port = FrontendKey::NodePort { family: Family::V4, protocol: Protocol::Tcp, port: 30673 };
        let everyone = balance(&[endpoint("10.244.0.4", 1), endpoint("10.244.1.2", 3)]);
        let split = ObservedRoute::Split { inside: everyone.clone(), outside: ObservedAnswer::Drop };
        Observed {
            frontends: BTreeMap::from([
                (cluster, frontend(FrontendKind::ClusterIp, ObservedRoute::Everyone(everyone))),
                (node_port, frontend(FrontendKind::NodePort, split)),
            ]),
            ..Observed::default()
        }
    }

    #[test]
    fn the_table_says_which_endpoints_answer() {
        let expected = "\
FRONTEND                     KIND        CONNECTIONS   MASQUERADE   AFFINITY   SOURCES   ANSWERED BY
10.105.145.136:8080/TCP      ClusterIP   7             unless pod   -          any       10.244.0.4:80, 10.244.1.2:80 ×3
node port 30673/TCP (IPv4)   NodePort    7             unless pod   -          any       inside: 10.244.0.4:80, 10.244.1.2:80 ×3; outside: dropped
";
        assert_eq!(table(&rows(&example())), expected);
    }

    #[test]
    fn connections_that_were_turned_away_are_counted_below_the_table() {
        let mut observed = example();
        assert_eq!(turned_away(&observed), "");
        observed.refused = BTreeMap::from([(TurnedAway::WrongPort, 3), (TurnedAway::NoEndpoints, 12)]);
        assert_eq!(turned_away(&observed), "\nTurned away: no-endpoints 12, wrong-port 3\n");
    }

    #[test]
    fn devices_of_the_flowtable_are_shown_if_there_is_one() {
        let mut observed = example();
        assert_eq!(handed_over(&observed), "");
        let devices = ["cni0", "eth0"].map(str::to_owned).into();
        observed.offload.v4 = Some(ObservedOffload { after: std::num::NonZeroU32::MIN, devices });
        assert_eq!(handed_over(&observed), "\nTo the flowtable after about 1 packets (IPv4): cni0, eth0\n");
    }

    #[test]
    fn json_has_the_same_rows() {
        let json = serde_json::to_value(rows(&example())).unwrap();
        assert_eq!(json[0]["endpoints"]["balance"][1]["weight"], 3);
        assert_eq!(json[1]["endpoints"]["outside"], "drop");
        assert_eq!(json[1]["frontend"], "node port 30673/TCP (IPv4)");
    }
}
