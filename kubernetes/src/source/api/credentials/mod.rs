//! How the API is reached, and with which credentials: a kubeconfig, or the service account of a pod.
//!
//! ```text
//! kubeconfig ┐ files (bounded) ──► Account ──► plugin (a program, with a time-out) ──► Access ──► servers
//! pod        ┘      └ SeenFiles: what to look at for changes
//! ```
//!
//! Read and run here instead of by kube, which runs programs in place, prints what they print, takes a token file as it
//! is, and says nothing of what it passes over.
//!
//! **Invariant:** no error and no warning holds what a file or a program says beyond names
//! (`nothing_secret_is_printed`, `nothing_that_it_prints_is_shown`).

mod files;
mod kubeconfig;
mod plugin;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::Uri;
use http::header::{HeaderValue, USER_AGENT};
use jiff::Timestamp;
use kube::Config;
use kube::config::AuthInfo;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use self::kubeconfig::{Account, Shown, Verified};
use self::plugin::{Given, Plugin};
use crate::source::{ApiConfig, ServerUrl};

pub(super) use self::files::{Change, SeenFiles};

/// How long what a program gave is used at least, whatever the API says: four kinds of objects are refused at once.
const KEPT: Duration = Duration::from_secs(5);

/// All that is needed to reach the API.
pub(super) struct Access {
    pub(super) servers: Vec<ServerUrl>,
    /// The cluster's proxy, as it is written.
    pub(super) proxy: Option<String>,
    /// TLS, credentials and headers; its URL means nothing.
    pub(super) config: Config,
    /// In words, what is shown to the servers; empty if nothing is.
    pub(super) means: &'static str,
    /// When credentials have to be had again.
    pub(super) expires: Option<Timestamp>,
    pub(super) warnings: Vec<String>,
}

/// Whether the kubeconfig at `path` says how to reach an API, as [`watch_api`](super::watch_api) would take it. It and
/// every file that it names are read with `read_file`; no program that it names is run. Returns what an operator should
/// know.
///
/// # Errors
/// What is wrong with it.
pub fn check_kubeconfig(
    path: &Path,
    mut read_file: impl FnMut(&Path) -> Result<Vec<u8>, String>,
) -> Result<Vec<String>, String> {
    let account = kubeconfig::read(path, &mut read_file)?;
    Ok(access(&ApiConfig::default(), account, None)?.warnings)
}

/// What a program gave last.
#[derive(Default)]
pub(super) struct LastGiven(Option<(Plugin, Given, Instant)>);

/// Whether what a program gave may be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reuse {
    Yes,
    /// The API refused it.
    No,
}

/// Reads everything anew.
pub(super) async fn read_access(
    config: &ApiConfig,
    seen: impl FnOnce(SeenFiles),
    last: &mut LastGiven,
    reuse: Reuse,
    patience: Duration,
) -> Result<Access, String> {
    let asked = config.clone();
    // Off the threads that serve everything else: a file system may be slow.
    let read = tokio::task::spawn_blocking(move || {
        let mut seen = SeenFiles::default();
        (read_account(&asked, &mut seen), seen)
    });
    let (account, files) = read.await.map_err(|_| "this process ends".to_owned())?;
    seen(files);
    let account = account?;
    let given = match &account.plugin {
        Some(plugin) => Some(last.get(plugin, reuse, patience).await.map_err(|reason| in_kubeconfig(config, reason))?),
        None => None,
    };
    access(config, account, given).map_err(|reason| in_kubeconfig(config, reason))
}

impl LastGiven {
    async fn get(&mut self, plugin: &Plugin, reuse: Reuse, patience: Duration) -> Result<Given, String> {
        if let Some((last, given, at)) = &self.0
            && last == plugin
            && given.expires.is_none_or(|expires| expires > Timestamp::now())
            && (reuse == Reuse::Yes || at.elapsed() < KEPT)
        {
            return Ok(given.clone());
        }
        let given = plugin.run(patience).await?;
        self.0 = Some((plugin.clone(), given.clone(), Instant::now()));
        Ok(given)
    }
}

/// Names the file that a reason is about.
fn in_kubeconfig(config: &ApiConfig, reason: String) -> String {
    format!("{}: {reason}", config.credentials())
}

fn read_account(config: &ApiConfig, seen: &mut SeenFiles) -> Result<Account, String> {
    let account = match &config.kubeconfig {
        Some(path) => kubeconfig::read(path, &mut |path| seen.read(path)),
        None => {
            let pod = Pod {
                host: std::env::var("KUBERNETES_SERVICE_HOST").ok(),
                port: std::env::var("KUBERNETES_SERVICE_PORT").ok(),
                folder: PathBuf::from("/var/run/secrets/kubernetes.io/serviceaccount"),
            };
            match (pod.account(seen), config.masters.as_slice()) {
                // Not in a pod: API servers that ask for no credentials, or have them in their URLs.
                (Err(_), [_, ..]) if pod.host.is_none() || !pod.folder.exists() => Ok(Account::default()),
                (read, _) => read,
            }
        }
    };
    account.map_err(|reason| in_kubeconfig(config, reason))
}

/// What a pod is told of its cluster.
struct Pod {
    host: Option<String>,
    port: Option<String>,
    /// The service account.
    folder: PathBuf,
}

