//! What the texts in a folder mean: which objects there are, in which file, and what a new text of a file changes.
//!
//! **Invariant:** pure: what is told depends on the texts alone, and on the order in which they came only where a text
//! cannot be read.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tracing::debug;

use super::super::{Event, Trouble};
use crate::objects::{Item, Kind, Object, ObjectKey, Refused, Service, ServiceStatus, read};

/// How many new lines are said of one file at once.
const LINES: usize = 20;

/// Every file that was read, and the objects that count.
#[derive(Debug, Default)]
pub(super) struct Folder {
    files: BTreeMap<String, File>,
    /// Which files hold an object: the first by name counts.
    holders: BTreeMap<ObjectKey, BTreeSet<String>>,
    /// The troubles that were said and still are, by file.
    said: BTreeMap<String, BTreeSet<Trouble>>,
    /// Files that may have others.
    unsaid: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct File {
    objects: BTreeMap<ObjectKey, Object>,
    troubles: BTreeSet<Trouble>,
}

impl Folder {
    /// `file` holds `text` now: what that changes.
    pub(super) fn read(&mut self, file: &str, text: &str) -> Vec<Event> {
        let before = self.files.get(file).map(|file| file.objects.clone()).unwrap_or_default();
        let mut now = File::default();
        let mut unread = Vec::new();
        for item in read(text) {
            match item {
                Item::Object(object) => {
                    let key = object.key();
                    if let Entry::Vacant(free) = now.objects.entry(key.clone()) {
                        free.insert(object);
                    } else {
                        let reason = "a second time in this file, the first one is used".to_owned();
                        now.troubles.insert(trouble(file, None, Some(key), reason));
                    }
                }
                Item::Foreign { line, kind } => debug!(file, line, kind, "kind that a proxy does not read, ignored"),
                Item::Refused(refused) => unread.push(refused),
            }
        }
        for refused in unread {
            now.keep(&before, file, refused);
        }
        self.replace(file, Some(now))
    }

    /// `file` is there and cannot be read: what it held holds.
    pub(super) fn unreadable(&mut self, file: &str, reason: &str) {
        let held = self.files.entry(file.to_owned()).or_default();
        let holds = if held.objects.is_empty() { "ignored" } else { "its objects are kept" };
        held.troubles = BTreeSet::from([trouble(file, None, None, format!("{reason}; {holds}"))]);
        self.unsaid.insert(file.to_owned());
    }

    /// `file` is not there any more.
    pub(super) fn gone(&mut self, file: &str) -> Vec<Event> {
        self.replace(file, None)
    }

    /// Puts `now` in the place of `file` and tells what that changes.
    fn replace(&mut self, file: &str, now: Option<File>) -> Vec<Event> {
        let held = self.files.get(file).map(File::keys).unwrap_or_default();
        let holds = now.as_ref().map(File::keys).unwrap_or_default();
        let mut concerned: BTreeSet<ObjectKey> = held.union(&holds).cloned().collect();
        let addresses = concerned.iter().filter(|key| key.kind == Kind::ServiceAddresses);
        let services: Vec<_> = addresses.map(|key| ObjectKey { kind: Kind::Service, ..key.clone() }).collect();
        concerned.extend(services);

        let counted: Vec<Option<Object>> = concerned.iter().map(|key| self.told(key)).collect();
        for key in held.difference(&holds) {
            let holders = self.holders.get_mut(key).expect("what a file holds has holders");
            holders.remove(file);
            if holders.is_empty() {
                self.holders.remove(key);
            }
        }
        for key in holds.difference(&held) {
            self.holders.entry(key.clone()).or_default().insert(file.to_owned());
        }
        self.files.remove(file);
        if let Some(now) = now {
            self.files.insert(file.to_owned(), now);
        }
        self.unsaid.insert(file.to_owned());
        self.unsaid.extend(concerned.iter().filter_map(|key| self.holders.get(key)).flatten().cloned());

        let mut events = Vec::new();
        for (key, before) in concerned.iter().zip(counted) {
            match self.told(key) {
                now if now == before => {}
                Some(object) => events.push(Event::Changed(object)),
                None => events.push(Event::Deleted(key.clone())),
            }
        }
        events
    }

