//! Which services have which address, and which address a service could share.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use backend_api::{Protocol, ServiceName};

use crate::{Clash, Service, Sharing, SharingKey};

#[derive(Debug)]
pub(crate) struct Claims {
    sharing: Sharing,
    /// Services of each address, the oldest first. All of one address share it.
    users: HashMap<IpAddr, Vec<Arc<Service>>>,
    groups: HashMap<GroupKey, Group>,
}

/// What services have in common that may share an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct GroupKey {
    /// Under [`Sharing::Namespace`].
    namespace: Option<Arc<str>>,
    key: SharingKey,
}

/// Services that may share, and their addresses.
#[derive(Debug, Default)]
struct Group {
    addresses: BTreeSet<IpAddr>,
    /// By which service a port of an address is taken.
    taken: HashMap<(IpAddr, Port), Arc<Service>>,
    /// Addresses on which a port is not taken, of each port that was looked for.
    open: HashMap<Port, BTreeSet<IpAddr>>,
}

type Port = (Protocol, u16);

impl Claims {
    pub(crate) fn new(sharing: Sharing) -> Self {
        Self { sharing, users: HashMap::new(), groups: HashMap::new() }
    }

    pub(crate) fn is_used(&self, address: IpAddr) -> bool {
        self.users.contains_key(&address)
    }

    /// The services that have an address, the oldest first.
    pub(crate) fn users(&self, address: IpAddr) -> &[Arc<Service>] {
        self.users.get(&address).map_or(&[], Vec::as_slice)
    }

    /// Every address that a service has.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.users.keys().copied()
    }

    /// Why two services do not share an address.
    pub(crate) fn clash(&self, one: &Service, other: &Service) -> Option<Clash> {
        self.differ(one, other).or_else(|| {
            let (protocol, port) = one.ports.iter().find(|port| other.ports.contains(port))?;
            Some(Clash::Port(*protocol, *port))
        })
    }

    /// Why two services do not share an address, whatever their ports are.
    fn differ(&self, one: &Service, other: &Service) -> Option<Clash> {
        let (Some(key), Some(others)) = (&one.sharing, &other.sharing) else { return Some(Clash::NoKey) };
        if key.key != others.key {
            return Some(Clash::Keys);
        }
        if self.sharing == Sharing::Namespace && one.name.namespace != other.name.namespace {
            return Some(Clash::Namespaces);
        }
        (key.backends != others.backends).then_some(Clash::Backends)
    }

    /// The services that have an address and do not share it with this one, the oldest first. Costs with them and the
    /// service's ports, not with all that have the address.
    pub(crate) fn clashing(&self, address: IpAddr, service: &Service) -> Vec<Arc<Service>> {
        let users = self.users(address);
        // What one of them is, all are: they share.
        let Some(first) = users.first() else { return Vec::new() };
        if self.differ(first, service).is_some() {
            return users.to_vec();
        }
        let group = self.group_key(service).and_then(|key| self.groups.get(&key)).expect("the users are in its group");
        let taken = service.ports.iter().filter_map(|port| group.taken.get(&(address, *port)));
        let mut clashing: Vec<_> = taken.cloned().collect();
        clashing.sort_by(|one, other| one.cmp_age(other));
        clashing.dedup_by(|one, other| one.name == other.name);
        clashing
    }

    /// Adds a user that shares with the others. Returns whether it is the first.
    pub(crate) fn add(&mut self, address: IpAddr, service: &Arc<Service>) -> bool {
        let users = self.users.entry(address).or_default();
        let place = users.partition_point(|user| user.cmp_age(service).is_lt());
        users.insert(place, service.clone());
        let is_first = users.len() == 1;
        if let Some(key) = self.group_key(service) {
            self.groups.entry(key).or_default().add(address, service);
        }
        is_first
    }

    /// Removes a user. Returns it, and whether it was the last; `None` if the service has not this address.
    pub(crate) fn remove(&mut self, address: IpAddr, name: &ServiceName) -> Option<(Arc<Service>, bool)> {
        let users = self.users.get_mut(&address)?;
        let place = users.iter().position(|user| user.name == *name)?;
        let service = users.remove(place);
        let was_last = users.is_empty();
        if was_last {
            self.users.remove(&address);
        }
        if let Some(key) = self.group_key(&service) {
            let group = self.groups.get_mut(&key).expect("a user with a key is in a group");
            group.remove(address, &service, was_last);
            if group.addresses.is_empty() {
                self.groups.remove(&key);
            }
        }
        Some((service, was_last))
    }

    /// The lowest address from `first` to `last` that others have and share with this service.
    pub(crate) fn sharable(&mut self, service: &Service, first: IpAddr, last: IpAddr) -> Option<IpAddr> {
        let key = self.group_key(service)?;
        let group = self.groups.get_mut(&key)?;
        if let Some(port) = service.ports.first() {
            group.look_for(*port);
        }
        let candidates = service.ports.first().map_or(&group.addresses, |port| &group.open[port]);
        let mut candidates = candidates.range(first..=last).copied();
        candidates.find(|address| !service.ports.iter().any(|port| group.taken.contains_key(&(*address, *port))))
    }

    fn group_key(&self, service: &Service) -> Option<GroupKey> {
        let key = service.sharing.clone()?;
        let namespace = (self.sharing == Sharing::Namespace).then(|| service.name.namespace.clone());
        Some(GroupKey { namespace, key })
    }
}

impl Group {
    fn add(&mut self, address: IpAddr, service: &Arc<Service>) {
        if self.addresses.insert(address) {
            for open in self.open.values_mut() {
                open.insert(address);
            }
        }
        for port in &service.ports {
            self.taken.insert((address, *port), service.clone());
            if let Some(open) = self.open.get_mut(port) {
                open.remove(&address);
            }
        }
    }

    fn remove(&mut self, address: IpAddr, service: &Service, was_last: bool) {
        for port in &service.ports {
            self.taken.remove(&(address, *port));
            if let Some(open) = self.open.get_mut(port) {
                open.insert(address);
            }
        }
        if was_last {
            self.addresses.remove(&address);
            for open in self.open.values_mut() {
                open.remove(&address);
            }
        }
    }

    /// From now on it is known on which addresses the port is not taken.
    fn look_for(&mut self, port: Port) {
        let Self { addresses, taken, open } = self;
        open.entry(port).or_insert_with(|| {
            addresses.iter().filter(|address| !taken.contains_key(&(**address, port))).copied().collect()
        });
    }
}
