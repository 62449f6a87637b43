//! Reads what a request wants from its path and query.

use std::collections::BTreeMap;

use axum::extract::Query;
use axum::http::{Method, Uri};

use super::refusals::Refused;
use super::selector::Selector;
use super::store::Resource;

/// What a request wants.
#[derive(Debug)]
pub(super) enum Wanted {
    List {
        resource: Resource,
        selector: Selector,
        limit: Option<usize>,
        from: Option<String>,
    },
    Watch(WantedWatch),
    Read(Target),
    /// To change an object's status.
    Status(Target),
    /// To post or patch an Event.
    Event,
    Version,
}

/// A watch.
#[derive(Debug)]
pub(super) struct WantedWatch {
    pub(super) resource: Resource,
    pub(super) selector: Selector,
    pub(super) begins: Begins,
    pub(super) bookmarks: bool,
    pub(super) seconds: Option<u64>,
}

/// What a watch tells first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begins {
    /// Everything there is, and then that this was all.
    WithList,
    /// Everything there is.
    WithObjects,
    /// What happened since this version.
    Since(u64),
}

/// One object.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) resource: Resource,
    pub(super) namespace: String,
    pub(super) name: String,
}

/// Reads a request's line.
pub(super) fn wanted(method: &Method, uri: &Uri) -> Result<Wanted, Refused> {
    let path: Vec<_> = uri.path().trim_matches('/').split('/').collect();
    let (group, rest) = match path.as_slice() {
        ["version"] => return Ok(Wanted::Version),
        ["api", version, rest @ ..] => ((*version).to_owned(), rest),
        ["apis", group, version, rest @ ..] => (format!("{group}/{version}"), rest),
        _ => return Err(not_found()),
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..] => (*namespace, rest),
        rest => ("", rest),
    };
    let Some((plural, rest)) = rest.split_first() else { return Err(not_found()) };
    if *plural == "events" && ["v1", "events.k8s.io/v1"].contains(&group.as_str()) {
        return match (method, rest) {
            (&Method::POST, []) | (&Method::PATCH | &Method::PUT, [_]) => Ok(Wanted::Event),
            _ => Err(not_allowed()),
        };
    }
    let resource = Resource::ALL.into_iter().find(|known| known.plural() == *plural && known.api_version() == group);
    let resource = resource.ok_or_else(not_found)?;
    match (method, rest) {
        (&Method::GET, []) => collection(resource, namespace, uri),
        (&Method::GET, [name]) => Ok(Wanted::Read(target(resource, namespace, name))),
        (&Method::PATCH | &Method::PUT, [name, "status"]) => Ok(Wanted::Status(target(resource, namespace, name))),
        (_, [] | [_] | [_, "status"]) => Err(not_allowed()),
        _ => Err(not_found()),
    }
}

fn target(resource: Resource, namespace: &str, name: &str) -> Target {
    Target { resource, namespace: namespace.to_owned(), name: name.to_owned() }
}

fn collection(resource: Resource, namespace: &str, uri: &Uri) -> Result<Wanted, Refused> {
    let query = Query::<BTreeMap<String, String>>::try_from_uri(uri).map_err(|error| bad(error.to_string()))?.0;
    let text = |name: &str| query.get(name).map(String::as_str).filter(|text| !text.is_empty());
    let number = |name: &str| {
        let read = text(name).map(|text| text.parse::<u64>().map_err(|_| bad(format!("invalid {name}: {text:?}"))));
        read.transpose()
    };
    let own_namespace = format!("metadata.namespace={namespace}");
    let fields = [text("fieldSelector"), Some(own_namespace.as_str()).filter(|_| !namespace.is_empty())];
    let fields: Vec<&str> = fields.into_iter().flatten().collect();
    let selector = Selector::parse(resource, text("labelSelector").unwrap_or_default(), &fields.join(","));
    let selector = selector.map_err(bad)?;
    if !matches!(text("watch"), Some("true" | "1")) {
        if text("sendInitialEvents").is_some() {
            return Err(invalid("sendInitialEvents is forbidden for list"));
        }
        let limit = number("limit")?.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0);
        return Ok(Wanted::List { resource, selector, limit, from: text("continue").map(str::to_owned) });
    }
    let begins = match (text("sendInitialEvents"), text("resourceVersionMatch"), number("resourceVersion")?) {
        (Some("true"), Some("NotOlderThan"), _) => Begins::WithList,
        (Some("true"), _, _) => return Err(invalid("sendInitialEvents requires resourceVersionMatch NotOlderThan")),
        (_, Some(_), _) => return Err(invalid("resourceVersionMatch is forbidden for watch")),
        (_, None, None | Some(0)) => Begins::WithObjects,
        (_, None, Some(version)) => Begins::Since(version),
    };
    let bookmarks = text("allowWatchBookmarks") == Some("true");
    Ok(Wanted::Watch(WantedWatch { resource, selector, begins, bookmarks, seconds: number("timeoutSeconds")? }))
}

pub(super) fn not_found() -> Refused {
    Refused::new(404, "NotFound", "the server could not find the requested resource")
}

pub(super) fn invalid(message: &str) -> Refused {
    Refused::new(422, "Invalid", format!("ListOptions.meta.k8s.io \"\" is invalid: {message}"))
}

fn not_allowed() -> Refused {
    Refused::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
}

fn bad(message: impl Into<String>) -> Refused {
    Refused::new(400, "BadRequest", message)
}