    /// The files of which there may be something new to say.
    pub(super) fn unsaid(&self) -> impl Iterator<Item = &String> {
        self.unsaid.iter()
    }

    /// What is new to say of `file`: at most some lines.
    pub(super) fn say(&mut self, file: &str) -> Vec<Trouble> {
        self.unsaid.remove(file);
        let now = self.troubles(file);
        let said = self.said.remove(file).unwrap_or_default();
        let mut news: Vec<_> = now.difference(&said).cloned().collect();
        if !now.is_empty() {
            self.said.insert(file.to_owned(), now);
        }
        if let Some(more) = news.len().checked_sub(LINES).filter(|more| *more > 0) {
            news.truncate(LINES);
            news.push(trouble(file, None, None, format!("{more} more mistakes are not shown")));
        }
        news
    }

    /// What is wrong with `file`, and which of its objects another file holds, too.
    fn troubles(&self, file: &str) -> BTreeSet<Trouble> {
        let Some(held) = self.files.get(file) else { return BTreeSet::new() };
        let mut troubles = held.troubles.clone();
        for key in held.objects.keys() {
            if let Some(first) = self.holders.get(key).and_then(BTreeSet::first).filter(|first| *first != file) {
                let reason = format!("also in {first}, which is used");
                troubles.insert(trouble(file, None, Some(key.clone()), reason));
            }
        }
        troubles
    }

    /// The object of this name as it is told: a Service with its addresses, and no addresses by themselves.
    fn told(&self, key: &ObjectKey) -> Option<Object> {
        let object = self.counting(key)?;
        match object {
            Object::ServiceAddresses(_) => None,
            Object::Service(service) => {
                let key = ObjectKey { kind: Kind::ServiceAddresses, ..key.clone() };
                let Some(Object::ServiceAddresses(addresses)) = self.counting(&key) else {
                    return Some(object.clone());
                };
                let status = ServiceStatus { load_balancer: addresses.load_balancer.clone() };
                Some(Object::Service(Arc::new(Service { status, ..(**service).clone() })))
            }
            _ => Some(object.clone()),
        }
    }

    /// The object of this name that counts.
    fn counting(&self, key: &ObjectKey) -> Option<&Object> {
        let file = self.holders.get(key)?.first()?;
        self.files.get(file)?.objects.get(key)
    }
}

impl File {
    fn keys(&self) -> BTreeSet<ObjectKey> {
        self.objects.keys().cloned().collect()
    }

