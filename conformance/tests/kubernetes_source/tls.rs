//! Servers as real ones are: behind TLS, which clients verify, and which may ask for a client certificate.
//!
//! The double speaks plain HTTP; before it stands what speaks TLS.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kubernetes::source::ApiConfig;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use serde_json::json;
use switchyard_conformance::api::Api;
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::followed::{Followed, service, until};

/// The authority that a cluster trusts.
struct Authority {
    pem: String,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// What a client or server shows.
struct Identity {
    certificate: String,
    key: String,
    der: CertificateDer<'static>,
    key_der: PrivateKeyDer<'static>,
}

/// Whether a server asks clients for a certificate.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asks {
    No,
    Clients,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "a cluster's own");
        let certificate = params.self_signed(&key).unwrap();
        Self { pem: certificate.pem(), der: certificate.der().clone(), issuer: Issuer::new(params, key) }
    }

    fn signs(&self, name: &str) -> Identity {
        self.signs_until(name, 2999)
    }

    fn signs_until(&self, name: &str, year: i32) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            der: certificate.der().clone(),
            key_der: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        }
    }
}

/// A double behind TLS, and a folder for a kubeconfig.
struct Cluster {
    authority: Authority,
    api: Api,
    address: SocketAddr,
    folder: TempDir,
    /// How many connections.
    accepted: Arc<AtomicUsize>,
}

impl Cluster {
    /// Its server shows a certificate for `name`.
    async fn new(name: &str, asks: Asks) -> Self {
        let authority = Authority::new();
        let shown = authority.signs(name);
        Self::showing(authority, shown, asks).await
    }

    async fn showing(authority: Authority, shown: Identity, asks: Asks) -> Self {
        let config = ServerConfig::builder();
        let config = match asks {
            Asks::No => config.with_no_client_auth(),
            Asks::Clients => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.der.clone()).unwrap();
                config.with_client_cert_verifier(WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap())
            }
        };
        let config = config.with_single_cert(vec![shown.der], shown.key_der).unwrap();
        let api = Api::local().await.unwrap();
        api.put(service("web", 80));
        let plain: SocketAddr = api.urls()[0].trim_start_matches("http://").parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(config)), plain, accepted.clone()));
        Self { authority, api, address, folder: TempDir::new().unwrap(), accepted }
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// A kubeconfig with these lines of its cluster, and of its user.
    fn kubeconfig(&self, cluster: &str, user: &str) -> ApiConfig {
        let text = format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: c\n  cluster:\n    server: https://{}\n    {cluster}\n\
             contexts:\n- name: x\n  context: {{cluster: c, user: u}}\ncurrent-context: x\nusers:\n- name: u\n  user:\n\
             \x20   {user}\n",
            self.address
        );
        ApiConfig { kubeconfig: Some(self.file("kubeconfig", &text)), ..ApiConfig::default() }
    }

    fn followed(self, config: ApiConfig) -> (Followed, TempDir) {
        (Followed::with(self.api, |given| *given = config), self.folder)
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, plain: SocketAddr, accepted: Arc<AtomicUsize>) {
    while let Ok((stream, _)) = listener.accept().await {
        accepted.fetch_add(1, Ordering::Relaxed);
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            // A client that is refused or goes away sees that itself.
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let Ok(mut api) = TcpStream::connect(plain).await else { return };
            let _ = copy_bidirectional(&mut stream, &mut api).await;
        });
    }
}

fn authority(path: &Path) -> String {
    format!("certificate-authority: {}", path.display())
}

#[tokio::test]
async fn a_server_of_the_clusters_own_authority_is_believed() {
    let cluster = Cluster::new("127.0.0.1", Asks::No).await;
    let trusted = authority(&cluster.file("ca.crt", &cluster.authority.pem));
    cluster.api.set(|abilities| abilities.token = Some("known".to_owned()));
    let config = cluster.kubeconfig(&trusted, "token: known");
    let (mut followed, _folder) = cluster.followed(config);
    assert_eq!(followed.until("listed").await, ["web:80", "listed"]);
}

#[tokio::test]
async fn a_client_shows_its_certificate() {
    let cluster = Cluster::new("127.0.0.1", Asks::Clients).await;
    let trusted = authority(&cluster.file("ca.crt", &cluster.authority.pem));
    let client = cluster.authority.signs("system:kube-proxy");
    let certificate = cluster.file("client.crt", &client.certificate).display().to_string();
    let key = cluster.file("client.key", &client.key).display().to_string();
    let config = cluster.kubeconfig(&trusted, &format!("client-certificate: {certificate}\n    client-key: {key}"));
    let (mut followed, _folder) = cluster.followed(config);
    assert_eq!(followed.until("listed").await, ["web:80", "listed"]);
}

