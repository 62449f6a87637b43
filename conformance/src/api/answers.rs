//! What a request is answered.

use std::convert::Infallible;
use std::iter;
use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use futures_util::stream;
use serde_json::{Value, json};

use super::refusals::{Refused, Refusing, Saying, refused};
use super::requests::{Target, Wanted, wanted};
use super::store::Resource;
use super::{Offered, Shared, lists, watches};

/// The longest body that is read.
const LONGEST: usize = 1 << 20;

/// Answers one request.
pub(super) async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let line = format!("{} {}", head.method, head.uri);
    if let Err(response) = admit(&shared, &line, &head.headers) {
        return *response;
    }
    let body = to_bytes(body, LONGEST).await.unwrap_or_default();
    let outcome = match wanted(&head.method, &head.uri) {
        Ok(wanted) => understood(&shared, &line).and_then(|()| respond(&shared, wanted, &head.method, &body)),
        Err(refused) => Err(refused),
    };
    outcome.unwrap_or_else(|refused| refusal(&refused))
}

fn refusal(refused: &Refused) -> Response {
    let mut response = json_response(refused.status, refused.printed().to_string());
    if let Some(seconds) = refused.retry_after {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

/// Whether the request is to be answered at all.
fn admit(shared: &Shared, line: &str, headers: &HeaderMap) -> Result<(), Box<Response>> {
    let mut state = shared.state();
    state.requests.push(line.to_owned());
    if let Some(order) = refused(&mut state.refusing, line) {
        return Err(Box::new(ordered(order)));
    }
    if let Some(token) = &state.abilities.token {
        let shown = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        if shown != Some(&format!("Bearer {token}")) {
            return Err(Box::new(refusal(&Refused::new(401, "Unauthorized", "Unauthorized"))));
        }
    }
    Ok(())
}

fn ordered(order: Refusing) -> Response {
    match order.saying {
        Saying::Status => {
            let reason = match order.status {
                429 => "TooManyRequests",
                410 => "Expired",
                _ => "InternalError",
            };
            let mut refused = Refused::new(order.status, reason, "refused by order");
            refused.retry_after = order.retry_after.map(|after| after.as_secs());
            refusal(&refused)
        }
        Saying::Text(text) => json_response(order.status, text),
        Saying::Endless { first, again } => {
            let texts = iter::once(Bytes::from(first)).chain(iter::repeat(Bytes::from(again)));
            let mut response = json_response(order.status, String::new());
            *response.body_mut() = Body::from_stream(stream::iter(texts.map(Ok::<_, Infallible>)));
            response
        }
    }
}

fn respond(shared: &Arc<Shared>, wanted: Wanted, method: &Method, body: &Bytes) -> Result<Response, Refused> {
    match wanted {
        Wanted::List { resource, selector, limit, from } => {
            available(shared, resource)?;
            Ok(json_response(200, lists::list(shared, resource, &selector, limit, from)?))
        }
        Wanted::Watch(watch) => {
            available(shared, watch.resource)?;
            watches::watch(shared.clone(), watch)
        }
        Wanted::Read(target) => read(shared, &target),
        Wanted::Status(target) => change_status(shared, &target, method, body),
        Wanted::Event => event(shared, body),
        Wanted::Version => {
            Ok(json_response(200, json!({"major": "1", "minor": "36", "gitVersion": "v1.36.2"}).to_string()))
        }
    }
}

/// Whether this version of Kubernetes knows the selectors.
fn understood(shared: &Shared, line: &str) -> Result<(), Refused> {
    match shared.state().abilities.cluster_ip_fields {
        Offered::No if line.contains("spec.clusterIP") => {
            Err(Refused::new(400, "BadRequest", "field label not supported: spec.clusterIP"))
        }
        _ => Ok(()),
    }
}

fn available(shared: &Shared, resource: Resource) -> Result<(), Refused> {
    let offered = shared.state().abilities.service_cidrs;
    match (resource, offered) {
        (Resource::ServiceCidrs, Offered::No) => Err(super::requests::not_found()),
        _ => Ok(()),
    }
}

fn read(shared: &Shared, Target { resource, namespace, name }: &Target) -> Result<Response, Refused> {
    match shared.state().store.object(*resource, namespace, name) {
        Some(object) => Ok(json_response(200, object.to_string())),
        None => Err(missing(*resource, name)),
    }
}

/// PUT takes the status of the object that is sent, PATCH merges it (RFC 7386).
fn change_status(shared: &Shared, target: &Target, method: &Method, body: &Bytes) -> Result<Response, Refused> {
    let Target { resource, namespace, name } = target;
    let sent: Value =
        serde_json::from_slice(body).map_err(|error| Refused::new(400, "BadRequest", error.to_string()))?;
    let mut object = shared.state().store.object(*resource, namespace, name).ok_or_else(|| missing(*resource, name))?;
    if *method == Method::PUT {
        object["status"] = sent["status"].clone();
    } else {
        merge(&mut object["status"], &sent["status"]);
    }
    shared.change(|state| state.store.put(object)).map_err(|message| Refused::new(422, "Invalid", message))?;
    read(shared, target)
}

fn event(shared: &Shared, body: &Bytes) -> Result<Response, Refused> {
    let event: Value =
        serde_json::from_slice(body).map_err(|error| Refused::new(400, "BadRequest", error.to_string()))?;
    let answer = json_response(201, event.to_string());
    shared.state().events.push(event);
    Ok(answer)
}

fn merge(value: &mut Value, patch: &Value) {
    match patch {
        Value::Object(patch) => {
            if !value.is_object() {
                *value = json!({});
            }
            let fields = value.as_object_mut().expect("made an object above");
            for (key, patch) in patch {
                if patch.is_null() {
                    fields.remove(key);
                } else {
                    merge(fields.entry(key.clone()).or_insert(Value::Null), patch);
                }
            }
        }
        other => *value = other.clone(),
    }
}

fn missing(resource: Resource, name: &str) -> Refused {
    Refused::new(404, "NotFound", format!("{} {name:?} not found", resource.plural()))
}

fn json_response(status: u16, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = StatusCode::from_u16(status).expect("a status of HTTP");
    let json = "application/json".parse().expect("a header's value");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
