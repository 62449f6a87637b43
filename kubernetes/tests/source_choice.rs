//! Another source in place of the one that was chosen first.

use std::fs;
use std::path::Path;
use std::time::Duration;

use switchyard_kubernetes::source::SourceConfig;
use switchyard_kubernetes::source::{Choice, Event, channel, follow};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

fn folder(service: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("{{apiVersion: v1, kind: Service, metadata: {{name: {service}}}}}");
    fs::write(folder.path().join("service.yaml"), text).unwrap();
    folder
}

fn choice(folder: &Path) -> Choice {
    Choice { source: SourceConfig::Folder(folder.to_owned()), node_name: "node1".parse().unwrap() }
}

#[tokio::test]
async fn a_source_that_is_chosen_later_says_so_before_it_tells_anything() {
    let (first, second) = (folder("first"), folder("second"));
    let (choose, chosen) = watch::channel(choice(first.path()));
    let (told, mut events) = channel();
    let following = tokio::spawn(follow(chosen, told));
    let mut heard = Vec::new();
    let mut until_listed = async |times: usize| {
        let listed = |heard: &[String]| heard.iter().filter(|word| *word == "listed").count();
        while listed(&heard) < times {
            let batch = timeout(PATIENCE, events.recv()).await.expect("the source lists").expect("it goes on");
            heard.extend(batch.iter().map(word));
        }
        heard.clone()
    };
    until_listed(1).await;
    choose.send_replace(choice(second.path()));
    let heard = until_listed(2).await;
    assert_eq!(heard, ["Service default/first", "listed", "anew", "Service default/second", "listed"]);
    drop(events);
    timeout(PATIENCE, following).await.expect("it ends when nobody listens").unwrap();
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
