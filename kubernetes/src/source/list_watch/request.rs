//! What is asked for, and how the request reads.
//!
//! **Invariant:** pure: a request is a text that depends on its arguments alone.

use std::fmt::Write;

use crate::objects::Kind;
use crate::settings::NodeName;

/// How many objects a page of a list holds: what the API's own clients ask for.
const PAGE: u32 = 500;

/// Objects of one kind, and which of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    kind: Kind,
    path: &'static str,
    /// A label selector, or none.
    labels: &'static str,
    /// A field selector, or none.
    fields: String,
}

/// One request for objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Everything there is, and then every change, in one answer (KEP-3157).
    Stream,
    /// A part of everything there is.
    Page {
        /// Where it begins, as the part before it said.
        from: Option<String>,
        /// How much of it.
        size: Size,
    },
    /// Every change since this version.
    Watch {
        /// The version.
        since: String,
    },
}

/// How much of a list an answer may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    /// One page.
    Page,
    /// All of it.
    Whole,
}

impl Resource {
    /// Services that are this proxy's (KEP-2447) and have an address.
    pub fn services() -> Self {
        Self {
            kind: Kind::Service,
            path: "/api/v1/services",
            labels: "!service.kubernetes.io/service-proxy-name",
            fields: "spec.clusterIP!=None".to_owned(),
        }
    }

    /// EndpointSlices of services that have an address.
    pub fn slices() -> Self {
        Self {
            kind: Kind::EndpointSlice,
            path: "/apis/discovery.k8s.io/v1/endpointslices",
            labels: "!service.kubernetes.io/headless",
            fields: String::new(),
        }
    }

    /// The Node object of one node.
    pub fn node(name: &NodeName) -> Self {
        Self { kind: Kind::Node, path: "/api/v1/nodes", labels: "", fields: format!("metadata.name={}", name.as_str()) }
    }

    /// Every ServiceCIDR (KEP-1880, v1 since Kubernetes 1.33).
    pub fn service_cidrs() -> Self {
        Self {
            kind: Kind::ServiceCidr,
            path: "/apis/networking.k8s.io/v1/servicecidrs",
            labels: "",
            fields: String::new(),
        }
    }

    /// The kind of the objects.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether a cluster may be without: older ones have none, and older roles do not allow to read them.
    pub fn is_optional(&self) -> bool {
        self.kind == Kind::ServiceCidr
    }

    /// The request's path and query. A watch is to end by itself after `seconds`.
    pub(super) fn request(&self, ask: &Ask, seconds: u64) -> String {
        let mut query = Query(format!("{}?", self.path));
        match ask {
            Ask::Stream => {
                query.watch(seconds);
                query.add("sendInitialEvents", "true");
                query.add("resourceVersionMatch", "NotOlderThan");
            }
            Ask::Page { from, size } => {
                if *size == Size::Page {
                    query.add("limit", &PAGE.to_string());
                }
                if let Some(from) = from {
                    query.add("continue", from);
                }
            }
            Ask::Watch { since } => {
                query.watch(seconds);
                query.add("resourceVersion", since);
            }
        }
        query.add("labelSelector", self.labels);
        query.add("fieldSelector", &self.fields);
        query.0.truncate(query.0.trim_end_matches(['&', '?']).len());
        query.0
    }
}

/// A request under way, which ends with `?` or `&`.
struct Query(String);

impl Query {
    fn watch(&mut self, seconds: u64) {
        self.add("watch", "true");
        self.add("allowWatchBookmarks", "true");
        self.add("timeoutSeconds", &seconds.to_string());
    }

    /// Adds what is not empty.
    fn add(&mut self, name: &str, value: &str) {
        if value.is_empty() {
            return;
        }
        write!(self.0, "{name}=").expect("a text can be written to");
        for byte in value.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => self.0.push(char::from(byte)),
                other => write!(self.0, "%{other:02X}").expect("a text can be written to"),
            }
        }
        self.0.push('&');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_say_what_is_wanted_and_no_more() {
        let node = Resource::node(&"node2".parse().unwrap());
        let watch = Ask::Watch { since: "7".into() };
        let next_page = Ask::Page { from: Some("eyJ2IjoibWV0YSJ9=".to_owned()), size: Size::Page };
        let whole_list = Ask::Page { from: None, size: Size::Whole };
        for (resource, ask, expected) in [
            (
                Resource::services(),
                Ask::Stream,
                "/api/v1/services?watch=true&allowWatchBookmarks=true&timeoutSeconds=300&sendInitialEvents=true\
                 &resourceVersionMatch=NotOlderThan&labelSelector=%21service.kubernetes.io%2Fservice-proxy-name\
                 &fieldSelector=spec.clusterIP%21%3DNone",
            ),
            (
                Resource::slices(),
                next_page,
                "/apis/discovery.k8s.io/v1/endpointslices?limit=500&continue=eyJ2IjoibWV0YSJ9%3D\
                 &labelSelector=%21service.kubernetes.io%2Fheadless",
            ),
            (
                node,
                watch,
                "/api/v1/nodes?watch=true&allowWatchBookmarks=true&timeoutSeconds=300&resourceVersion=7\
                 &fieldSelector=metadata.name%3Dnode2",
            ),
            (Resource::service_cidrs(), whole_list, "/apis/networking.k8s.io/v1/servicecidrs"),
        ] {
            assert_eq!(resource.request(&ask, 300), expected);
        }
    }
}
