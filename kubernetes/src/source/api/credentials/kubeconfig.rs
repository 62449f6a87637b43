//! What a kubeconfig says, as client-go takes it: each field works, is refused, or is warned of by its name.

use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use kube::config::{AuthInfo, Cluster, ExecAuthCluster, Kubeconfig};
use secrecy::{ExposeSecret, SecretString};

use super::plugin::Plugin;
use crate::source::ServerUrl;

/// What was read, before a plugin has run.
#[derive(Default)]
pub(super) struct Account {
    /// None: only where another URL stands in its place.
    pub(super) server: Option<ServerUrl>,
    pub(super) namespace: Option<String>,
    /// Certificates, PEM. None: those of the system.
    pub(super) authority: Option<Vec<u8>>,
    pub(super) tls_server_name: Option<String>,
    pub(super) verified: Verified,
    pub(super) proxy: Option<String>,
    pub(super) shown: Shown,
    /// In words, what is shown; empty if nothing is.
    pub(super) means: &'static str,
    /// Certificate and key, PEM.
    pub(super) identity: Option<(Vec<u8>, Vec<u8>)>,
    pub(super) plugin: Option<Plugin>,
    /// `as` and what belongs to it; nothing else of it is filled.
    pub(super) impersonated: AuthInfo,
    /// What an operator should know.
    pub(super) warnings: Vec<String>,
}

/// Whether the server's certificate is.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Verified {
    #[default]
    Yes,
    No,
}

/// What a request shows.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) enum Shown {
    #[default]
    Nothing,
    Token(String),
    Password {
        user: String,
        password: String,
    },
}

/// Reads the kubeconfig at `path` and every file that it names, each with `read_file`.
pub(super) fn read(
    path: &Path,
    read_file: &mut dyn FnMut(&Path) -> Result<Vec<u8>, String>,
) -> Result<Account, String> {
    let file = parse(&read_file(path)?)?;
    let context = file.current_context.filter(|name| !name.is_empty()).ok_or("current-context: missing")?;
    let contexts = file.contexts.into_iter().find(|named| named.name == context).and_then(|named| named.context);
    let chosen = contexts.ok_or_else(|| format!("contexts: no context {context:?}"))?;
    let clusters = file.clusters.into_iter().find(|named| named.name == chosen.cluster).and_then(|named| named.cluster);
    let cluster = clusters.ok_or_else(|| format!("clusters: no cluster {:?}", chosen.cluster))?;
    let user_name = chosen.user.unwrap_or_default();
    let user = file.auth_infos.into_iter().find(|named| named.name == user_name).and_then(|named| named.auth_info);

    let mut account = Account { namespace: filled(chosen.namespace.as_ref()).cloned(), ..Account::default() };
    if user.is_none() {
        account.warnings.push(format!("users: no user {user_name:?}: requests show no credentials"));
    }
    let mut files = Files { folder: path.parent().unwrap_or(Path::new("")), read_file };
    account.read_cluster(&cluster, &mut files)?;
    account.read_user(&user.unwrap_or_default(), &cluster, &mut files)?;
    Ok(account)
}

/// The text of a kubeconfig. Of a mistake in it only the place is told: a token may stand there.
fn parse(text: &[u8]) -> Result<Kubeconfig, String> {
    let text = std::str::from_utf8(text).map_err(|_| "is not UTF-8 text")?;
    let text = text.trim_start_matches('\u{feff}');
    let documents = serde_saphyr::from_multiple::<Kubeconfig>(text).map_err(|error| match error.location() {
        Some(place) => format!("line {}, column {}: cannot be read as a kubeconfig", place.line(), place.column()),
        None => "cannot be read as a kubeconfig".to_owned(),
    })?;
    let merged = documents.into_iter().try_fold(Kubeconfig::default(), Kubeconfig::merge);
    merged.map_err(|_| "its documents differ in kind or apiVersion".to_owned())
}