impl Pod {
    fn account(&self, seen: &mut SeenFiles) -> Result<Account, String> {
        let mut read = |name: &str| {
            let path = self.folder.join(name);
            seen.read(&path).map_err(|reason| format!("{}: {reason}", path.display()))
        };
        let (token, authority) = (read("token"), read("ca.crt"));
        let namespace = read("namespace").ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let (Some(host), Some(port)) = (&self.host, &self.port) else {
            return Err("KUBERNETES_SERVICE_HOST or KUBERNETES_SERVICE_PORT is not set".to_owned());
        };
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        let server = format!("https://{host}:{port}").parse::<ServerUrl>().map_err(|error| error.to_string())?;
        let path = self.folder.join("token").display().to_string();
        let token = String::from_utf8(token?).map_err(|_| format!("{path}: is not UTF-8 text"))?;
        let token = match token.trim() {
            "" => return Err(format!("{path}: is empty")),
            token => kubeconfig::header(&path, token)?,
        };
        Ok(Account {
            server: Some(server),
            namespace: namespace.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()),
            authority: Some(authority?),
            shown: Shown::Token(token),
            means: "token",
            ..Account::default()
        })
    }
}

fn access(config: &ApiConfig, account: Account, given: Option<Given>) -> Result<Access, String> {
    let expires = given.as_ref().and_then(|given| given.expires);
    let (shown, identity) = match given {
        Some(Given { token, identity, .. }) => {
            let token = token.map(|token| kubeconfig::header("exec: the token", &token)).transpose()?;
            let identity = identity.map(|(certificate, key)| (certificate.into_bytes(), key.into_bytes()));
            (token.map_or(Shown::Nothing, Shown::Token), identity.or(account.identity))
        }
        None => (account.shown, account.identity),
    };
    let servers = match (config.masters.as_slice(), account.server) {
        ([], Some(server)) => vec![server],
        ([], None) => return Err("server: missing".to_owned()),
        (masters, _) => masters.to_vec(),
    };
    let mut warnings = account.warnings;
    if shown != Shown::Nothing {
        let open = servers.iter().filter(|url| url.with_secrets().starts_with("http://"));
        warnings.extend(open.map(|url| format!("server {url}: credentials are sent unencrypted; use https")));
    }
    let mut access = Config::new(Uri::from_static("https://localhost"));
    access.default_namespace = account.namespace.unwrap_or_else(|| "default".to_owned());
    access.root_cert = account.authority.as_deref().map(certificates).transpose()?;
    access.accept_invalid_certs = account.verified == Verified::No;
    access.tls_server_name = account.tls_server_name;
    access.auth_info = auth_info(account.impersonated, shown, identity);
    let agent = concat!("switchyard/", env!("CARGO_PKG_VERSION"));
    access.headers.push((USER_AGENT, HeaderValue::from_static(agent)));
    Ok(Access { servers, proxy: account.proxy, config: access, means: account.means, expires, warnings })
}

/// As kube takes them: no file to read, no program to run.
fn auth_info(impersonated: AuthInfo, shown: Shown, identity: Option<(Vec<u8>, Vec<u8>)>) -> AuthInfo {
    let (username, password, token) = match shown {
        Shown::Nothing => (None, None, None),
        Shown::Token(token) => (None, None, Some(token.into())),
        Shown::Password { user, password } => (Some(user), Some(password.into()), None),
    };
    let (certificate, key) = identity.unzip();
    let client_certificate_data = certificate.map(|pem| BASE64_STANDARD.encode(pem));
    let client_key_data = key.map(|pem| BASE64_STANDARD.encode(pem).into());
    AuthInfo { username, password, token, client_certificate_data, client_key_data, ..impersonated }
}

fn certificates(pem: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let read = CertificateDer::pem_slice_iter(pem).map(|certificate| certificate.map(|der| der.to_vec()));
    match read.collect::<Result<Vec<_>, _>>() {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err("certificate-authority: holds no certificate (PEM)".to_owned()),
        Err(_) => Err("certificate-authority: is no PEM".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// What the kubelet does when a projected token is renewed.
    fn project(folder: &Path, version: &str, token: &str) {
        fs::create_dir(folder.join(version)).unwrap();
        for (name, content) in [("token", token), ("ca.crt", "authority"), ("namespace", "kube-system")] {
            fs::write(folder.join(version).join(name), content).unwrap();
            let link = folder.join(name);
            if !link.exists() {
                symlink(Path::new("..data").join(name), link).unwrap();
            }
        }
        symlink(version, folder.join("..new")).unwrap();
        fs::rename(folder.join("..new"), folder.join("..data")).unwrap();
    }

    #[test]
    fn a_pods_service_account_is_read_again_when_it_is_renewed() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().to_owned();
        project(&folder, "..first", "one\n");
        let pod = Pod { host: Some("fd00::1".into()), port: Some("6443".into()), folder: folder.clone() };
        let mut seen = SeenFiles::default();
        let Ok(account) = pod.account(&mut seen) else { panic!("it is read") };
        assert!(account.shown == Shown::Token("one".to_owned()));
        assert_eq!(account.server.unwrap().to_string(), "https://[fd00::1]:6443");
        assert_eq!(account.namespace.as_deref(), Some("kube-system"));
        // Once it is no news any more.
        while seen.look_again() == Change::Some {}
        project(&folder, "..second", "two");
        assert_eq!(seen.look_again(), Change::Some);
        let Ok(account) = pod.account(&mut seen) else { panic!("it is read") };
        assert!(account.shown == Shown::Token("two".to_owned()));
    }

    #[test]
    fn what_a_pod_lacks_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().to_owned();
        let pod =
            |host: Option<&str>| Pod { host: host.map(Into::into), port: Some("1".into()), folder: folder.clone() };
        let reason = |host| pod(host).account(&mut SeenFiles::default()).err().unwrap_or_default();
        assert!(reason(None).starts_with("KUBERNETES_SERVICE_HOST or KUBERNETES_SERVICE_PORT is not set"));
        assert!(reason(Some("a")).ends_with("token: No such file or directory (os error 2)"));
        project(&folder, "..first", "");
        assert!(reason(Some("a")).ends_with("token: is empty"));
    }
}
