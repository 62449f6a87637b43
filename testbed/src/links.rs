//! Links, addresses and routes inside namespaces of ours, by rtnetlink.
//!
//! Kept apart from the topology so that what a world looks like and how the kernel is told are read separately.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::TryStreamExt;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags};
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkInfo, LinkMessage, State};
use netlink_packet_route::route::{RouteMessage, RouteScope, RouteType};
use rtnetlink::{Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};
use tokio::runtime;

use super::namespace::Namespace;

/// Index of the loopback interface, in every namespace.
pub const LOOPBACK: Link = Link(1);

/// A link, by its index in its namespace. Ours are unique in the process: two ends of a pair with one index would have
/// the kernel put off their carrier changes for up to a second (`linkwatch_urgent_event`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link(u32);

static NEXT: AtomicU32 = AtomicU32::new(10);

/// Tells the kernel what a namespace is connected to.
#[derive(Debug)]
pub struct Links<'a> {
    namespace: &'a Namespace,
    handle: Handle,
}

/// One end of a veth pair.
#[derive(Debug)]
pub struct End<'a> {
    /// Where it is.
    pub links: &'a Links<'a>,
    /// Its name there, at most 15 bytes.
    pub name: &'a str,
}

/// An address and the length of its network's prefix.
pub type Prefixed = (IpAddr, u8);

/// Where packets go.
#[derive(Clone, Copy, Debug)]
pub enum Via {
    /// To a gateway behind a link, which needs no route of its own.
    Gateway(IpAddr, Link),
    /// To the neighbour behind a link that answers for the destination.
    Neighbour(Link),
    /// To the namespace itself.
    Local,
}

impl<'a> Links<'a> {
    /// A netlink socket inside `namespace`, driven by `runtime`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open(namespace: &'a Namespace, runtime: &runtime::Handle) -> io::Result<Self> {
        let handle = namespace.run(|| {
            let _context = runtime.enter();
            let (connection, handle, _) = rtnetlink::new_connection()?;
            runtime.spawn(connection);
            io::Result::Ok(handle)
        })?;
        Ok(Self { namespace, handle })
    }

    /// The namespace.
    pub fn namespace(&self) -> &'a Namespace {
        self.namespace
    }

    /// A bridge that is up, its ports' hairpin mode off.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn bridge(&self, name: &str) -> Result<Link, rtnetlink::Error> {
        let link = Link::next();
        let message = LinkBridge::new(name).index(link.0).address(link.mac()).build();
        self.handle.link().add(message).execute().await?;
        Ok(link)
    }

    /// Makes `link` a port of `bridge`.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn attach(&self, link: Link, bridge: Link) -> Result<(), rtnetlink::Error> {
        self.set(LinkUnspec::new_with_index(link.0).controller(bridge.0).build()).await
    }

    /// Brings `link` up.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn up(&self, link: Link) -> Result<(), rtnetlink::Error> {
        self.set(LinkUnspec::new_with_index(link.0).up().build()).await
    }

    /// Takes `link` down.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn down(&self, link: Link) -> Result<(), rtnetlink::Error> {
        self.set(LinkUnspec::new_with_index(link.0).down().build()).await
    }

    /// Names of the pairs' ends and of the bridges with ports that do not carry packets yet: the kernel tells them of
    /// their other end's state a little later.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn unready(&self) -> Result<Vec<String>, rtnetlink::Error> {
        let links: Vec<LinkMessage> = self.handle.link().get().execute().try_collect().await?;
        let concerned = links.iter().filter(|link| is_a(link, InfoKind::Veth) || has_ports(link, &links));
        let unready = concerned.filter(|link| !link.attributes.contains(&LinkAttribute::OperState(State::Up)));
        Ok(unready.filter_map(name).collect())
    }

    /// Gives `link` an address that is usable at once.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn address(&self, link: Link, (address, prefix): Prefixed) -> Result<(), rtnetlink::Error> {
        let mut request = self.handle.address().add(link.0, address, prefix);
        if address.is_ipv6() {
            let message = request.message_mut();
            message.header.flags |= AddressHeaderFlags::Nodad;
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        request.execute().await
    }

    /// Takes an address from `link`.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn remove_address(&self, link: Link, (address, prefix): Prefixed) -> Result<(), rtnetlink::Error> {
        let message = self.handle.address().add(link.0, address, prefix).message_mut().clone();
        self.handle.address().del(message).execute().await
    }

    /// The link of this name.
    ///
    /// # Errors
    /// The kernel's; there is none, for example.
    pub async fn find(&self, name: &str) -> Result<Link, rtnetlink::Error> {
        let answer = self.handle.link().get().match_name(name).execute().try_next().await?;
        answer.map(|link| Link(link.header.index)).ok_or(rtnetlink::Error::RequestFailed)
    }

    /// Adds a route; a prefix of 0 is the default route of the address' family.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn route(&self, to: Prefixed, via: Via) -> Result<(), rtnetlink::Error> {
        self.handle.route().add(route(to, via)).execute().await
    }

    async fn set(&self, message: LinkMessage) -> Result<(), rtnetlink::Error> {
        self.handle.link().set(message).execute().await
    }
}

