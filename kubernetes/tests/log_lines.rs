//! What the log is told of an object that changes all the time, and of others meanwhile.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use reconcile::Desired;
use switchyard_kubernetes::objects::{Item, ObjectKey, read};
use switchyard_kubernetes::settings::{LocalDetector, Settings};
use switchyard_kubernetes::source::{Event, Trouble, channel};
use switchyard_kubernetes::{ClusterState, Inputs};
use tokio::sync::watch;
use tracing::span::{Attributes, Id, Record};
use tracing::{Level, Metadata, Subscriber};

/// Counts the lines that an operator sees.
struct Lines(Arc<AtomicUsize>);

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn service(name: &str, external: &str) -> Event {
    let text = format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, \
         spec: {{clusterIP: 10.96.0.1, externalIPs: [{external:?}], ports: [{{port: 80}}]}}}}"
    );
    let Item::Object(object) = read(&text).remove(0) else { panic!("{text}") };
    Event::Changed(object)
}

fn unreadable(key: ObjectKey, reason: String) -> Event {
    Event::Trouble(Trouble { place: "API".into(), line: None, object: Some(key), reason })
}

/// How many lines these batches lead to, each resolved by itself.
async fn resolved(batches: impl Iterator<Item = Vec<Event>>, lines: &AtomicUsize) -> usize {
    let before = lines.load(Ordering::Relaxed);
    let (told, objects) = channel();
    let (_addresses, addresses) = watch::channel(Some(BTreeSet::new()));
    let bridge = LocalDetector::Bridge("cni0".parse().unwrap());
    let mut cluster =
        ClusterState::new(Settings::new("node2".parse().unwrap(), bridge), Inputs::new(objects, addresses));
    for batch in batches {
        told.send(batch).await.unwrap();
        cluster.hear(&mut ()).await.unwrap();
        cluster.resolve(&mut ());
    }
    lines.load(Ordering::Relaxed) - before
}

#[test]
fn an_object_that_changes_all_the_time_fills_no_log_and_hides_no_other() {
    let lines = Arc::new(AtomicUsize::new(0));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tracing::subscriber::with_default(Lines(lines.clone()), || {
        let flawed = (0..5000).map(|number| vec![service("web", &format!("no address {number}"))]);
        let count = runtime.block_on(resolved(flawed, &lines));
        assert!((1..100).contains(&count), "{count} lines about one service");

        let Event::Changed(web) = service("web", "") else { unreachable!() };
        let unreadable = (0..5000).map(|number| vec![unreadable(web.key(), format!("no list {number}"))]);
        let count = runtime.block_on(resolved(unreadable, &lines));
        assert!((1..100).contains(&count), "{count} lines about one unreadable service");

        let others = (0..200).map(|number| vec![service(&format!("web-{number}"), "no address")]);
        let count = runtime.block_on(resolved(others, &lines));
        assert!(count >= 200, "{count} lines about 200 services");
    });
}
