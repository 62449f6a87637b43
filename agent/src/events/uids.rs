//! Which uid each service has: an Event that does not name it is not found with its object.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use backend_api::ServiceName;

use kubernetes::objects::{Kind, Object, Uid};
use kubernetes::source::Event;

/// The uids of all services that have one. A clone is the same.
#[derive(Clone, Debug, Default)]
pub struct Uids(Arc<Mutex<HashMap<ServiceName, Uid>>>);

impl Uids {
    /// Takes note of what a source tells.
    pub fn hear(&self, events: &[Event]) {
        let mut uids = self.lock();
        for event in events {
            match event {
                Event::Changed(Object::Service(service)) => match service.metadata.uid {
                    Uid::UNKNOWN => uids.remove(&service.service_name()),
                    uid => uids.insert(service.service_name(), uid),
                },
                Event::Deleted(key) if key.kind == Kind::Service => {
                    uids.remove(&ServiceName { namespace: key.namespace.clone(), name: key.name.clone() })
                }
                // The other source tells all that it has, and of the rest nobody does.
                Event::Anew => {
                    uids.clear();
                    None
                }
                Event::Changed(_) | Event::Deleted(_) | Event::Listed | Event::Trouble(_) => None,
            };
        }
    }

    /// A service's uid.
    pub fn of(&self, service: &ServiceName) -> Option<Uid> {
        self.lock().get(service).copied()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ServiceName, Uid>> {
        self.0.lock().expect("nothing panics while it holds the uids")
    }
}
