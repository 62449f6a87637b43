//! The same API servers for others: a `kube` client that asks the next one where one does not answer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use tower::Service;

use super::servers::{ConnectError, Servers};
use crate::source::KubernetesConfig;

/// A client for the API of the cluster. Nothing is asked yet; files that the configuration names have to be there.
///
/// # Errors
/// [`ConnectError::Config`].
pub async fn connect(config: &KubernetesConfig) -> Result<Client, ConnectError> {
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
            if reply.response.status() == http::StatusCode::UNAUTHORIZED {
                servers.forget().await;
            }
            Ok(reply.response)
        })
    }
}
