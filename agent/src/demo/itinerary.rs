//! What is dialled from where, and what should answer: written by hand from the example's description, not from code
//! that resolves services.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use backend_api::Protocol;

use testbed::{Dial, Refusal};

/// A chapter of the itinerary.
#[derive(Clone, Debug)]
pub(super) struct Chapter {
    /// Its heading.
    pub(super) title: &'static str,
    /// Its visits.
    pub(super) visits: Vec<Visit>,
}

/// One address, dialled from one place.
#[derive(Clone, Debug)]
pub(super) struct Visit {
    /// From where.
    pub(super) from: &'static str,
    /// What is dialled, for the reader.
    pub(super) service: &'static str,
    /// What is dialled.
    pub(super) protocol: Protocol,
    /// What is dialled.
    pub(super) to: SocketAddr,
    /// What should be met.
    pub(super) expected: Expected,
}

/// What a visit should meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// These answer, each as often as the others, and see such a source.
    Answers(&'static [&'static str], Source),
    /// A refusal.
    Refusal(Refusal),
    /// Nothing.
    Silence,
}

/// Which source address an answerer should see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The client's own.
    Kept,
    /// The node's, on the link to the answerer.
    Node,
    /// The client's own, but the node's where the client answers itself.
    NodeForItself,
}

const NGINX: &[&str] = &["nginx-1", "nginx-2", "nginx-3"];
const WHOAMI: &[&str] = &["whoami-1", "whoami-2", "whoami-3"];
const DNS: &[&str] = &["coredns-1", "coredns-2"];
const API: &[&str] = &["ctrlnode"];

/// How long a silence must last to be one. The probes before have shown that answers take a fraction of a millisecond.
const SILENCE: Duration = Duration::from_millis(200);
/// How long an answer is waited for: long enough for TCP to try three times.
const PATIENCE: Duration = Duration::from_secs(5);

/// Everything that is shown.
pub(super) fn itinerary() -> Vec<Chapter> {
    use Expected::{Answers, Refusal as Refused, Silence};
    use Protocol::{Tcp, Udp};
    use Source::{Kept, Node, NodeForItself};
    let answers = Answers;
    vec![
        chapter(
            "From a pod",
            vec![
                visit("mytools", "kubernetes", Tcp, "10.96.0.1:443", answers(API, Kept)),
                visit("mytools", "kube-dns dns", Udp, "10.96.0.10:53", answers(DNS, Kept)),
                visit("mytools", "kube-dns dns-tcp", Tcp, "10.96.0.10:53", answers(DNS, Kept)),
                visit("mytools", "kube-dns metrics", Tcp, "10.96.0.10:9153", answers(DNS, Kept)),
                visit("mytools", "nginx-deploy-clusterip-svc", Tcp, "10.105.145.136:8080", answers(NGINX, Kept)),
                visit("mytools", "nginx-deploy-nodeport-svc", Tcp, "10.102.231.147:8081", answers(NGINX, Kept)),
                visit("mytools", "nginx-deploy-lb-svc, external", Tcp, "192.168.67.240:8082", answers(NGINX, Node)),
                visit("mytools", "whoami", Tcp, "10.108.154.253:8080", answers(WHOAMI, Kept)),
            ],
        ),
        chapter(
            "From outside the cluster",
            vec![
                visit(
                    "outsider",
                    "nginx-deploy-nodeport-svc, node port",
                    Tcp,
                    "192.168.67.10:30673",
                    answers(NGINX, Node),
                ),
                visit("outsider", "nginx-deploy-lb-svc, external", Tcp, "192.168.67.240:8082", answers(NGINX, Node)),
                visit(
                    "outsider",
                    "ingress-nginx-controller, external",
                    Tcp,
                    "192.168.67.241:80",
                    answers(&["ingress"], Node),
                ),
            ],
        ),
        chapter(
            "From the Ingress controller, to cluster addresses",
            vec![
                visit("ingress", "nginx.svc.local", Tcp, "10.105.145.136:8080", answers(NGINX, Kept)),
                visit("ingress", "whoami.svc.local", Tcp, "10.108.154.253:8080", answers(WHOAMI, Kept)),
            ],
        ),
        chapter(
            "From the node itself",
            vec![
                visit("node2", "kubernetes", Tcp, "10.96.0.1:443", answers(API, Node)),
                visit("node2", "kube-dns dns", Udp, "10.96.0.10:53", answers(DNS, Node)),
                visit("node2", "nginx-deploy-clusterip-svc", Tcp, "10.105.145.136:8080", answers(NGINX, Node)),
                visit(
                    "node2",
                    "nginx-deploy-nodeport-svc, node port",
                    Tcp,
                    "192.168.67.10:30673",
                    answers(NGINX, Node),
                ),
                visit("node2", "nginx-deploy-lb-svc, external", Tcp, "192.168.67.240:8082", answers(NGINX, Node)),
            ],
        ),
        chapter(
            "From a pod to its own service, where the pod itself answers too",
            vec![
                visit(
                    "nginx-3",
                    "nginx-deploy-clusterip-svc",
                    Tcp,
                    "10.105.145.136:8080",
                    answers(NGINX, NodeForItself),
                ),
                visit("whoami-3", "whoami", Tcp, "10.108.154.253:8080", answers(WHOAMI, NodeForItself)),
            ],
        ),
        chapter(
            "Addresses and ports without a service",
            vec![
                visit("mytools", "whoami, a port without a service", Tcp, "10.108.154.253:81", Refused(Refusal::Reset)),
                visit(
                    "mytools",
                    "kube-dns, a port without a service",
                    Udp,
                    "10.96.0.10:54",
                    Refused(Refusal::PortUnreachable),
                ),
                visit("mytools", "a cluster address without a service", Tcp, "10.99.99.99:80", Silence),
            ],
        ),
    ]
}

impl Visit {
    /// The dial of one connection.
    pub(super) fn dial(&self) -> Dial {
        let patience = match self.expected {
            Expected::Answers(..) | Expected::Refusal(_) => PATIENCE,
            Expected::Silence => SILENCE,
        };
        Dial::new(self.protocol, self.to).within(patience)
    }

    /// How many connections to open, of `wanted` at most: what meets no answer is as telling the third time.
    pub(super) fn connections(&self, wanted: usize) -> usize {
        match self.expected {
            Expected::Answers(..) => wanted,
            Expected::Refusal(_) | Expected::Silence => wanted.min(3),
        }
    }

    /// `10.96.0.1:443/TCP`.
    pub(super) fn address(&self) -> String {
        format!("{}/{}", self.to, self.protocol)
    }
}

impl Source {
    /// The address that `answerer` should see of a client with the address `own`, where the node would put `node`.
    pub(super) fn of(self, answerer: &str, client: &str, (own, node): (IpAddr, IpAddr)) -> IpAddr {
        match self {
            Self::Kept => own,
            Self::Node => node,
            Self::NodeForItself => {
                if answerer == client {
                    node
                } else {
                    own
                }
            }
        }
    }
}

fn chapter(title: &'static str, visits: Vec<Visit>) -> Chapter {
    Chapter { title, visits }
}

fn visit(from: &'static str, service: &'static str, protocol: Protocol, to: &str, expected: Expected) -> Visit {
    Visit { from, service, protocol, to: to.parse().expect("an address and a port"), expected }
}