#[tokio::test]
async fn a_client_without_a_certificate_is_told_so() {
    let cluster = Cluster::new("127.0.0.1", Asks::Clients).await;
    let trusted = authority(&cluster.file("ca.crt", &cluster.authority.pem));
    let config = cluster.kubeconfig(&trusted, "token: any");
    let (mut followed, _folder) = cluster.followed(config);
    let told = followed.until("! ").await;
    assert!(
        told.iter().all(|word| word.starts_with("! ") && word.contains("requires a client certificate; give")),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_server_of_another_authority_is_not_believed() {
    let cluster = Cluster::new("127.0.0.1", Asks::No).await;
    let other = authority(&cluster.file("ca.crt", &Authority::new().pem));
    let config = cluster.kubeconfig(&other, "token: secret");
    let (mut followed, _folder) = cluster.followed(config);
    let told = followed.until("! ").await;
    assert!(told.iter().all(|word| word.contains("is of no authority that is trusted here; give")), "{told:?}");
    assert_eq!(followed.api.requests(), [""; 0], "a token is not told to strangers");
}

#[tokio::test]
async fn a_certificate_is_for_the_name_that_the_kubeconfig_gives() {
    for (cluster_says, believed) in [("", false), ("tls-server-name: kubernetes.default.svc", true)] {
        let cluster = Cluster::new("kubernetes.default.svc", Asks::No).await;
        let trusted = authority(&cluster.file("ca.crt", &cluster.authority.pem));
        let config = cluster.kubeconfig(&format!("{trusted}\n    {cluster_says}"), "token: any");
        let (mut followed, _folder) = cluster.followed(config);
        match believed {
            true => assert_eq!(followed.until("listed").await, ["web:80", "listed"]),
            false => {
                let told = followed.until("! ").await;
                assert!(told[0].contains("its certificate is for other names"), "{told:?}");
                assert!(told[0].contains("kubernetes.default.svc"), "{told:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_program_may_give_the_token() {
    let cluster = Cluster::new("127.0.0.1", Asks::No).await;
    let trusted = authority(&cluster.file("ca.crt", &cluster.authority.pem));
    cluster.api.set(|abilities| abilities.token = Some("given".to_owned()));
    let credential =
        r#"{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "given"}}"#;
    let credential = cluster.file("credential", credential);
    let exec = format!(
        "exec: {{apiVersion: client.authentication.k8s.io/v1, command: cat, args: [{}], interactiveMode: Never}}",
        credential.display()
    );
    let config = cluster.kubeconfig(&trusted, &exec);
    let (mut followed, _folder) = cluster.followed(config);
    assert_eq!(followed.until("listed").await, ["web:80", "listed"]);
}

#[tokio::test]
async fn a_program_may_give_a_certificate() {
    let cluster = Cluster::new("127.0.0.1", Asks::Clients).await;
    let trusted = authority(&cluster.file("ca.crt", &cluster.authority.pem));
    let client = cluster.authority.signs("system:kube-proxy");
    let status = json!({"clientCertificateData": client.certificate, "clientKeyData": client.key});
    let credential =
        json!({"apiVersion": "client.authentication.k8s.io/v1beta1", "kind": "ExecCredential", "status": status});
    cluster.file("credential", &credential.to_string());
    cluster.file("plugin", "#!/bin/sh\ncat \"${0%/*}/credential\"\n");
    let exec = "exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: ./plugin}";
    fs::set_permissions(cluster.folder.path().join("plugin"), fs::Permissions::from_mode(0o700)).unwrap();
    let config = cluster.kubeconfig(&trusted, exec);
    let (mut followed, _folder) = cluster.followed(config);
    assert_eq!(followed.until("listed").await, ["web:80", "listed"]);
}

#[tokio::test]
async fn an_expired_certificate_is_said() {
    let own = Authority::new();
    let shown = own.signs_until("127.0.0.1", 2001);
    let cluster = Cluster::showing(own, shown, Asks::No).await;
    let trusted = authority(&cluster.file("ca.crt", &cluster.authority.pem));
    let config = cluster.kubeconfig(&trusted, "token: any");
    let (mut followed, _folder) = cluster.followed(config);
    let told = followed.until("! ").await;
    assert!(told[0].contains("its certificate has expired; renew it, or correct this node's clock"), "{told:?}");
}

#[tokio::test]
async fn a_server_without_tls_is_said() {
    let mut cluster = Cluster::new("127.0.0.1", Asks::No).await;
    cluster.address = cluster.api.urls()[0].trim_start_matches("http://").parse().unwrap();
    let config = cluster.kubeconfig("", "token: any");
    let (mut followed, _folder) = cluster.followed(config);
    let told = followed.until("! ").await;
    assert!(told[0].contains("it does not speak TLS; is the port right"), "{told:?}");
}

#[tokio::test]
async fn a_kubeconfig_may_say_that_the_certificate_is_not_verified() {
    let cluster = Cluster::new("another.name", Asks::No).await;
    let config = cluster.kubeconfig("insecure-skip-tls-verify: true", "token: any");
    let (mut followed, _folder) = cluster.followed(config);
    assert_eq!(followed.until("listed").await, ["web:80", "listed"]);
}

#[tokio::test]
async fn a_mended_authority_is_used_at_once() {
    let cluster = Cluster::new("127.0.0.1", Asks::No).await;
    let folder = cluster.folder.path().to_owned();
    for (version, pem) in [("..first", Authority::new().pem), ("..second", cluster.authority.pem.clone())] {
        fs::create_dir(folder.join(version)).unwrap();
        fs::write(folder.join(version).join("ca.crt"), pem).unwrap();
    }
    symlink("..first", folder.join("..data")).unwrap();
    symlink("..data/ca.crt", folder.join("ca.crt")).unwrap();
    let config = cluster.kubeconfig("certificate-authority: ca.crt", "token: any");
    let accepted = cluster.accepted.clone();
    let (mut followed, _folder) = cluster.followed(config);
    let told = followed.until("! ").await;
    assert!(told[0].contains("is of no authority that is trusted here"), "{told:?}");
    // By then the next try is seconds away.
    until("several tries", || accepted.load(Ordering::Relaxed) > 24).await;
    symlink("..second", folder.join("..new")).unwrap();
    fs::rename(folder.join("..new"), folder.join("..data")).unwrap();
    tokio::time::timeout(Duration::from_secs(2), followed.until("listed")).await.expect("the authority is used");
}
