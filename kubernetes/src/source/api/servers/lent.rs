//! The servers as a `kube` client's.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response, StatusCode};
use http_body_util::Limited;
use kube::Client;
use kube::client::Body;
use tower::Service;

use super::{ConnectError, Servers, Warnings};
use crate::source::ApiConfig;

/// The longest answer: a client collects it whole.
const LONGEST: usize = 16 << 20;

/// A client for the API of the cluster. Nothing is asked yet; files that the configuration names have to be there.
///
/// An answer of more than 16 MiB is an error.
///
/// # Errors
/// [`ConnectError::Config`].
pub async fn connect(config: &ApiConfig) -> Result<Client, ConnectError> {
    let servers = Servers::new(config.clone(), Warnings::Left);
    let namespace = servers.namespace().await?;
    Ok(Client::new(FailingOver(Arc::new(servers)), namespace))
}

#[derive(Clone, Debug)]
struct FailingOver(Arc<Servers>);

impl Service<Request<Body>> for FailingOver {
    type Response = Response<Limited<Body>>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Limited<Body>>, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let servers = self.0.clone();
        Box::pin(async move {
            servers.look_at_files().await;
            let reply = servers.send(request).await?;
            if reply.response.status() == StatusCode::UNAUTHORIZED {
                servers.refused();
            }
            Ok(reply.response.map(|body| Limited::new(body, LONGEST)))
        })
    }
}