impl Account {
    fn read_cluster(&mut self, cluster: &Cluster, files: &mut Files<'_>) -> Result<(), String> {
        self.warn_of_unknown("cluster", cluster.other.keys());
        let server = filled(cluster.server.as_ref()).map(|url| url.parse::<ServerUrl>()).transpose();
        self.server = server.map_err(|error| format!("server: {error}"))?;
        let (data, file) = (&cluster.certificate_authority_data, &cluster.certificate_authority);
        self.authority = self.content("certificate-authority", data.as_deref(), file.as_ref(), files)?;
        self.tls_server_name = filled(cluster.tls_server_name.as_ref()).cloned();
        self.proxy = filled(cluster.proxy_url.as_ref()).cloned();
        if cluster.insecure_skip_tls_verify == Some(true) {
            if self.authority.is_some() {
                return Err("certificate-authority and insecure-skip-tls-verify: remove one of them".to_owned());
            }
            self.verified = Verified::No;
            self.warnings.push(
                "insecure-skip-tls-verify: the API server's certificate is not verified, so another machine can pose as \
                 it and read the credentials; give certificate-authority instead"
                    .to_owned(),
            );
        }
        Ok(())
    }

    fn read_user(&mut self, user: &AuthInfo, cluster: &Cluster, files: &mut Files<'_>) -> Result<(), String> {
        self.warn_of_unknown("user", user.other.keys());
        if let Some(provider) = &user.auth_provider {
            return Err(format!("auth-provider {:?}: there are none any more; use exec or tokenFile", provider.name));
        }
        let (data, file) = (&user.client_certificate_data, &user.client_certificate);
        let certificate = self.content("client-certificate", data.as_deref(), file.as_ref(), files)?;
        let data = user.client_key_data.as_ref().map(secret);
        let key = self.content("client-key", data, user.client_key.as_ref(), files)?;
        self.identity = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => return Err("client-key: missing; it belongs to client-certificate".to_owned()),
            (None, Some(_)) => return Err("client-certificate: missing; it belongs to client-key".to_owned()),
        };
        let token = self.token(user, files)?;
        let password = user.password.as_ref().map(secret).unwrap_or_default();
        let user_name = filled(user.username.as_ref());
        (self.shown, self.means) = match (token, user_name) {
            (Some(_), Some(_)) => return Err("token and username: remove one of them".to_owned()),
            (Some(token), None) => (Shown::Token(token), "token"),
            (None, Some(name)) => (Shown::Password { user: name.clone(), password: password.to_owned() }, "password"),
            (None, None) if self.identity.is_some() => (Shown::Nothing, "client certificate"),
            (None, None) => (Shown::Nothing, ""),
        };
        self.read_exec(user, cluster, files.folder)?;
        self.impersonated = impersonated(user)?;
        Ok(())
    }

    /// The file's content counts; `token` stands in for it as long as the file cannot be read.
    fn token(&mut self, user: &AuthInfo, files: &mut Files<'_>) -> Result<Option<String>, String> {
        let written = user.token.as_ref().map(secret).filter(|token| !token.is_empty());
        let Some(path) = filled(user.token_file.as_ref()) else {
            return written.map(|token| header("token", token)).transpose();
        };
        let read = files.read("tokenFile", path).and_then(|bytes| {
            let text = String::from_utf8(bytes).map_err(|_| format!("tokenFile {path}: is not UTF-8 text"))?;
            match text.trim() {
                "" => Err(format!("tokenFile {path}: is empty")),
                token => header(&format!("tokenFile {path}"), token),
            }
        });
        match (read, written) {
            (Ok(token), _) => Ok(Some(token)),
            (Err(reason), None) => Err(reason),
            (Err(reason), Some(token)) => {
                self.warnings.push(format!("{reason}; token is used in its place"));
                header("token", token).map(Some)
            }
        }
    }

    fn read_exec(&mut self, user: &AuthInfo, cluster: &Cluster, folder: &Path) -> Result<(), String> {
        let Some(exec) = &user.exec else { return Ok(()) };
        self.warn_of_unknown("user.exec", exec.other.keys());
        if self.shown != Shown::Nothing {
            self.warnings.push("exec: has no effect beside a token or a password".to_owned());
            return Ok(());
        }
        // The files that it names have been read.
        let told = Cluster { certificate_authority: None, certificate_authority_data: None, ..cluster.clone() };
        let told = ExecAuthCluster::try_from(&told).map_err(|_| "exec.provideClusterInfo: cannot be told")?;
        let told = ExecAuthCluster { certificate_authority_data: self.authority.clone(), ..told };
        let mut exec = exec.clone();
        // A name alone is looked for where the shell would look.
        if let Some(command) = exec.command.take_if(|command| command.contains('/')) {
            exec.command = Some(folder.join(command).display().to_string());
        }
        self.plugin = Some(Plugin::new(&exec, told)?);
        self.means = "exec plugin's credentials";
        Ok(())
    }

    /// What is given in the kubeconfig itself, or else in a file.
    fn content(
        &mut self,
        name: &str,
        data: Option<&str>,
        path: Option<&String>,
        files: &mut Files<'_>,
    ) -> Result<Option<Vec<u8>>, String> {
        match (data.filter(|data| !data.is_empty()), filled(path)) {
            (Some(data), path) => {
                if path.is_some() {
                    self.warnings.push(format!("{name}: has no effect beside {name}-data"));
                }
                let bytes = BASE64_STANDARD.decode(data.trim()).map_err(|_| format!("{name}-data: is not base64"))?;
                Ok(Some(bytes))
            }
            (None, Some(path)) => files.read(name, path).map(Some),
            (None, None) => Ok(None),
        }
    }

    fn warn_of_unknown<'a>(&mut self, place: &str, names: impl Iterator<Item = &'a String>) {
        self.warnings.extend(names.map(|name| format!("{place}.{name}: unknown field; it has no effect")));
    }
}

