//! Another source in place of the one that was chosen first.

use std::fs;
use std::path::Path;
use std::time::Duration;

use switchyard_kubernetes::source::{Event, Reads, SourceChoice, SourceConfig, channel, follow_choice};
use tempfile::TempDir;
use tokio::sync::mpsc::Receiver;
use tokio::sync::watch;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

fn folder(service: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("{{apiVersion: v1, kind: Service, metadata: {{name: {service}}}}}");
    fs::write(folder.path().join("service.yaml"), text).unwrap();
    folder
}

fn choice(folder: &Path) -> SourceChoice {
    SourceChoice {
        source: SourceConfig::Folder(folder.to_owned()),
        node_name: "node1".parse().unwrap(),
        reads: Reads::default(),
    }
}

#[tokio::test]
async fn a_source_that_is_chosen_later_says_so_before_it_tells_anything() {
    let (first, second) = (folder("first"), folder("second"));
    let (choose, chosen) = watch::channel(choice(first.path()));
    let (told, mut events) = channel();
    let following = tokio::spawn(follow_choice(chosen, told));
    let mut heard = Vec::new();
    until_listed(&mut events, &mut heard).await;
    choose.send_replace(choice(second.path()));
    until_listed(&mut events, &mut heard).await;
    assert_eq!(heard, ["Service default/first", "listed", "anew", "Service default/second", "listed"]);
    drop(events);
    timeout(PATIENCE, following).await.expect("it ends when the receiver is dropped").unwrap();
}

/// Takes batches up to the one that ends with `Listed`.
async fn until_listed(events: &mut Receiver<Vec<Event>>, heard: &mut Vec<String>) {
    loop {
        let batch = timeout(PATIENCE, events.recv()).await.expect("the source lists").expect("it goes on");
        heard.extend(batch.iter().map(word));
        if batch.contains(&Event::Listed) {
            return;
        }
    }
}

fn word(event: &Event) -> String {
    match event {
        Event::Changed(object) => object.key().to_string(),
        Event::Deleted(key) => format!("no {key}"),
        Event::Anew => "anew".to_owned(),
        Event::Listed => "listed".to_owned(),
        Event::Trouble(trouble) => trouble.to_string(),
    }
}
