//! Programs that give credentials: `exec` of a kubeconfig (client.authentication.k8s.io/v1 and v1beta1).
//!
//! One runs beside everything else, is ended when it takes too long, and nothing that it prints is ever shown: a token
//! may be in it.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use kube::config::{ExecAuthCluster, ExecConfig, ExecInteractiveMode};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

/// The most that is read of what one prints.
const LARGEST: u64 = 1 << 20;

/// The longest hint on how to install one that is shown.
const HINT: usize = 200;

const VERSIONS: [&str; 2] = ["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"];

/// Which program, and what it is told.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Plugin {
    command: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
    version: String,
    /// `KUBERNETES_EXEC_INFO`.
    info: String,
    hint: String,
}

/// What it gives.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) token: Option<String>,
    /// Certificate and key, PEM.
    pub(super) identity: Option<(String, String)>,
    pub(super) expires: Option<Timestamp>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Credential {
    api_version: String,
    status: Option<Status>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
    expiration_timestamp: Option<String>,
}

impl Plugin {
    /// What `exec` of a kubeconfig says; `cluster` is told if the program asks for it.
    pub(super) fn new(exec: &ExecConfig, cluster: ExecAuthCluster) -> Result<Self, String> {
        let command = exec.command.clone().filter(|command| !command.is_empty()).ok_or("exec.command: missing")?;
        let version = exec.api_version.clone().unwrap_or_default();
        if !VERSIONS.contains(&version.as_str()) {
            return Err(format!("exec.apiVersion: must be {} or {}", VERSIONS[0], VERSIONS[1]));
        }
        if exec.interactive_mode == Some(ExecInteractiveMode::Always) {
            return Err("exec.interactiveMode: must not be Always: this program has no terminal".to_owned());
        }
        let mut spec = serde_json::json!({"interactive": false});
        if exec.provide_cluster_info {
            spec["cluster"] =
                serde_json::to_value(cluster).map_err(|_| "exec.provideClusterInfo: cannot be written")?;
        }
        let info = serde_json::json!({"kind": "ExecCredential", "apiVersion": version, "spec": spec}).to_string();
        let env = exec.env.iter().flatten().map(variable).collect::<Result<_, _>>()?;
        let hint = exec.install_hint.iter().flat_map(|hint| hint.chars()).take(HINT).collect();
        Ok(Self { command, args: exec.args.clone().unwrap_or_default(), env, version, info, hint })
    }

    /// Runs it. It is ended after `patience`, and when this is dropped.
    pub(super) async fn run(&self, patience: Duration) -> Result<Given, String> {
        let command = &self.command;
        let printed = tokio::time::timeout(patience, self.printed()).await;
        let outcome = match printed {
            Ok(printed) => printed.and_then(|printed| self.read(&printed)),
            Err(_) => Err(format!("gave nothing within {patience:?}, and was ended")),
        };
        outcome.map_err(|reason| format!("exec plugin {command:?}: {reason}"))
    }

    async fn printed(&self) -> Result<Vec<u8>, String> {
        let mut command = Command::new(&self.command);
        command.args(&self.args).envs(self.env.iter().cloned()).env("KUBERNETES_EXEC_INFO", &self.info);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        // A group of its own: what it starts itself ends with it.
        let child = command.process_group(0).kill_on_drop(true).spawn().map_err(|error| self.not_started(&error))?;
        let mut group = Group::of(child);
        let mut printed = Vec::new();
        let stdout = group.child.stdout.take().expect("a pipe was asked for");
        stdout.take(LARGEST + 1).read_to_end(&mut printed).await.map_err(|error| error.to_string())?;
        if printed.len() as u64 > LARGEST {
            return Err(format!("printed more than {LARGEST} bytes, and was ended"));
        }
        let status = group.end().await.map_err(|error| error.to_string())?;
        if status.success() { Ok(printed) } else { Err(format!("ended with {status}; {NOT_SHOWN}")) }
    }