/// The files of a kubeconfig, whose paths may be relative to its folder.
struct Files<'a> {
    folder: &'a Path,
    read_file: &'a mut dyn FnMut(&Path) -> Result<Vec<u8>, String>,
}

impl Files<'_> {
    fn read(&mut self, name: &str, path: &str) -> Result<Vec<u8>, String> {
        (self.read_file)(&self.folder.join(path)).map_err(|reason| format!("{name} {path}: {reason}"))
    }
}

/// A token, which has to fit into a header.
pub(super) fn header(name: &str, token: &str) -> Result<String, String> {
    match token.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(token.to_owned()),
        false => Err(format!("{name}: is no token: white space or other characters that no header can hold are in it")),
    }
}

fn impersonated(user: &AuthInfo) -> Result<AuthInfo, String> {
    let impersonated = AuthInfo {
        impersonate: filled(user.impersonate.as_ref()).cloned(),
        impersonate_uid: filled(user.impersonate_uid.as_ref()).cloned(),
        impersonate_groups: user.impersonate_groups.clone(),
        impersonate_user_extra: user.impersonate_user_extra.clone(),
        ..AuthInfo::default()
    };
    let groups = impersonated.impersonate_groups.as_ref().is_some_and(|groups| !groups.is_empty());
    let extra = impersonated.impersonate_user_extra.as_ref().is_some_and(|extra| !extra.is_empty());
    if impersonated.impersonate.is_none() && (groups || extra || impersonated.impersonate_uid.is_some()) {
        return Err("as: missing; as-uid, as-groups and as-user-extra belong to it".to_owned());
    }
    Ok(impersonated)
}

fn secret(text: &SecretString) -> &str {
    text.expose_secret()
}

