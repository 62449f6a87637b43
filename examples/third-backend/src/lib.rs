//! A third backend, to learn from: it writes the whole state as text and gives it to the program `nft`.
//!
//! ```text
//! ServiceState ──► rules::table ──► text ──► nft -f - ──► the kernel, one transaction
//!                                    └─ hash ──► comment of the table ──► "this is programmed already"
//! ```
//!
//! It is the smallest backend that keeps the contract of [`Dataplane`], not a fast one: one changed endpoint costs as
//! much as the whole state. What it does not do is declared in [`subject`]. `docs/backend.md` walks through it.

mod rules;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write as _;
use std::process::{Command, Stdio};

use async_trait::async_trait;
use backend_api::{Dataplane, Observed, Report, Scope, ServiceState, SyncError};
use conformance::Subject;

/// Our table. Its name and its comment are how a later process knows that it is ours.
const TABLE: &str = "inet switchyard-third";

/// The backend. It remembers nothing: the kernel is asked each time.
#[derive(Debug)]
pub struct Text;

#[async_trait]
impl Dataplane for Text {
    fn name(&self) -> &'static str {
        "text"
    }

    /// The scope is a hint, and this backend ignores it: it always looks at everything.
    async fn sync(&mut self, desired: &ServiceState, _: Scope<'_>) -> Result<Report, SyncError> {
        let rules = rules::table(desired);
        let comment = fingerprint(&rules);
        let mut report = Report::default();
        // Promise: what is right already is left alone, in a new process too. So the comment says what is programmed.
        if programmed().as_deref() != Some(&*comment) {
            // Promise: one transaction. `table` before `delete table` makes the deletion work where there is none yet.
            nft(&format!("table {TABLE}\ndelete table {TABLE}\ntable {TABLE} {{\ncomment \"{comment}\"\n{rules}}}\n"))?;
            report.writes = rules.lines().count();
        }
        Ok(report)
    }

    async fn observe(&mut self) -> Result<Observed, SyncError> {
        Err(SyncError::Unsupported {
            feature: "observe".into(),
            reason: "this example does not read rules back".into(),
        })
    }

    /// Promise: everything of ours goes, nothing else does, and a second time is no error.
    async fn remove_all(&mut self) -> Result<(), SyncError> {
        nft(&format!("table {TABLE}\ndelete table {TABLE}\n"))
    }
}

fn fingerprint(rules: &str) -> String {
    let mut hasher = DefaultHasher::new();
    rules.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// The comment of our table in the network namespace of this thread, if there is one.
fn programmed() -> Option<String> {
    let listed = Command::new("nft").args(["list", "table"]).args(TABLE.split(' ')).output().ok()?;
    let text = String::from_utf8(listed.stdout).ok()?;
    let (_, comment) = text.split_once("comment \"")?;
    Some(comment.split_once('"')?.0.to_owned())
}

/// Runs `nft -f -` in the network namespace of this thread. It blocks the thread, which a real backend should not.
fn nft(script: &str) -> Result<(), SyncError> {
    let refused = |reason: String| SyncError::Refused { object: "nft".into(), reason };
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| refused(error.to_string()))?;
    let written = child.stdin.take().expect("piped above").write_all(script.as_bytes());
    let output = child.wait_with_output().and_then(|output| written.map(|()| output));
    let output = output.map_err(|error| refused(error.to_string()))?;
    if output.status.success() { Ok(()) } else { Err(refused(String::from_utf8_lossy(&output.stderr).into_owned())) }
}

/// Scenarios of `stale-flows` that fail: nothing here deletes entries of conntrack, so UDP and SCTP clients that keep
/// their port stay with an endpoint that has gone, and TCP clients without an answer with what they met. Those that pass
/// are about flows that must not be cut.
const STALE_FLOWS: [&str; 16] = [
    "a-changed-endpoint-port-is-followed",
    "a-client-with-a-fixed-port-follows-its-endpoint",
    "a-deleted-service-s-flows-end",
    "a-flow-ends-with-its-address-though-the-service-lives",
    "endpoints-that-went-while-the-agent-was-down-are-cleaned",
    "external-addresses-are-cleaned-too",
    "flows-to-a-terminating-endpoint-that-serves-are-not-cut",
    "ipv6-flows-are-cleaned-too",
    "node-ports-are-cleaned-too",
    "sctp-associations-to-gone-endpoints-end",
    "the-last-endpoint-s-flows-end",
    "the-node-s-own-flows-follow-too",
    "a-client-from-before-the-service-is-served",
    "a-tcp-client-from-before-the-agent-is-let-in",
    "a-tcp-client-from-before-the-service-is-let-in",
    "a-tcp-client-of-a-dead-endpoint-gets-another",
];

/// The backend for the conformance suite, with what it does not do.
pub fn subject() -> Subject {
    let subject = Subject::new("text", |_flags| async { Ok::<_, SyncError>(Text) })
        .with_gap("affinity", "clients are not remembered")
        .with_gap("no-endpoints/session-affinity-does-not-hold-the-refusal-back", "clients are not remembered");
    STALE_FLOWS.iter().fold(subject, |subject, claim| {
        subject.with_gap(&format!("stale-flows/{claim}"), "entries of conntrack are not deleted")
    })
}