    fn not_started(&self, error: &std::io::Error) -> String {
        match (error.kind(), self.hint.as_str()) {
            (ErrorKind::NotFound, "") => "not found".to_owned(),
            (ErrorKind::NotFound, hint) => format!("not found; its installHint is {hint:?}"),
            // ENOSYS: a filter of system calls, which an agent sets whose kubeconfig names no program at its start.
            (ErrorKind::Unsupported, _) => {
                "cannot be started: this process may start no programs; restart it with this kubeconfig".to_owned()
            }
            _ => format!("cannot be started: {error}"),
        }
    }

    fn read(&self, printed: &[u8]) -> Result<Given, String> {
        // The error would quote what was printed.
        let read = serde_saphyr::from_slice::<Credential>(printed);
        let credential = read.map_err(|_| format!("what it printed is no ExecCredential; {NOT_SHOWN}"))?;
        if credential.api_version != self.version {
            return Err(format!("did not print an ExecCredential of {}; {NOT_SHOWN}", self.version));
        }
        let status = credential.status.unwrap_or_default();
        let identity = match (filled(status.client_certificate_data), filled(status.client_key_data)) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err("gave a certificate without its key, or a key without its certificate".to_owned()),
        };
        let expires = filled(status.expiration_timestamp).map(|text| text.parse::<Timestamp>()).transpose();
        let expires = expires.map_err(|_| "status.expirationTimestamp is no RFC 3339 time".to_owned())?;
        let token = filled(status.token);
        if token.is_none() && identity.is_none() {
            return Err("gave neither a token nor a certificate with its key".to_owned());
        }
        Ok(Given { token, identity, expires })
    }
}

const NOT_SHOWN: &str = "what it prints is not logged: run it by hand to see it";

fn variable(entry: &HashMap<String, String>) -> Result<(String, String), String> {
    let name = entry.get("name").filter(|name| !name.is_empty()).ok_or("exec.env: an entry has no name")?;
    Ok((name.clone(), entry.get("value").cloned().unwrap_or_default()))
}

fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// A child and whatever it starts; ended when this is dropped.
struct Group {
    child: Child,
    /// Until the child has been waited for: its number may be another's then.
    leader: Option<Pid>,
}

impl Group {
    fn of(child: Child) -> Self {
        let leader = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        Self { child, leader }
    }

