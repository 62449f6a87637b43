//! The API servers of the cluster: which is asked, and with which credentials.
//!
//! One at a time; where it does not answer, the next one is asked. The files that say how to reach them are read again
//! whenever none answers, and when one refuses the credentials: tokens, certificates and addresses change.
//!
//! [`connect`] lends the same servers to a `kube` client, for other requests than the source's.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{ACCEPT, HeaderValue, USER_AGENT};
use http::{Request, Response, StatusCode, Uri};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ConfigExt};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::sync::Mutex;
use tower::{BoxError, Service, ServiceBuilder};
use tracing::{debug, info};

use crate::source::ApiConfig;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);

/// How long an answer may take to begin. A server that has much to do is not to be asked once more for that.
const ANSWER: Duration = Duration::from_secs(30);

/// A dead peer is noticed by TCP itself after this long and three probes more, each [`KEEPALIVE_INTERVAL`] later.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// The way to the API.
#[derive(Debug)]
pub(super) struct Servers {
    config: ApiConfig,
    /// How long an answer may take to begin.
    patience: Duration,
    known: Mutex<KnownServers>,
}

/// What was read of them last.
#[derive(Debug, Default)]
struct KnownServers {
    servers: Vec<Server>,
    /// Which of them is asked.
    current: usize,
    /// Which of them answered last.
    answered: Option<Arc<str>>,
}

/// One of them. Cheap to clone.
#[derive(Clone)]
struct Server {
    url: Arc<str>,
    client: Client,
}

/// What one of them answers.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) response: Response<Body>,
    pub(super) server: Arc<str>,
}

/// Why no server can be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The configuration says too little, or what makes no sense.
    #[error("{0}")]
    Config(String),
    /// Not one of them answers.
    #[error("{server} cannot be reached: {reason}")]
    Unreachable {
        /// The one that was tried last.
        server: Arc<str>,
        /// What became of that.
        reason: String,
    },
}

impl Servers {
    pub(super) fn new(config: ApiConfig) -> Self {
        let patience = config.silence.map_or(ANSWER, |silence| silence.min(ANSWER));
        Self { config, patience, known: Mutex::default() }
    }

    /// The namespace that the configuration names.
    pub(super) async fn namespace(&self) -> Result<String, ConnectError> {
        let servers = self.in_turn().await?;
        let first = servers.first().map(|server| server.client.default_namespace().to_owned());
        Ok(first.unwrap_or_else(|| "default".to_owned()))
    }

    /// Asks for `path` with its query.
    pub(super) async fn ask(&self, path: &str) -> Result<Reply, ConnectError> {
        let request = Request::get(path).header(ACCEPT, HeaderValue::from_static("application/json"));
        self.send(request.body(Body::empty()).map_err(|error| ConnectError::Config(format!("{path}: {error}")))?).await
    }

    /// Sends a request to the first server that answers, beginning with the one that answered last.
    pub(super) async fn send(&self, request: Request<Body>) -> Result<Reply, ConnectError> {
        let servers = self.in_turn().await?;
        let (head, body) = request.into_parts();
        let mut failed = ConnectError::Config("no API server is configured".into());
        for Server { url, client } in servers {
            let Some(body) = body.try_clone() else { return Err(failed) };
            let reason =
                match tokio::time::timeout(self.patience, client.send(Request::from_parts(head.clone(), body))).await {
                    Ok(Ok(response)) => {
                        self.answered(&url).await;
                        return Ok(Reply { response, server: url });
                    }
                    Ok(Err(error)) => reasons(&error),
                    Err(_) => format!("no answer within {:?}", self.patience),
                };
            debug!(server = %url, reason, "API server cannot be reached");
            self.leave(&url).await;
            failed = ConnectError::Unreachable { server: url, reason };
        }
        self.forget().await;
        Err(failed)
    }

    /// The next request goes to another server than `url`, if there is another.
    pub(super) async fn leave(&self, url: &Arc<str>) {
        let mut known = self.known.lock().await;
        let count = known.servers.len();
        if known.servers.get(known.current).is_some_and(|server| server.url == *url) && count > 1 {
            known.current = (known.current + 1) % count;
        }
    }

    async fn answered(&self, url: &Arc<str>) {
        let mut known = self.known.lock().await;
        if known.answered.as_ref() != Some(url)
            && let Some(former) = known.answered.replace(url.clone())
        {
            info!(server = %url, %former, "another API server answers");
        }
    }

