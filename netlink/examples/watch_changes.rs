//! Prints the changes of the tables of a name, commit by commit, until it is interrupted. Only reads.
//!
//! `cargo run -p switchyard-netlink --example watch_changes -- TABLE`, as root.

use nix::errno::Errno;
use switchyard_netlink::nftables::{Action, Monitor, Notification, Object};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Some(table) = std::env::args().nth(1) else { return Err("usage: watch_changes TABLE".into()) };
    let mut changes = Changes::of(&table);
    let mut monitor = Monitor::open()?;
    loop {
        match monitor.receive().await {
            Ok(notifications) => {
                for report in notifications.filter_map(|notification| changes.note(&notification)) {
                    println!("{report}");
                }
            }
            Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => {
                println!("notifications were lost: list the table to see what it holds");
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The changes of one commit, until its generation is announced.
pub(crate) struct Changes {
    table: String,
    lines: Vec<String>,
}

impl Changes {
    /// Of the tables of this name.
    pub(crate) fn of(table: &str) -> Self {
        Changes { table: table.to_owned(), lines: Vec::new() }
    }

    /// Takes a notification. Returns a report when a commit that changed the tables is complete.
    pub(crate) fn note(&mut self, notification: &Notification<'_>) -> Option<String> {
        match notification {
            Notification::Object { action, family, table, object } if *table == self.table => {
                let sign = if *action == Action::Put { '+' } else { '-' };
                self.lines.push(format!("  {sign} {family} {table} {}", described(object)));
                None
            }
            Notification::Generation { number, process, program } if !self.lines.is_empty() => {
                let lines = std::mem::take(&mut self.lines).join("\n");
                Some(format!("generation {number}, by {program} ({process}):\n{lines}"))
            }
            _ => None,
        }
    }
}

fn described(object: &Object<'_>) -> String {
    match object {
        Object::Table(_) => "table".to_owned(),
        Object::Chain(chain) => format!("chain {}", chain.name),
        Object::Rule(rule) => {
            let exprs: Vec<_> = rule.exprs.iter().map(|expr| format!("[ {expr} ]")).collect();
            format!("rule {} in chain {} {}", rule.handle, rule.chain, exprs.join(" ")).trim_end().to_owned()
        }
        Object::Set(set) => format!("set {}", set.name),
        Object::Elements { set, elements } => format!("{} elements in set {set}", elements.iter().count()),
        Object::Flowtable(flowtable) => format!("flowtable {}", flowtable.name),
        _ => "another object".to_owned(),
    }
}
