//! From news to notices.

use std::time::Duration;

use backend_api::{Conflict, Family, FrontendKey, Protocol, ServiceName, SyncError};
use kubernetes::objects::{Item, Object, read};
use kubernetes::resolve::{Problem, Resolver, Warning};
use kubernetes::settings::Settings;
use kubernetes::source::Event;
use kubernetes::{News, Note};
use reconcile::Witness;
use switchyard_agent::events::{EventWitness, Notice, Severity, Subject, Uids, channel, notices};

fn object(text: &str) -> Object {
    match read(text).remove(0) {
        Item::Object(object) => object,
        other => panic!("{other:?}"),
    }
}

const SERVICE: &str = "{apiVersion: v1, kind: Service, metadata: {name: web, uid: 0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0}, \
                       spec: {clusterIP: 10.96.0.9, ports: [{port: 80}], type: LoadBalancer, \
                       loadBalancerSourceRanges: ['fd00::/8']}, \
                       status: {loadBalancer: {ingress: [{ip: 192.0.2.1}]}}}";

fn web() -> ServiceName {
    ServiceName::new("default", "web")
}

#[test]
fn news_that_an_operator_should_know_become_notices() {
    let conflict = Conflict {
        frontend: FrontendKey::address([192, 0, 2, 1].into(), Protocol::Tcp, 80),
        owner: ServiceName::new("default", "older"),
        loser: web(),
    };
    let refused = SyncError::Refused { object: "table".into(), reason: "no".into() };
    let transient = SyncError::Transient { object: "table".into(), reason: "no".into() };
    let took = Duration::ZERO;
    let (web, of) = (web(), |news: News<'_>| notices(&news));
    assert_eq!(of(News::Conflict(&conflict)), [Notice::FrontendConflict(conflict.clone())]);
    let reason = "map services: kernel refused element";
    assert_eq!(
        of(News::Failed { service: &web, reason }),
        [Notice::ServiceRefused { service: web.clone(), reason: reason.to_owned() }]
    );
    assert_eq!(
        of(News::NotSynced { error: &refused, scope: backend_api::Scope::All, took }),
        [Notice::BackendUnavailable { reason: "table: kernel refused: no".into() }]
    );
    assert_eq!(of(News::NotSynced { error: &transient, scope: backend_api::Scope::All, took }), []);
    assert_eq!(of(News::Succeeded { dataplane: "ipvs" }), [Notice::BackendChanged { backend: "ipvs" }]);
    for nothing in [News::Syncing, News::Drifted, News::Noted(Note::Told(&[]))] {
        assert_eq!(of(nothing), []);
    }
}

#[test]
fn ranges_of_the_other_family_become_a_notice_once() {
    let settings = Settings {
        node_name: "node2".parse().unwrap(),
        local_traffic: kubernetes::settings::LocalDetector::NodeCidrs,
        node_ports: "all".parse().unwrap(),
        node_address: None,
        masquerade_all: false,
        flowtable_after: None,
        budget: kubernetes::settings::Budget::default(),
    };
    let mut resolver = Resolver::new(settings);
    resolver.upsert(&object(SERVICE));
    let changes = resolver.resolve();
    let closed = Notice::SourceRangesOfOtherFamily { service: web(), family: Family::V4 };
    assert_eq!(notices(&News::Noted(Note::Resolved(&changes))), std::slice::from_ref(&closed));
    resolver.upsert(&object(&SERVICE.replace("port: 80", "port: 81")));
    let changes = resolver.resolve();
    assert!(!changes.is_empty());
    assert_eq!(notices(&News::Noted(Note::Resolved(&changes))), []);
    assert_eq!((closed.subject(), closed.severity()), (Subject::Service(web()), Severity::Warning));
}

#[test]
fn other_warnings_are_for_the_log() {
    let warning = Warning {
        object: object(SERVICE).key(),
        field: "spec.ports[0].port".into(),
        problem: Problem::PortNumber(70_000),
    };
    let changes = kubernetes::resolve::Changes { warnings: vec![warning], ..Default::default() };
    assert_eq!(notices(&News::Noted(Note::Resolved(&changes))), []);
}

#[test]
fn uids_follow_the_services() {
    let (outbox, _notices) = channel();
    let uids = Uids::default();
    let mut witness = EventWitness::new(outbox, uids.clone());
    let known = || uids.of(&web()).map(|uid| uid.to_string());
    witness.hear(&News::Noted(Note::Told(&[Event::Changed(object(SERVICE))])));
    assert_eq!(known().as_deref(), Some("0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"));
    witness.hear(&News::Noted(Note::Told(&[Event::Changed(object(&SERVICE.replace("0f1e", "ffff")))])));
    assert_eq!(known().as_deref(), Some("ffff2d3c-4b5a-6978-8796-a5b4c3d2e1f0"));
    witness.hear(&News::Noted(Note::Told(&[Event::Deleted(object(SERVICE).key())])));
    assert_eq!(known(), None);
    witness.hear(&News::Noted(Note::Told(&[Event::Changed(object(SERVICE)), Event::Anew])));
    assert_eq!(known(), None, "another source has not told of it");
    let unnamed = SERVICE.replace(", uid: 0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0", "");
    witness.hear(&News::Noted(Note::Told(&[Event::Changed(object(SERVICE)), Event::Changed(object(&unnamed))])));
    assert_eq!(known(), None);
}

#[test]
fn a_full_outbox_never_waits() {
    let (outbox, mut left) = channel();
    for _ in 0..100_000 {
        outbox.leave(Notice::Started);
    }
    let mut count = 0;
    while left.try_recv().is_ok() {
        count += 1;
    }
    assert!((1..1000).contains(&count), "{count}");
    drop(left);
    outbox.leave(Notice::Started);
}
