//! Addresses for the services of a folder, given by `switchyard controller`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use allocation::{AddressRange, Pool};
use switchyard_agent::allocate::FolderAllocation;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// A controller that runs until it is ended.
struct Running {
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

impl Running {
    fn over(folder: &Path, change: impl FnOnce(&mut FolderAllocation)) -> Self {
        let mut allocation = FolderAllocation::new(folder.to_owned(), folder.join("addresses.yaml"));
        change(&mut allocation);
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::spawn(allocation.run(async { stopped.await.unwrap_or_default() }));
        Self { stop, ended }
    }

    async fn end(self) {
        self.stop.send(()).unwrap();
        self.ended.await.unwrap();
    }
}

fn put(folder: &TempDir, file: &str, text: &str) {
    fs::write(folder.path().join(file), text).unwrap();
}

fn service(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{type: LoadBalancer, clusterIP: 10.96.0.9, ports: [{{port: 80}}]}}\n"
    )
}

fn written(folder: &TempDir) -> String {
    fs::read_to_string(folder.path().join("addresses.yaml")).unwrap_or_default()
}

/// `name address` of each service in the file.
fn given(folder: &TempDir) -> Vec<String> {
    let text = written(folder);
    let documents = text.split("---\n").skip(1);
    documents.map(name_and_address).collect()
}

fn name_and_address(document: &str) -> String {
    let name =
        quoted_after("name: \"default\", name: ", document).or_else(|| quoted_after(", name: ", document)).unwrap();
    let address = quoted_after("{ip: ", document).unwrap_or("-");
    format!("{name} {address}")
}

/// The next text in quotation marks after another text.
fn quoted_after<'a>(before: &str, document: &'a str) -> Option<&'a str> {
    let (_, after) = document.split_once(before)?;
    after.split('"').nth(1)
}

async fn until(folder: &TempDir, expected: &[&str]) {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while given(folder) != expected {
        assert!(tokio::time::Instant::now() < deadline, "awaited {expected:?}, found {}", written(folder));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const POOL: &str = "apiVersion: metallb.io/v1beta1\nkind: IPAddressPool\nmetadata: {name: p, namespace: metallb-system}\n\
                    spec: {addresses: [192.168.67.240-192.168.67.241]}\n";

#[tokio::test]
async fn services_of_a_folder_get_addresses_that_a_restart_keeps() {
    let folder = tempfile::tempdir().unwrap();
    put(&folder, "pool.yaml", POOL);
    put(&folder, "b.yaml", &service("b"));
    let running = Running::over(folder.path(), |_| {});
    until(&folder, &["b 192.168.67.240"]).await;
    put(&folder, "a.yaml", &service("a"));
    until(&folder, &["a 192.168.67.241", "b 192.168.67.240"]).await;
    put(&folder, "c.yaml", &service("c"));
    until(&folder, &["a 192.168.67.241", "b 192.168.67.240", "c -"]).await;
    assert!(written(&folder).contains("problem: {reason: PoolExhausted, message: \"pool p: no address left\"}"));
    running.end().await;

    // What the file says is what services hold: the new one takes none of them.
    let running = Running::over(folder.path(), |_| {});
    put(&folder, "d.yaml", &service("d"));
    until(&folder, &["a 192.168.67.241", "b 192.168.67.240", "c -", "d -"]).await;
    running.end().await;

    fs::remove_file(folder.path().join("b.yaml")).unwrap();
    let running = Running::over(folder.path(), |_| {});
    until(&folder, &["a 192.168.67.241", "c 192.168.67.240", "d -"]).await;
    running.end().await;
}

#[tokio::test]
async fn a_range_alone_is_a_pool() {
    let folder = tempfile::tempdir().unwrap();
    put(&folder, "a.yaml", &service("a"));
    let (range, _) = AddressRange::parse("192.0.2.7/32").unwrap();
    let running = Running::over(folder.path(), |allocation| allocation.pool = Some(Pool::new("flag", vec![range])));
    until(&folder, &["a 192.0.2.7"]).await;
    running.end().await;
}