/// Empty means missing, as with Go.
fn filled(text: Option<&String>) -> Option<&String> {
    text.filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::files::SeenFiles;
    use super::*;

    /// What is read of a cluster and a user with these fields, in a folder with some files.
    fn read_with(cluster: &str, user: &str) -> Result<Account, String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in [
            ("token", "of-a-file\n"),
            ("empty", "\n"),
            ("two", "two hunter2\n"),
            ("ca", "authority"),
            ("key", "hunter2"),
        ] {
            fs::write(folder.path().join(name), content).unwrap();
        }
        let text = format!(
            "current-context: x\ncontexts: [{{name: x, context: {{cluster: c, user: u}}}}]\n\
             clusters: [{{name: c, cluster: {{{cluster}}}}}]\nusers: [{{name: u, user: {{{user}}}}}]\n"
        );
        let path = folder.path().join("kubeconfig");
        fs::write(&path, text).unwrap();
        read(&path, &mut |path| SeenFiles::default().read(path))
    }

    const SERVER: &str = "server: https://a:6443";

    #[test]
    fn every_field_works_or_is_refused_or_warned_of_by_its_name() {
        let verified = format!("{SERVER}, certificate-authority: ca");
        let plugin = "exec: {apiVersion: client.authentication.k8s.io/v1, command: x}";
        let both = "certificate-authority-data: YQ==, certificate-authority: none";
        for (cluster, user, warned, refused) in [
            (SERVER, "", "", ""),
            (&verified, "token: t", "", ""),
            (&format!("{SERVER}, {both}"), "", "certificate-authority: has no effect beside", ""),
            (&format!("{SERVER}, tls-server-name: b, disable-compression: true"), "", "", ""),
            (&format!("{SERVER}, proxy-url: 'socks5://p'"), "", "", ""),
            (
                &format!("{SERVER}, insecure-skip-tls-verify: true"),
                "",
                "insecure-skip-tls-verify: the API server's",
                "",
            ),
            (&format!("{verified}, insecure-skip-tls-verify: true"), "", "", "certificate-authority and insecure-skip"),
            (&format!("{SERVER}, tls-servername: b"), "", "cluster.tls-servername: unknown field", ""),
            (&format!("{SERVER}, certificate-authority: none"), "", "", "certificate-authority none: No such file"),
            (
                &format!("{SERVER}, certificate-authority-data: '*'"),
                "",
                "",
                "certificate-authority-data: is not base64",
            ),
            ("server: 'https://u:hunter2@'", "", "", "server: \"https://***@\": must be URLs"),
            (SERVER, "username: n, password: hunter2", "", ""),
            (SERVER, "username: n, token: hunter2", "", "token and username: remove one"),
            (SERVER, "username: n, tokenFile: token", "", "token and username: remove one"),
            (SERVER, "token: 'hunter2 x'", "", "token: is no token"),
            (SERVER, "tokenFile: two", "", "tokenFile two: is no token"),
            (SERVER, "tokenFile: empty", "", "tokenFile empty: is empty"),
            (SERVER, "tokenFile: none", "", "tokenFile none: No such file"),
            (
                SERVER,
                "tokenFile: none, token: t",
                "tokenFile none: No such file or directory (os error 2); token is",
                "",
            ),
            (SERVER, "tokenfile: token", "user.tokenfile: unknown field", ""),
            (SERVER, "client-certificate: ca, client-key: key", "", ""),
            (SERVER, "client-certificate: ca", "", "client-key: missing"),
            (SERVER, "client-key-data: aHVudGVyMg==", "", "client-certificate: missing"),
            (SERVER, "client-certificate: ca, client-key: none", "", "client-key none: No such file"),
            (
                SERVER,
                "auth-provider: {name: oidc, config: {id-token: hunter2}}",
                "",
                "auth-provider \"oidc\": there are",
            ),
            (SERVER, "as: a, as-uid: b, as-groups: [c], as-user-extra: {d: [e]}", "", ""),
            (SERVER, "as-groups: [c]", "", "as: missing"),
            (SERVER, plugin, "", ""),
            (SERVER, &format!("{plugin}, token: t"), "exec: has no effect beside a token", ""),
            (SERVER, "exec: {command: x}", "", "exec.apiVersion: must be"),
            (SERVER, "token: [hunter2]", "", "line 4, column"),
        ] {
            let case = format!("{{{cluster}}} {{{user}}}");
            match read_with(cluster, user) {
                Ok(account) => {
                    assert_eq!(refused, "", "{case}: is read");
                    let warnings = account.warnings.join("; ");
                    assert!(
                        warnings.starts_with(warned) && warnings.is_empty() == warned.is_empty(),
                        "{case}: {warnings}"
                    );
                }
                Err(reason) => {
                    assert!(!refused.is_empty() && reason.starts_with(refused), "{case}: {reason}");
                    assert!(!reason.contains("hunter2"), "{case}: {reason}");
                }
            }
        }
    }

    #[test]
    fn a_token_file_beats_the_token_and_is_trimmed() {
        let Ok(account) = read_with(SERVER, "token: written, tokenFile: token") else { panic!("it is read") };
        assert!(account.shown == Shown::Token("of-a-file".to_owned()));
        let Ok(account) = read_with(SERVER, "token: written, tokenFile: empty") else { panic!("it is read") };
        assert!(account.shown == Shown::Token("written".to_owned()));
    }

    #[test]
    fn nothing_secret_is_printed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kubeconfig");
        for text in [
            "users: [{name: u, user: {token: hunter2",
            "users:\n- name: u\n  user:\n    token: {hunter2: hunter2}\n",
            "hunter2",
            "users: hunter2",
            "current-context: x\ncontexts: []\nusers: [{name: u, user: {token: \"hunter2\n\t\u{1}\"}}]",
        ] {
            fs::write(&path, text).unwrap();
            let reason = read(&path, &mut |path| SeenFiles::default().read(path)).err().unwrap_or_default();
            assert!(!reason.is_empty() && !reason.contains("hunter2"), "{text}: {reason}");
        }
    }
}
