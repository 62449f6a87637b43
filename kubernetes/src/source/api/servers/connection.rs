//! A connection to one server: TCP, perhaps through a proxy, and TLS.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use http::header::AUTHORIZATION;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ConfigExt, RustlsTlsError};
use kube::config::AuthInfo;
use kube::{Client, Config};
use tower::{BoxError, ServiceBuilder};

use super::Server;
use crate::source::ServerUrl;
use crate::source::api::credentials::Access;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);

/// A dead peer is noticed by TCP itself after this long and three probes more, each [`KEEPALIVE_INTERVAL`] later.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// As kube makes a client, but for what TCP is told, and that nothing is logged for every failure.
pub(super) fn open(url: &ServerUrl, access: &Access) -> Result<Server, String> {
    let mut config = access.config.clone();
    let shown: Arc<str> = url.without_secrets().trim_end_matches('/').into();
    config.cluster_url = with_port(&shown).ok_or_else(|| format!("API server {shown}: is no URL"))?;
    // Go's clients let the URL's own user and password beat every other credential.
    if let Some(basic) = intercepting(url.with_secrets(), &config.cluster_url).and_then(|own| own.basic_auth().cloned())
    {
        config.headers.push((AUTHORIZATION, basic));
        config.auth_info = AuthInfo { username: None, password: None, token: None, ..config.auth_info };
    }
    let proxy = proxy(access.proxy.as_deref(), &config.cluster_url)?;
    let client = client(&config, proxy.as_ref()).map_err(|reason| format!("API server {shown}: {reason}"))?;
    let proxy = proxy.map(|proxy| proxy.uri().to_string().trim_end_matches('/').into());
    Ok(Server { url: shown, proxy, client })
}

/// Proxies are told a port, and would take 443 for every scheme.
fn with_port(url: &str) -> Option<Uri> {
    let uri: Uri = url.parse().ok()?;
    match (uri.scheme_str(), uri.port(), uri.host()) {
        (Some("http"), None, Some(host)) => format!("http://{host}:80{}", uri.path()).parse().ok(),
        (Some(_), _, Some(_)) => Some(uri),
        _ => None,
    }
}

/// The proxy that `url` means for requests to `destination`, with what it is shown.
fn intercepting(url: &str, destination: &Uri) -> Option<Intercept> {
    Matcher::builder().all(url).build().intercept(destination)
}

/// The cluster's proxy, or the one that the environment names, as Go reads it.
fn proxy(cluster: Option<&str>, destination: &Uri) -> Result<Option<Intercept>, String> {
    let (name, url) = match (cluster, destination.scheme_str()) {
        (Some(url), _) => ("proxy-url", url.to_owned()),
        (None, _) if is_here(destination) => return Ok(None),
        (None, Some("http")) => environment(["HTTP_PROXY", "http_proxy"]),
        (None, _) => environment(["HTTPS_PROXY", "https_proxy"]),
    };
    if url.is_empty() {
        return Ok(None);
    }
    let schemes = ["http", "https", "socks5", "socks5h"];
    let usable = intercepting(&url, destination)
        .filter(|proxy| proxy.uri().scheme_str().is_some_and(|scheme| schemes.contains(&scheme)));
    let Some(usable) = usable else {
        return Err(format!("{name}: must be a URL such as http://10.0.0.1:3128, with http, https or socks5"));
    };
    if cluster.is_some() {
        return Ok(Some(usable));
    }
    let (_, exceptions) = environment(["NO_PROXY", "no_proxy"]);
    Ok(Matcher::builder().all(url).no(exceptions).build().intercept(destination))
}

/// The first of these variables that says something.
fn environment(names: [&'static str; 2]) -> (&'static str, String) {
    let said = names.map(|name| (name, std::env::var(name).unwrap_or_default()));
    said.into_iter().find(|(_, value)| !value.is_empty()).unwrap_or((names[0], String::new()))
}

fn is_here(destination: &Uri) -> bool {
    let host = destination.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn client(config: &Config, proxy: Option<&Intercept>) -> Result<Client, String> {
    let Some(proxy) = proxy else { return finish(config, tls(config, tcp())?) };
    if proxy.uri().scheme_str().is_some_and(|scheme| scheme.starts_with("socks")) {
        let socks = SocksV5::new(with_socks_port(proxy.uri()), tcp());
        let socks = match proxy.raw_auth() {
            Some((user, password)) => socks.with_auth(user.to_owned(), password.to_owned()),
            None => socks,
        };
        return finish(config, tls(config, socks)?);
    }
    let tunnel = Tunnel::new(proxy.uri().clone(), tls(config, tcp())?);
    let tunnel = match proxy.basic_auth() {
        Some(basic) => tunnel.with_auth(basic.clone()),
        None => tunnel,
    };
    finish(config, tls(config, tunnel)?)
}

fn with_socks_port(proxy: &Uri) -> Uri {
    let host = proxy.host().unwrap_or_default();
    let port = proxy.port_u16().unwrap_or(1080);
    format!("socks5://{host}:{port}").parse().unwrap_or_else(|_| proxy.clone())
}

fn tls<C>(config: &Config, below: C) -> Result<HttpsConnector<C>, String> {
    config.rustls_https_connector_with_connector(below).map_err(|error| unusable(&error))
}

/// What kube says may quote a key.
fn unusable(error: &kube::Error) -> String {
    let said = match error {
        kube::Error::RustlsTls(RustlsTlsError::AddRootCertificate(_)) => {
            "certificate-authority: cannot be used; or none is given, and the system has none"
        }
        kube::Error::RustlsTls(RustlsTlsError::InvalidServerName(_)) => "tls-server-name: is no name",
        kube::Error::RustlsTls(_) | kube::Error::InferKubeconfig(_) => {
            "client-certificate and client-key: must be PEM, and belong to each other"
        }
        kube::Error::HttpError(_) => "as, as-uid, as-groups or as-user-extra: no header can hold what is in it",
        _ => "TLS or credentials cannot be used",
    };
    said.to_owned()
}

fn finish<C: Connect + Clone + Send + Sync + 'static>(config: &Config, connector: C) -> Result<Client, String> {
    let http = legacy::Builder::new(TokioExecutor::new()).pool_max_idle_per_host(2).build::<_, Body>(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer().map_err(|error| unusable(&error))?)
        .layer(config.extra_headers_layer().map_err(|error| unusable(&error))?)
        .map_err(BoxError::from)
        .service(http);
    Ok(Client::new(service, config.default_namespace.clone()))
}

fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(CONNECT));
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
    tcp.set_keepalive_retries(Some(3));
    tcp
}