    /// Keeps what `before` holds of something that cannot be read: the object if it says which it was, else all that is
    /// not there otherwise, for it may be any of them.
    fn keep(&mut self, before: &BTreeMap<ObjectKey, Object>, file: &str, refused: Refused) {
        let Refused { line, object, reason } = refused;
        let named = object.as_ref().filter(|object| before.contains_key(*object));
        let kept = before.iter().filter(|(key, _)| named.is_none_or(|named| named == *key));
        let kept: Vec<_> = kept.filter(|(key, _)| !self.objects.contains_key(*key)).collect();
        let holds = match (named, kept.as_slice()) {
            (Some(_), _) => "its last good state is kept".to_owned(),
            (None, []) => "ignored".to_owned(),
            (None, [(one, _)]) => format!("{one} is missing now, may be meant, and is kept"),
            (None, [(one, _), rest @ ..]) => {
                format!("{one} and {} more objects are missing now, may be meant, and are kept", rest.len())
            }
        };
        self.troubles.insert(trouble(file, Some(line), object, format!("{reason}; {holds}")));
        for (key, object) in kept {
            self.objects.insert(key.clone(), object.clone());
        }
    }
}

fn trouble(file: &str, line: Option<u64>, object: Option<ObjectKey>, reason: String) -> Trouble {
    Trouble { place: file.to_owned(), line, object, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, port: u16) -> String {
        format!("---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: {port}}}]}}\n")
    }

    impl Folder {
        /// Reads a file and says everything that is new.
        fn hear(&mut self, file: &str, text: &str) -> Vec<String> {
            let events = self.read(file, text);
            words(events).into_iter().chain(self.complaints()).collect()
        }

        fn complaints(&mut self) -> Vec<String> {
            let files: Vec<_> = self.unsaid().cloned().collect();
            files.iter().flat_map(|file| self.say(file)).map(|trouble| format!("! {trouble}")).collect()
        }
    }

    /// An event in a few words: `web:80`, `-web`, `! a.yaml:7: …`.
    fn words(events: Vec<Event>) -> Vec<String> {
        let word = |event| match event {
            Event::Changed(Object::Service(service)) => {
                format!("{}:{}", service.metadata.name, service.spec.ports[0].port)
            }
            Event::Changed(other) => other.key().to_string(),
            Event::Deleted(key) => format!("-{}", key.name),
            Event::Anew => unreachable!("a folder is one source"),
            Event::Listed => "listed".to_owned(),
            Event::Trouble(trouble) => format!("! {trouble}"),
        };
        events.into_iter().map(word).collect()
    }

    #[test]
    fn only_what_is_another_than_before_is_told() {
        let mut folder = Folder::default();
        assert_eq!(folder.hear("a.yaml", &(service("x", 1) + &service("y", 1))), ["x:1", "y:1"]);
        assert_eq!(folder.hear("a.yaml", &(service("y", 2) + &service("x", 1))), ["y:2"]);
        assert_eq!(folder.hear("a.yaml", &service("x", 1)), ["-y"]);
        assert_eq!(words(folder.gone("a.yaml")), ["-x"]);
        assert!(folder.holders.is_empty() && folder.files.is_empty());
    }

    #[test]
    fn a_bad_document_keeps_its_object_and_disturbs_no_other() {
        let mut folder = Folder::default();
        folder.read("a.yaml", &(service("x", 1) + &service("y", 1) + &service("z", 1)));
        let bad = "---\napiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec:\n  ports: many\n";
        let told = folder.hear("a.yaml", &(bad.to_owned() + &service("y", 2)));
        assert_eq!(told[..2], ["y:2", "-z"]);
        assert!(told[2].starts_with("! a.yaml:6: Service default/x: "), "{told:?}");
        assert!(told[2].ends_with("; its last good state is kept"), "{told:?}");
        assert_eq!(folder.hear("a.yaml", &(bad.to_owned() + &service("y", 2))), [""; 0], "said once");
        assert_eq!(folder.hear("a.yaml", &(service("x", 3) + &service("y", 2))), ["x:3"]);
    }

    #[test]
    fn a_document_that_does_not_say_what_it_is_keeps_everything() {
        let mut folder = Folder::default();
        folder.read("a.yaml", &(service("x", 1) + &service("y", 1)));
        let told = folder.hear("a.yaml", &("{ apiVersion: v1, kind: Serv\n".to_owned() + &service("y", 2)));
        assert_eq!(told[0], "y:2");
        assert!(told[1].starts_with("! a.yaml:1: "), "{told:?}");
        assert_eq!(told.len(), 2, "x is not deleted: {told:?}");
    }

    #[test]
    fn a_typing_error_deletes_nothing() {
        for (right, wrong) in [
            ("kind: Service", "kind: Servise"),
            ("kind: Service", "kind: service"),
            ("kind: Service", "kind: Svc"),
            ("apiVersion: v1", "apiVersion: core/v1"),
            ("apiVersion: v1", "apiversion: v1"),
            ("kind: Service", "king: Service"),
            ("name: x", "name: X"),
            ("name: x", "nmae: x"),
        ] {
            let mut folder = Folder::default();
            folder.hear("a.yaml", &(service("x", 1) + &service("y", 1)));
            let told = folder.hear("a.yaml", &(service("x", 1).replace(right, wrong) + &service("y", 2)));
            assert_eq!((told.len(), told[0].as_str()), (2, "y:2"), "{wrong}: {told:?}");
            assert!(told[1].starts_with("! a.yaml:") && told[1].ends_with("kept"), "{wrong}: {told:?}");
            assert_eq!(folder.hear("a.yaml", &service("y", 2)), ["-x"], "{wrong}: the bad document is gone, too");
        }
    }

    #[test]
    fn what_vanishes_while_a_bad_document_appears_is_kept_and_named() {
        let mut folder = Folder::default();
        folder.hear("a.yaml", &(service("x", 1) + &service("y", 1)));
        let told = folder.hear("a.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: new}\nspec: 7\n");
        let kept = "Service default/x and 1 more objects are missing now, may be meant, and are kept";
        assert!(told.len() == 1 && told[0].ends_with(kept), "{told:?}");
    }

    #[test]
    fn of_two_files_with_one_object_the_first_by_name_counts_whatever_the_order() {
        let orders = [["a.yaml", "b.yaml"], ["b.yaml", "a.yaml"]];
        for order in orders {
            let mut folder = Folder::default();
            let mut told = Vec::new();
            for file in order {
                told.extend(folder.hear(file, &service("x", if file == "a.yaml" { 1 } else { 2 })));
            }
            assert_eq!(told.last().unwrap(), "! b.yaml: Service default/x: also in a.yaml, which is used");
            assert_eq!(told.iter().rfind(|word| !word.starts_with('!')).unwrap(), "x:1");
            assert_eq!(folder.hear("b.yaml", &service("x", 3)), [""; 0], "not told again");
            assert_eq!(words(folder.gone("a.yaml")), ["x:3"], "the other takes over");
            assert_eq!(words(folder.gone("b.yaml")), ["-x"]);
        }
    }

    #[test]
    fn of_one_object_twice_in_a_file_the_first_counts() {
        let told = Folder::default().hear("a.yaml", &(service("x", 1) + &service("x", 2)));
        assert_eq!(told, ["x:1", "! a.yaml: Service default/x: a second time in this file, the first one is used"]);
    }

    #[test]
    fn a_file_that_cannot_be_read_keeps_its_objects() {
        let mut folder = Folder::default();
        folder.read("a.yaml", &service("x", 1));
        folder.unreadable("a.yaml", "permission denied");
        assert_eq!(folder.complaints(), ["! a.yaml: permission denied; its objects are kept"]);
        folder.unreadable("a.yaml", "permission denied");
        assert_eq!(folder.complaints(), [""; 0], "said once");
        assert_eq!(folder.hear("a.yaml", &service("x", 1)), [""; 0]);
    }

    #[test]
    fn addresses_of_a_service_are_told_with_it_from_whatever_file_they_come() {
        let mut folder = Folder::default();
        assert_eq!(folder.read("z.yaml", &addresses("10.0.0.1")), [], "there is no service");
        assert_eq!(ingress(&folder.read("a.yaml", &service("x", 1))), ["10.0.0.1"]);
        assert_eq!(ingress(&folder.read("z.yaml", &addresses("10.0.0.2"))), ["10.0.0.2"]);
        assert_eq!(folder.read("z.yaml", &addresses("10.0.0.2")), []);
        assert_eq!(ingress(&folder.read("a.yaml", &service("x", 2))), ["10.0.0.2"]);
        assert_eq!(ingress(&folder.gone("z.yaml")), [""; 0]);
        folder.read("z.yaml", &addresses("10.0.0.3"));
        assert_eq!(words(folder.gone("a.yaml")), ["-x"]);
    }

    fn addresses(ip: &str) -> String {
        let status = format!("{{ingress: [{{ip: {ip}, ipMode: VIP}}]}}");
        format!(
            "---\napiVersion: switchyard.dev/v1\nkind: ServiceAddresses\nmetadata: {{name: x}}\nloadBalancer: {status}\n"
        )
    }

    fn ingress(events: &[Event]) -> Vec<String> {
        match events {
            [Event::Changed(Object::Service(service))] => {
                service.status.load_balancer.ingress.iter().map(|one| one.ip.as_ref().unwrap().to_string()).collect()
            }
            other => vec![format!("{other:?}")],
        }
    }

    #[test]
    fn an_object_that_moves_to_another_file_is_never_gone() {
        let mut folder = Folder::default();
        folder.read("b.yaml", &service("x", 1));
        folder.read("c.yaml", &service("x", 1));
        assert_eq!(words(folder.gone("b.yaml")), [""; 0]);
    }
}
