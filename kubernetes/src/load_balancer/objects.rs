//! Follows what a source tells, and says what that is for an allocator.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use allocation::{Edit, Labels, Pool, PoolName};
use backend_api::ServiceName;

use super::{
    Advertised, AdvertisedPool, AdvertisedService, Advertisement, Announced, AnnouncingNode, DeprecatedAnnotation,
    Mistake, NotAnnounced, PoolForm, advertised_service, advertisement, announced, announcing_node, pool, service,
};
use crate::objects::{IpAddressPool, Kind, Object, ObjectKey, Service};
use crate::source::Event;

/// Objects that addresses depend on.
#[derive(Debug)]
pub struct AddressObjects {
    namespace: Arc<str>,
    class: Option<Box<str>>,
    /// Everything that was told, and is not gone.
    known: BTreeSet<ObjectKey>,
    /// What the source before has told, and the new one not yet.
    doubtful: BTreeSet<ObjectKey>,
    /// What was said of an object and still holds.
    said: BTreeMap<ObjectKey, BTreeSet<Note>>,
    listed: bool,
}

/// What a batch of events comes to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// For the allocator, in one step.
    pub edits: Vec<Edit>,
    /// For an operator: what was not said before.
    pub notes: Vec<Note>,
}

/// Something about an object that an operator has to know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    /// Which object.
    pub object: ObjectKey,
    /// What about it.
    pub kind: NoteKind,
}

/// What there is to know about an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum NoteKind {
    /// It cannot be what it is, and its last good form holds, if there was one.
    Mistake(Mistake),
    /// It means something else than it seems to.
    Masked(String),
    /// An annotation has another name by now. The reason of its event is `deprecatedAnnotation`.
    Deprecated(DeprecatedAnnotation),
    /// It is in another namespace than the one that counts.
    OtherNamespace {
        /// The one that counts.
        counts: Arc<str>,
    },
    /// Nothing here does what it asks for.
    NotServed,
}

impl AddressObjects {
    /// Pools count that are in `namespace`, and services that are of `class`: exactly this one, or none if `None`.
    pub fn new(namespace: &str, class: Option<&str>) -> Self {
        Self {
            namespace: namespace.into(),
            class: class.map(Into::into),
            known: BTreeSet::new(),
            doubtful: BTreeSet::new(),
            said: BTreeMap::new(),
            listed: false,
        }
    }

    /// Whether a source has told everything once: nothing is given before.
    pub fn is_complete(&self) -> bool {
        self.listed
    }

    /// What these events come to. Edits that come before [`AddressObjects::is_complete`] belong together: they are to be
    /// kept until then, and applied at once.
    pub fn take(&mut self, events: Vec<Event>) -> Taken {
        let mut taken = Taken::default();
        for event in events {
            match event {
                Event::Changed(object) => self.changed(object, &mut taken),
                Event::Deleted(key) => self.deleted(&key, &mut taken),
                Event::Anew => self.doubtful = self.known.clone(),
                Event::Listed => {
                    self.listed = true;
                    for key in std::mem::take(&mut self.doubtful) {
                        self.deleted(&key, &mut taken);
                    }
                }
                // Said by the source, as of every object that cannot be read.
                Event::Trouble(_) => {}
            }
        }
        taken
    }

    fn changed(&mut self, object: Object, taken: &mut Taken) {
        let key = object.key();
        self.doubtful.remove(&key);
        let notes = match &object {
            Object::Service(object) => self.service_changed(object, taken),
            Object::IpAddressPool(_) | Object::L2Advertisement(_) | Object::Unserved(_)
                if key.namespace != self.namespace =>
            {
                vec![NoteKind::OtherNamespace { counts: self.namespace.clone() }]
            }
            Object::IpAddressPool(object) => pool_changed(object, taken),
            Object::L2Advertisement(object) => {
                let mistakes = advertisement(object).err().unwrap_or_default();
                mistakes.into_iter().map(NoteKind::Mistake).collect()
            }
            Object::Unserved(_) => vec![NoteKind::NotServed],
            Object::Namespace(namespace) => {
                let labels = namespace.metadata.labels.0.clone();
                taken.edits.push(Edit::Namespace(namespace.metadata.name.to_string(), labels));
                Vec::new()
            }
            Object::EndpointSlice(_) | Object::Endpoints(_) | Object::Node(_) | Object::ServiceCidr(_) => return,
            // The source has put it into its Service.
            Object::ServiceAddresses(_) => return,
        };
        self.say(&key, notes, taken);
        self.known.insert(key);
    }

