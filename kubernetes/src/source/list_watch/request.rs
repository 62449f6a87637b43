//! What is asked for, and how the request reads.
//!
//! **Invariant:** pure: a request is a text that depends on its arguments alone.

use std::borrow::Cow;
use std::fmt::Write;

use crate::objects::{Kind, UnservedKind};
use crate::settings::NodeName;

/// How many objects a page of a list holds at first: what the API's own clients ask for.
const PAGE: u32 = 500;

/// Objects of one kind, and which of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    kind: Kind,
    path: Cow<'static, str>,
    /// A label selector, or none.
    labels: &'static str,
    /// A field selector that every server knows, or none.
    fields: String,
    /// One that spares us objects which are left out anyway; servers before Kubernetes 1.31 refuse it.
    sparing: &'static str,
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
    /// A single object, and with it the version of today: whether the server is there, and has not gone back behind the
    /// version that was told last.
    Check {
        /// That version.
        since: String,
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
    /// So many objects.
    Page(u32),
    /// All of it.
    Whole,
}

/// Which field selectors the server knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fields {
    /// Those of Kubernetes 1.31.
    All,
    /// Those of every version.
    Old,
}

impl Size {
    /// A page as it is asked for at first.
    pub(super) const PAGE: Self = Self::Page(PAGE);

    /// The next smaller one.
    pub(super) fn smaller(self) -> Self {
        match self {
            Self::Page(objects) => Self::Page((objects / 4).max(1)),
            Self::Whole => Self::PAGE,
        }
    }
}

impl Resource {
    /// Services that are this proxy's (KEP-2447) and have an address; from servers before Kubernetes 1.31 also those that
    /// have none.
    pub fn services() -> Self {
        Self {
            kind: Kind::Service,
            path: "/api/v1/services".into(),
            labels: "!service.kubernetes.io/service-proxy-name",
            fields: String::new(),
            sparing: "spec.clusterIP!=None",
        }
    }

    /// EndpointSlices of services that have an address.
    pub fn slices() -> Self {
        Self {
            kind: Kind::EndpointSlice,
            path: "/apis/discovery.k8s.io/v1/endpointslices".into(),
            labels: "!service.kubernetes.io/headless",
            fields: String::new(),
            sparing: "",
        }
    }

    /// The Node object of one node.
    pub fn node(name: &NodeName) -> Self {
        Self {
            kind: Kind::Node,
            path: "/api/v1/nodes".into(),
            labels: "",
            fields: format!("metadata.name={}", name.as_str()),
            sparing: "",
        }
    }

    /// Every ServiceCIDR (KEP-1880, v1 since Kubernetes 1.33).
    pub fn service_cidrs() -> Self {
        Self::every(Kind::ServiceCidr, "/apis/networking.k8s.io/v1/servicecidrs".into())
    }

    /// What a proxy on this node needs.
    pub fn of_proxy(node: &NodeName) -> Vec<Self> {
        vec![Self::services(), Self::slices(), Self::service_cidrs(), Self::node(node)]
    }

    /// What a proxy needs that announces addresses too; `namespace` is that of pools and advertisements.
    pub fn of_announcer(node: &NodeName, namespace: &str) -> Vec<Self> {
        let more = [Kind::IpAddressPool, Kind::L2Advertisement].map(|kind| Self::of_metallb(kind, namespace));
        Self::of_proxy(node).into_iter().chain(more).collect()
    }

    /// What an allocator of addresses needs; `namespace` is that of pools and advertisements.
    pub fn of_allocator(namespace: &str) -> Vec<Self> {
        let unserved = UnservedKind::ALL.into_iter().map(Kind::Unserved);
        let metallb = [Kind::IpAddressPool, Kind::L2Advertisement].into_iter().chain(unserved);
        let metallb = metallb.map(|kind| Self::of_metallb(kind, namespace));
        [Self::all_services(), Self::namespaces()].into_iter().chain(metallb).collect()
    }

    /// Every Service: an allocator has to hear of those, too, that have lost their cluster address.
    pub fn all_services() -> Self {
        Self::every(Kind::Service, "/api/v1/services".into())
    }

    /// Every Namespace.
    pub fn namespaces() -> Self {
        Self::every(Kind::Namespace, "/api/v1/namespaces".into())
    }

    /// Objects of a kind of metallb.io in a namespace.
    fn of_metallb(kind: Kind, namespace: &str) -> Self {
        let plural = match kind {
            Kind::Unserved(UnservedKind::Community) => "communities".to_owned(),
            kind => format!("{}s", kind.as_str().to_ascii_lowercase()),
        };
        let path = format!("/apis/{}/namespaces/{namespace}/{plural}", kind.api_version());
        Self::every(kind, path.into())
    }

    fn every(kind: Kind, path: Cow<'static, str>) -> Self {
        Self { kind, path, labels: "", fields: String::new(), sparing: "" }
    }