/// A veth pair between two namespaces, both ends up. A port of a bridge on one side only: attach it afterwards.
///
/// # Errors
/// The kernel's.
pub async fn connect(one: End<'_>, other: End<'_>) -> Result<[Link; 2], rtnetlink::Error> {
    let links = [Link::next(), Link::next()];
    let peer = LinkMessageBuilder::<LinkUnspec>::new()
        .name(other.name)
        .index(links[1].0)
        .address(links[1].mac())
        .setns_by_fd(other.links.namespace.as_fd().as_raw_fd())
        .build();
    let message = LinkVeth::new(one.name, other.name)
        .index(links[0].0)
        .address(links[0].mac())
        .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
        .build();
    one.links.handle.link().add(message).execute().await?;
    one.links.up(links[0]).await?;
    other.links.up(links[1]).await?;
    Ok(links)
}

/// The default route's destination in the family of `gateway`.
pub fn everything(gateway: IpAddr) -> Prefixed {
    match gateway {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED.into(), 0),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED.into(), 0),
    }
}

/// The range that holds `address` alone.
pub fn alone(address: IpAddr) -> Prefixed {
    (address, if address.is_ipv4() { 32 } else { 128 })
}

impl Link {
    fn next() -> Self {
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// A locally administered address, unique in the process.
    fn mac(self) -> Vec<u8> {
        let [a, b, c, d] = self.0.to_be_bytes();
        vec![0x02, 0x53, a, b, c, d]
    }
}

fn is_a(link: &LinkMessage, kind: InfoKind) -> bool {
    let kind = LinkInfo::Kind(kind);
    link.attributes.iter().any(|attribute| matches!(attribute, LinkAttribute::LinkInfo(all) if all.contains(&kind)))
}

/// Whether `link` is a bridge that one of `links` is a port of.
fn has_ports(link: &LinkMessage, links: &[LinkMessage]) -> bool {
    let port = LinkAttribute::Controller(link.header.index);
    links.iter().any(|other| other.attributes.contains(&port))
}

fn name(link: &LinkMessage) -> Option<String> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })
}

fn route((to, prefix): Prefixed, via: Via) -> RouteMessage {
    let message = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(to, prefix)
        .expect("every prefix is written with its address");
    let message = match via {
        Via::Gateway(gateway, link) => {
            message.gateway(gateway).expect("a gateway is of its route's family").output_interface(link.0).onlink()
        }
        Via::Neighbour(link) => message.output_interface(link.0).scope(RouteScope::Link),
        Via::Local => message
            .output_interface(LOOPBACK.0)
            .kind(RouteType::Local)
            .table_id(u32::from(LOCAL_TABLE))
            .scope(RouteScope::Host),
    };
    message.build()
}

/// `RT_TABLE_LOCAL`, linux/rtnetlink.h.
const LOCAL_TABLE: u8 = 255;
