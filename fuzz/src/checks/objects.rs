//! A file of the folder source, YAML or JSON, read and resolved: nothing panics, nothing is left when its objects are
//! gone.

use backend_api::{NodeNetwork, ServiceState};
use kubernetes::objects::{Item, read};
use kubernetes::resolve::Resolver;
use kubernetes::settings::{LocalDetector, Settings};

pub(super) fn check(file: &[u8]) {
    let text = String::from_utf8_lossy(file);
    let node = "node1".parse().expect("a name");
    let mut resolver = Resolver::new(Settings::new(node, LocalDetector::NodeCidrs));
    let mut keys = Vec::new();
    for item in read(&text) {
        match item {
            Item::Object(object) => {
                keys.push(object.key());
                resolver.upsert(&object);
            }
            Item::Foreign { line, .. } => assert!(line > 0),
            Item::Refused(refused) => assert!(refused.line > 0 && !refused.to_string().is_empty()),
        }
    }
    let mut state = ServiceState::new(NodeNetwork::unknown());
    let changes = resolver.resolve();
    for warning in &changes.warnings {
        assert!(!warning.to_string().is_empty());
    }
    assert_eq!(changes.apply(&mut state).flawed, [], "resolving makes no service that cannot be programmed");
    assert!(resolver.resolve().is_empty(), "nothing has changed");
    for key in &keys {
        resolver.remove(key);
    }
    resolver.resolve().apply(&mut state);
    assert!(resolver.has_no_services() && state.is_empty(), "nothing is left");
}