    async fn end(&mut self) -> std::io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        self.leader = None;
        Ok(status)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.leader {
            // Gone already is as good.
            let _ = killpg(leader, Signal::SIGKILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::time::Instant;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// `script`, as a plugin.
    fn shell(script: &str) -> Plugin {
        let exec = ExecConfig {
            api_version: Some(VERSIONS[0].to_owned()),
            command: Some("sh".to_owned()),
            args: Some(vec!["-c".to_owned(), script.to_owned()]),
            env: Some(vec![[("name", "ROLE"), ("value", "proxy")].map(|(k, v)| (k.to_owned(), v.to_owned())).into()]),
            provide_cluster_info: true,
            ..ExecConfig::default()
        };
        Plugin::new(&exec, ExecAuthCluster { server: Some("https://a".into()), ..ExecAuthCluster::default() }).unwrap()
    }

    async fn run(script: &str) -> Result<Given, String> {
        shell(script).run(PATIENCE).await
    }

    fn credential(status: &str) -> String {
        format!("echo '{{\"kind\": \"ExecCredential\", \"apiVersion\": \"{}\", \"status\": {status}}}'", VERSIONS[0])
    }

    #[tokio::test]
    async fn what_it_prints_is_taken_and_it_is_told_of_the_cluster() {
        let given = run(&credential(r#"{"token": "t", "expirationTimestamp": "2030-01-01T00:00:00Z"}"#)).await;
        let given = given.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(given.token.as_deref(), Some("t"));
        assert_eq!(given.expires, Some("2030-01-01T00:00:00Z".parse().unwrap()));
        let given = run(&credential(r#"{"clientCertificateData": "c", "clientKeyData": "k"}"#)).await;
        assert!(given.is_ok_and(|given| given.identity == Some(("c".into(), "k".into()))));
        let told = "case $KUBERNETES_EXEC_INFO in *https://a*) [ $ROLE = proxy ] || exit 1;; *) exit 2;; esac;";
        assert!(run(&format!("{told}{}", credential(r#"{"token": "t"}"#))).await.is_ok());
    }

    #[tokio::test]
    async fn nothing_that_it_prints_is_shown() {
        let of_another = credential(r#"{"token": "hunter2"}"#).replace("io/v1", "io/hunter2");
        for (script, expected) in [
            ("echo hunter2 >&2; echo hunter2; exit 3", "ended with exit status: 3"),
            ("kill -9 $$", "ended with signal: 9"),
            ("echo '{\"status\": {\"token\": [\"hunter2\"]}}'", "is no ExecCredential"),
            ("echo '{\"token\": \"hunter2'", "is no ExecCredential"),
            (of_another.as_str(), "did not print an ExecCredential of client.authentication.k8s.io/v1;"),
            (&credential("{}"), "gave neither a token nor a certificate"),
            (&credential(r#"{"clientKeyData": "hunter2"}"#), "a key without its certificate"),
            (&credential(r#"{"token": "t", "expirationTimestamp": "hunter2"}"#), "is no RFC 3339 time"),
            ("yes hunter2", "printed more than"),
        ] {
            let error = run(script).await.err().unwrap_or_default();
            assert!(error.contains(expected) && !error.contains("hunter2"), "{script}: {error}");
        }
        let mut absent = shell("");
        (absent.command, absent.hint) = ("/none/plugin".to_owned(), "install it\n\u{1b}[31mnow".to_owned());
        let error = absent.run(PATIENCE).await.err().unwrap_or_default();
        assert_eq!(
            error, r#"exec plugin "/none/plugin": not found; its installHint is "install it\n\u{1b}[31mnow""#,
            "nothing moves the cursor"
        );
    }

    #[tokio::test]
    async fn one_that_takes_too_long_is_ended_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let started = folder.path().join("started");
        let script = format!("sleep 1000 & echo $! >{0}.new; mv {0}.new {0}; wait", started.display());
        let error = shell(&script).run(Duration::from_secs(1)).await.err().unwrap_or_default();
        assert!(error.ends_with("gave nothing within 1s, and was ended"), "{error}");
        let id = fs::read_to_string(&started).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        let status = Path::new("/proc").join(id.trim()).join("status");
        while fs::read_to_string(&status).is_ok_and(|status| !status.contains("State:\tZ")) {
            assert!(Instant::now() < deadline, "process {id} still runs");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let usable = ExecConfig {
            api_version: Some(VERSIONS[1].to_owned()),
            command: Some("true".to_owned()),
            ..ExecConfig::default()
        };
        for (change, expected) in [
            ((|_| {}) as fn(&mut ExecConfig), ""),
            (|exec| exec.command = None, "exec.command: missing"),
            (
                |exec| exec.api_version = Some("client.authentication.k8s.io/v1alpha1".into()),
                "exec.apiVersion: must be",
            ),
            (|exec| exec.interactive_mode = Some(ExecInteractiveMode::Always), "exec.interactiveMode: must not be"),
            (|exec| exec.interactive_mode = Some(ExecInteractiveMode::IfAvailable), ""),
            (|exec| exec.env = Some(vec![HashMap::new()]), "exec.env: an entry has no name"),
        ] {
            let mut exec = usable.clone();
            change(&mut exec);
            let error = Plugin::new(&exec, ExecAuthCluster::default()).err().unwrap_or_default();
            assert!(error.starts_with(expected) && error.is_empty() == expected.is_empty(), "{error}");
        }
    }
}