    fn service_changed(&self, object: &Service, taken: &mut Taken) -> Vec<NoteKind> {
        match service(object, self.class.as_deref()) {
            Some((service, deprecated)) => {
                taken.edits.push(Edit::Service(service));
                deprecated.into_iter().map(NoteKind::Deprecated).collect()
            }
            None => {
                taken.edits.push(Edit::ServiceGone(object.service_name()));
                Vec::new()
            }
        }
    }

    fn deleted(&mut self, key: &ObjectKey, taken: &mut Taken) {
        self.doubtful.remove(key);
        self.said.remove(key);
        if !self.known.remove(key) {
            return;
        }
        match key.kind {
            Kind::Service => {
                let name = ServiceName { namespace: key.namespace.clone(), name: key.name.clone() };
                taken.edits.push(Edit::ServiceGone(name));
            }
            Kind::IpAddressPool if key.namespace == self.namespace => {
                taken.edits.push(Edit::PoolGone(PoolName::from(&*key.name)));
            }
            Kind::Namespace => taken.edits.push(Edit::NamespaceGone(key.name.to_string())),
            _ => {}
        }
    }

    /// Notes what was not said of the object before.
    fn say(&mut self, key: &ObjectKey, notes: Vec<NoteKind>, taken: &mut Taken) {
        let now: BTreeSet<Note> = notes.into_iter().map(|kind| Note { object: key.clone(), kind }).collect();
        let before = self.said.remove(key).unwrap_or_default();
        taken.notes.extend(now.difference(&before).cloned());
        if !now.is_empty() {
            self.said.insert(key.clone(), now);
        }
    }
}

/// Objects that say what a node announces, in their last good forms.
#[derive(Debug)]
pub struct AdvertisedObjects {
    namespace: Arc<str>,
    class: Option<Box<str>>,
    node_name: Arc<str>,
    pools: BTreeMap<ObjectKey, AdvertisedPool>,
    advertisements: BTreeMap<ObjectKey, Advertisement>,
    /// Of every class.
    services: BTreeMap<ObjectKey, Classed>,
    node: AnnouncingNode,
    /// A pool without an object, and its advertisement.
    own: Option<(AdvertisedPool, Advertisement)>,
    /// What the source before has told, and the new one not yet.
    doubtful: BTreeSet<ObjectKey>,
}

/// A service, and its class.
#[derive(Debug, PartialEq, Eq)]
struct Classed {
    class: Option<Box<str>>,
    service: AdvertisedService,
}

impl AdvertisedObjects {
    /// For one node; pools and advertisements count that are in `namespace`, and services that are of `class`.
    pub fn new(node_name: &str, namespace: &str, class: Option<&str>) -> Self {
        Self {
            namespace: namespace.into(),
            class: class.map(Into::into),
            node_name: node_name.into(),
            pools: BTreeMap::new(),
            advertisements: BTreeMap::new(),
            services: BTreeMap::new(),
            node: AnnouncingNode::default(),
            own: None,
            doubtful: BTreeSet::new(),
        }
    }

    /// From now on services of this class count.
    pub fn set_class(&mut self, class: Option<&str>) {
        self.class = class.map(Into::into);
    }

    /// Besides those of objects there is this pool, which is announced on all interfaces of all nodes.
    pub fn set_own_pool(&mut self, pool: Option<Pool>) {
        self.own = pool.map(|pool| {
            let advertisement = Advertisement { pools: vec![pool.name.clone()], ..Advertisement::of_everything() };
            (AdvertisedPool { pool, labels: Labels::new() }, advertisement)
        });
    }

