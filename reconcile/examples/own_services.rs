//! A program that resolves its services itself and keeps a dataplane equal to them. Here the dataplane is in memory;
//! any other is used in the same way. `cargo run -p switchyard-reconcile --example own_services`

use std::time::Duration;

use backend_api::{
    Endpoint, Fake, Frontend, LocalTraffic, NodeNetwork, PerFamily, Protocol, Service, ServiceName, ServicePort,
};
use switchyard_reconcile::{StateChange, StateSender, run, state_channel};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pods = PerFamily::both(LocalTraffic::InterfacePrefix("veth".to_owned()));
    let (sender, desired) = state_channel(NodeNetwork::new(pods, ["192.168.67.8".parse()?]));
    let dataplane = Fake::default();
    // The loop runs for as long as `stop` is pending. Here that is until the last change is programmed.
    let stop = programmed(&dataplane, "10.244.1.3:80");
    let mut witness = ();
    let running = run(Box::new(dataplane.clone()), desired, None, &mut witness, stop);
    let (told, ended) = tokio::join!(tell(&sender), running);
    told?;
    ended?;
    for service in dataplane.services() {
        println!("{}: {:?}", service.name, service.ports);
    }
    Ok(())
}

/// Tells everything once, and then one change. Nothing is programmed before `Listed`: what a former process programmed
/// would be removed.
async fn tell(sender: &StateSender) -> Result<(), Box<dyn std::error::Error>> {
    sender.tell(vec![StateChange::Upsert(web("10.244.1.2:80")?), StateChange::Listed]).await?;
    sender.tell(vec![StateChange::Upsert(web("10.244.1.3:80")?)]).await?;
    Ok(())
}

fn web(endpoint: &str) -> Result<Service, std::net::AddrParseError> {
    let frontends = vec![Frontend::cluster_ip("10.96.0.10".parse()?, Protocol::Tcp, 80)];
    let ports = ServicePort::dual(Protocol::Tcp, frontends, vec![Endpoint::elsewhere(endpoint.parse()?)]);
    Ok(Service::new(ServiceName::new("default", "web"), ports.into()))
}

/// Waits until `endpoint` is programmed.
async fn programmed(dataplane: &Fake, endpoint: &str) {
    loop {
        let services = dataplane.services();
        let mut ports = services.iter().flat_map(|service| &service.ports);
        if ports.any(|port| port.endpoints.iter().any(|one| one.address.to_string() == endpoint)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
