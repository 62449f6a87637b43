//! Any bytes are some objects of nf_tables or none, and what was decoded is the same after it was encoded.

use netlink::Family;
use netlink::message::Messages;
use netlink::nftables::{Batch, Element, Notification, Notifications, Object, Rule, Table};

pub(super) fn check(bytes: &[u8]) {
    for message in Messages(bytes) {
        if let Some(Notification::Object { family, table, object, .. }) = Notification::decode(&message) {
            check_object(family, table, object);
        }
    }
}

fn check_object(family: Family, table: &str, object: Object<'_>) {
    let mut batch = Batch::new(table);
    match &object {
        Object::Table(table) => batch.put_table(0, table),
        Object::Chain(chain) => batch.put_chain(0, family, chain),
        Object::Rule(rule) => batch.append_rule(0, family, rule),
        Object::Set(set) => batch.put_set(0, family, set),
        Object::Elements { set, elements } => {
            let mut put = batch.put_elements(family, set);
            elements.iter().for_each(|element| put.push(0, &element));
        }
        Object::Flowtable(flowtable) => batch.put_flowtable(0, family, flowtable),
        _ => return,
    }
    let again = batch.encoded(1);
    let Some(Notification::Object { family: family_again, table: table_again, object: object_again, .. }) =
        Notifications(Messages(again)).next()
    else {
        assert!(matches!(&object, Object::Elements { elements, .. } if elements.iter().next().is_none()));
        return;
    };
    assert_eq!((family_again, table_again), (family, table));
    match (object, object_again) {
        (Object::Elements { set, elements }, Object::Elements { set: set_again, elements: elements_again }) => {
            assert_eq!(set, set_again);
            let elements: Vec<Element<'_>> = elements.iter().collect();
            assert_eq!(elements, elements_again.iter().collect::<Vec<_>>());
        }
        // The kernel chooses a handle and an owner; they are not written.
        (Object::Rule(rule), Object::Rule(again)) => assert_eq!(Rule { handle: 0, ..rule }, again),
        (Object::Table(table), Object::Table(again)) => assert_eq!(Table { owner: None, ..table }, again),
        (object, again) => assert_eq!(object, again),
    }
}