    /// Takes what a source tells. Whether [`AdvertisedObjects::announced`] may say something else now.
    pub fn take(&mut self, events: &[Event]) -> bool {
        let mut changed = false;
        for event in events {
            match event {
                Event::Changed(object) => {
                    self.doubtful.remove(&object.key());
                    changed |= self.changed(object);
                }
                Event::Deleted(key) => changed |= self.deleted(key),
                Event::Anew => {
                    let keys = self.pools.keys().chain(self.advertisements.keys()).chain(self.services.keys());
                    self.doubtful = keys.cloned().collect();
                }
                Event::Listed => {
                    let gone = std::mem::take(&mut self.doubtful);
                    changed |= gone.iter().filter(|key| self.deleted(key)).count() > 0;
                }
                Event::Trouble(_) => {}
            }
        }
        changed
    }

    /// Every address that a service has, and how this node announces it, or why it does not.
    pub fn announced(&self) -> BTreeMap<IpAddr, Result<Announced, NotAnnounced>> {
        let (own_pool, own_advertisement) = self.own.iter().cloned().unzip::<_, _, Vec<_>, Vec<_>>();
        let of_class = self.services.values().filter(|classed| classed.class == self.class);
        let advertised = Advertised {
            pools: self.pools.values().cloned().chain(own_pool).collect(),
            advertisements: self.advertisements.values().cloned().chain(own_advertisement).collect(),
            services: of_class.map(|classed| classed.service.clone()).collect(),
        };
        announced(&advertised, &self.node)
    }

    fn changed(&mut self, object: &Object) -> bool {
        let key = object.key();
        match object {
            Object::Service(object) => {
                let class = object.spec.load_balancer_class.as_deref().filter(|class| !class.is_empty());
                let service = advertised_service(object, class);
                let now = service.map(|service| Classed { class: class.map(Into::into), service });
                let before = self.services.remove(&key);
                let counts = [&before, &now].into_iter().flatten().any(|classed| classed.class == self.class);
                let changed = before != now && counts;
                self.services.extend(now.map(|now| (key, now)));
                changed
            }
            Object::IpAddressPool(object) if key.namespace == self.namespace => match pool(object) {
                Ok(PoolForm { pool, .. }) => {
                    let labels = object.metadata.labels.0.clone();
                    put(&mut self.pools, key, AdvertisedPool { pool, labels })
                }
                Err(_) => false,
            },
            Object::L2Advertisement(object) if key.namespace == self.namespace => match advertisement(object) {
                Ok(advertisement) => put(&mut self.advertisements, key, advertisement),
                Err(_) => false,
            },
            // What it said last holds when it is gone.
            Object::Node(node) if node.metadata.name == self.node_name => {
                let now = announcing_node(node);
                std::mem::replace(&mut self.node, now) != self.node
            }
            _ => false,
        }
    }

    fn deleted(&mut self, key: &ObjectKey) -> bool {
        self.pools.remove(key).is_some()
            || self.advertisements.remove(key).is_some()
            || self.services.remove(key).is_some()
    }
}

/// Puts a value in its place; whether that changes something.
fn put<T: PartialEq>(values: &mut BTreeMap<ObjectKey, T>, key: ObjectKey, value: T) -> bool {
    if values.get(&key) == Some(&value) {
        return false;
    }
    values.insert(key, value);
    true
}

/// A pool with mistakes leaves the allocator what it was told before.
fn pool_changed(object: &IpAddressPool, taken: &mut Taken) -> Vec<NoteKind> {
    match pool(object) {
        Ok(PoolForm { pool, masked }) => {
            taken.edits.push(Edit::Pool(pool));
            masked.iter().map(|masked| NoteKind::Masked(masked.to_string())).collect()
        }
        Err(mistakes) => mistakes.into_iter().map(NoteKind::Mistake).collect(),
    }
}

/// `IPAddressPool metallb-system/office: spec.addresses[0]: …; its last good form holds, if there was one`.
impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.object)?;
        match &self.kind {
            NoteKind::Mistake(mistake) => write!(f, "{mistake}; its last good form holds, if there was one"),
            NoteKind::Masked(text) => write!(f, "{text}"),
            NoteKind::Deprecated(DeprecatedAnnotation { written, instead }) => {
                write!(f, "annotation {written} is deprecated, and obeyed: write {instead}")
            }
            NoteKind::OtherNamespace { counts } => write!(f, "ignored: only objects in namespace {counts} count"),
            NoteKind::NotServed => write!(f, "not served: addresses are announced in their segment, and not by BGP"),
        }
    }
}