    /// The kind of the objects.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether a cluster may be without: older ones have no ServiceCIDRs, and older roles do not allow to read them; the
    /// kinds of metallb.io are there where they were installed.
    pub fn is_optional(&self) -> bool {
        match self.kind {
            Kind::ServiceCidr | Kind::IpAddressPool | Kind::L2Advertisement | Kind::Unserved(_) => true,
            Kind::Service | Kind::EndpointSlice | Kind::Endpoints | Kind::Node | Kind::Namespace => false,
            Kind::ServiceAddresses => true,
        }
    }

    /// Whether it is asked for with a selector that older servers refuse.
    pub(super) fn has_new_fields(&self) -> bool {
        !self.sparing.is_empty()
    }

    /// The request's path and query. A watch is to end by itself after `seconds`.
    pub(super) fn request(&self, ask: &Ask, fields: Fields, seconds: u64) -> String {
        let mut query = Query(format!("{}?", self.path));
        match ask {
            Ask::Stream => {
                query.watch(seconds);
                query.add("sendInitialEvents", "true");
                query.add("resourceVersionMatch", "NotOlderThan");
            }
            Ask::Page { from, size } => {
                if let Size::Page(objects) = size {
                    query.add("limit", &objects.to_string());
                }
                if let Some(from) = from {
                    query.add("continue", from);
                }
            }
            // Without a version the answer is today's, and not from a cache.
            Ask::Check { .. } => query.add("limit", "1"),
            Ask::Watch { since } => {
                query.watch(seconds);
                query.add("resourceVersion", since);
            }
        }
        query.add("labelSelector", self.labels);
        query.add("fieldSelector", &self.fields);
        if fields == Fields::All {
            query.add("fieldSelector", self.sparing);
        }
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
        let next_page = Ask::Page { from: Some("eyJ2IjoibWV0YSJ9=".to_owned()), size: Size::PAGE };
        let whole_list = Ask::Page { from: None, size: Size::Whole };
        for (resource, ask, fields, expected) in [
            (
                Resource::services(),
                Ask::Stream,
                Fields::All,
                "/api/v1/services?watch=true&allowWatchBookmarks=true&timeoutSeconds=300&sendInitialEvents=true\
                 &resourceVersionMatch=NotOlderThan&labelSelector=%21service.kubernetes.io%2Fservice-proxy-name\
                 &fieldSelector=spec.clusterIP%21%3DNone",
            ),
            (
                Resource::slices(),
                next_page,
                Fields::All,
                "/apis/discovery.k8s.io/v1/endpointslices?limit=500&continue=eyJ2IjoibWV0YSJ9%3D\
                 &labelSelector=%21service.kubernetes.io%2Fheadless",
            ),
            (
                node,
                watch,
                Fields::Old,
                "/api/v1/nodes?watch=true&allowWatchBookmarks=true&timeoutSeconds=300&resourceVersion=7\
                 &fieldSelector=metadata.name%3Dnode2",
            ),
            (
                Resource::services(),
                Ask::Check { since: "7".into() },
                Fields::Old,
                "/api/v1/services?limit=1&labelSelector=%21service.kubernetes.io%2Fservice-proxy-name",
            ),
            (Resource::service_cidrs(), whole_list, Fields::All, "/apis/networking.k8s.io/v1/servicecidrs"),
        ] {
            assert_eq!(resource.request(&ask, fields, 300), expected);
        }
    }

    #[test]
    fn only_an_allocator_and_an_announcer_ask_for_more_than_a_proxy() {
        let node = "node1".parse().unwrap();
        let proxy = paths(Resource::of_proxy(&node));
        let announcer = paths(Resource::of_announcer(&node, "metallb-system"));
        assert_eq!(announcer[..4], proxy);
        let metallb = "/apis/metallb.io/v1beta1/namespaces/metallb-system";
        assert_eq!(announcer[4..], [format!("{metallb}/ipaddresspools"), format!("{metallb}/l2advertisements")]);
        assert_eq!(
            paths(Resource::of_allocator("lb")),
            [
                "/api/v1/services",
                "/api/v1/namespaces",
                "/apis/metallb.io/v1beta1/namespaces/lb/ipaddresspools",
                "/apis/metallb.io/v1beta1/namespaces/lb/l2advertisements",
                "/apis/metallb.io/v1beta2/namespaces/lb/bgppeers",
                "/apis/metallb.io/v1beta1/namespaces/lb/bgpadvertisements",
                "/apis/metallb.io/v1beta1/namespaces/lb/bfdprofiles",
                "/apis/metallb.io/v1beta1/namespaces/lb/communities",
            ]
        );
    }

    fn paths(resources: Vec<Resource>) -> Vec<String> {
        let first_page = Ask::Page { from: None, size: Size::Whole };
        let texts = resources.iter().map(|resource| resource.request(&first_page, Fields::Old, 300));
        texts.map(|text| text.split('?').next().unwrap().to_owned()).collect()
    }
}