    /// What was read of the configuration is out of date: with the next request it is read again.
    pub(super) async fn forget(&self) {
        self.known.lock().await.servers.clear();
    }

    /// All servers, in the order in which to ask them.
    async fn in_turn(&self) -> Result<Vec<Server>, ConnectError> {
        let mut known = self.known.lock().await;
        if known.servers.is_empty() {
            known.servers = open(&self.config).await.map_err(ConnectError::Config)?;
            known.current = known.current.min(known.servers.len().saturating_sub(1));
        }
        let mut servers = known.servers.clone();
        servers.rotate_left(known.current);
        Ok(servers)
    }
}

/// Every reason of an error, each once: the outermost alone says that a service failed.
fn reasons(error: &dyn Error) -> String {
    let (mut words, mut next) = (error.to_string(), error.source());
    while let Some(error) = next {
        let reason = error.to_string();
        if !words.contains(&reason) {
            words = format!("{words}: {reason}");
        }
        next = error.source();
    }
    words
}

async fn open(config: &ApiConfig) -> Result<Vec<Server>, String> {
    let access = read_access(config).await?;
    let mut urls = Vec::new();
    for url in &config.masters {
        urls.push(url.parse::<Uri>().map_err(|error| format!("API server {url}: {error}"))?);
    }
    if urls.is_empty() {
        urls.push(access.cluster_url.clone());
    }
    urls.into_iter().map(|url| server(&access, url)).collect()
}

/// Credentials and address, as the kubeconfig or the pod has them.
async fn read_access(config: &ApiConfig) -> Result<Config, String> {
    let Some(path) = &config.kubeconfig else {
        return match (Config::incluster(), config.masters.first()) {
            (Ok(access), _) => Ok(access),
            (Err(error), None) => Err(format!("service account of this pod: {}", reasons(&error))),
            // Not in a pod: an API server that asks for no credentials.
            (Err(_), Some(url)) => url.parse().map(Config::new).map_err(|error| format!("API server {url}: {error}")),
        };
    };
    let access = match Kubeconfig::read_from(path) {
        Ok(file) => Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await,
        Err(error) => Err(error),
    };
    access.map_err(|error| format!("kubeconfig {}: {}", path.display(), reasons(&error)))
}

/// As kube makes a client, but for what TCP is told, and that nothing is logged for every failure.
fn server(access: &Config, url: Uri) -> Result<Server, String> {
    let mut config = access.clone();
    config.cluster_url = url;
    let agent = concat!("switchyard/", env!("CARGO_PKG_VERSION"));
    config.headers.push((USER_AGENT, HeaderValue::from_static(agent)));
    let url: Arc<str> = config.cluster_url.to_string().trim_end_matches('/').into();
    let client = open_client(&config).map_err(|error| format!("API server {url}: {}", reasons(&error)))?;
    Ok(Server { url, client })
}

fn open_client(config: &Config) -> Result<Client, kube::Error> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_connect_timeout(Some(CONNECT));
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
    tcp.set_keepalive_retries(Some(3));
    let tls = config.rustls_https_connector_with_connector(tcp)?;
    let http = legacy::Builder::new(TokioExecutor::new()).pool_max_idle_per_host(2).build::<_, Body>(tls);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    Ok(Client::new(service, config.default_namespace.clone()))
}

/// A client for the API of the cluster. Nothing is asked yet; files that the configuration names have to be there.
///
/// # Errors
/// [`ConnectError::Config`].
pub async fn connect(config: &ApiConfig) -> Result<Client, ConnectError> {
    let servers = Servers::new(config.clone());
    let namespace = servers.namespace().await?;
    Ok(Client::new(FailingOver(Arc::new(servers)), namespace))
}

#[derive(Clone, Debug)]
struct FailingOver(Arc<Servers>);

impl Service<Request<Body>> for FailingOver {
    type Response = Response<Body>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let servers = self.0.clone();
        Box::pin(async move {
            let reply = servers.send(request).await?;
            if reply.response.status() == StatusCode::UNAUTHORIZED {
                servers.forget().await;
            }
            Ok(reply.response)
        })
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("url", &self.url).finish_non_exhaustive()
    }
}
