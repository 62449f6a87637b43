//! `switchyard status`: what the kernel holds, whoever programmed it and whether an agent runs or not.

use std::fmt::Write;

use backend_api::{
    Affinity, Family, FrontendKind, Masquerade, Observed, ObservedAnswer, ObservedFrontend, ObservedOffload,
    ObservedRoute, SourceRanges,
};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::CommandError;
use crate::backend::{Backend, OpenError};

/// Flags of `switchyard status`.
#[derive(Clone, Debug, Args)]
pub(super) struct StatusFlags {
    /// Which backend's rules to show, if not those of whichever has some
    #[arg(long, alias = "proxy-mode", value_name = "NAME", ignore_case = true)]
    backend: Option<Backend>,

    /// How to print it
    #[arg(long, short, value_name = "FORMAT", default_value = "table")]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Table,
    /// For programs: a list of frontends
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

/// Who answers.
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
    let rows = rows(&observed);
    match flags.output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&rows).expect("rows are plain data")),
        Output::Table if rows.is_empty() => {
            let names: Vec<_> = backends.into_iter().map(Backend::name).collect();
            println!("No frontends are programmed by {}.", names.join(" or "))
        }
        Output::Table => print!("{}{}{}", table(&rows), turned_away(&observed), handed_over(&observed)),
    }
    Ok(())
}

/// Who was turned away, if anybody was.
fn turned_away(observed: &Observed) -> String {
    let counts: Vec<_> = observed.refused.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    if counts.is_empty() { String::new() } else { format!("\nTurned away: {}\n", counts.join(", ")) }
}

/// When connections leave the path of rules, if they do.
fn handed_over(observed: &Observed) -> String {
    let line = |family: Family| {
        let ObservedOffload { after, devices } = observed.offload.of(family).as_ref()?;
        let devices: Vec<_> = devices.iter().map(String::as_str).collect();
        let devices = if devices.is_empty() { "no device".to_owned() } else { devices.join(", ") };
        Some(format!("\nTo the flowtable after about {after} packets ({family}): {devices}\n"))
    };
    Family::ALL.into_iter().filter_map(line).collect()
}

/// What the first of these backends has that has something.
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
    let refused = |source| OpenError::Refused { backend: backend.name(), source };
    backend.open().await?.observe().await.map_err(refused)
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
            let endpoint = |(address, weight): (&backend_api::EndpointAddress, &u32)| Endpoint {
                address: address.to_string(),
                weight: *weight,
            };
            Answer::Balance(shares.iter().map(endpoint).collect())
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
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 7] = std::array::from_fn(width);
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
        Answer::Balance(endpoints) => {
            let word = |Endpoint { address, weight }: &Endpoint| match weight {
                1 => address.clone(),
                weight => format!("{address} ×{weight}"),
            };
            endpoints.iter().map(word).collect::<Vec<_>>().join(", ")
        }
        Answer::Reject => "refused".to_owned(),
        Answer::Drop => "dropped".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::IpAddr;

    use backend_api::{EndpointAddress, Family, FrontendKey, Protocol, TurnedAway};

    use super::*;

    fn observed() -> Observed {
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
    fn the_table_says_who_answers_whom() {
        let expected = "\
FRONTEND                     KIND        CONNECTIONS   MASQUERADE   AFFINITY   SOURCES   ANSWERED BY
10.105.145.136:8080/TCP      ClusterIP   7             unless pod   -          any       10.244.0.4:80, 10.244.1.2:80 ×3
node port 30673/TCP (IPv4)   NodePort    7             unless pod   -          any       inside: 10.244.0.4:80, 10.244.1.2:80 ×3; outside: dropped
";
        assert_eq!(table(&rows(&observed())), expected);
    }

    #[test]
    fn who_was_turned_away_is_said_below_the_table_if_anybody_was() {
        let mut observed = observed();
        assert_eq!(turned_away(&observed), "");
        observed.refused = BTreeMap::from([(TurnedAway::WrongPort, 3), (TurnedAway::NoEndpoints, 12)]);
        assert_eq!(turned_away(&observed), "\nTurned away: no-endpoints 12, wrong-port 3\n");
    }

    #[test]
    fn where_connections_are_handed_over_is_said_if_they_are() {
        let mut observed = observed();
        assert_eq!(handed_over(&observed), "");
        let devices = ["cni0", "eth0"].map(str::to_owned).into();
        observed.offload.v4 = Some(ObservedOffload { after: std::num::NonZeroU32::MIN, devices });
        assert_eq!(handed_over(&observed), "\nTo the flowtable after about 1 packets (IPv4): cni0, eth0\n");
    }

    #[test]
    fn programs_read_the_same() {
        let json = serde_json::to_value(rows(&observed())).unwrap();
        assert_eq!(json[0]["endpoints"]["balance"][1]["weight"], 3);
        assert_eq!(json[1]["endpoints"]["outside"], "drop");
        assert_eq!(json[1]["frontend"], "node port 30673/TCP (IPv4)");
    }
}
