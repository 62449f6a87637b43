//! What an allocator of addresses and an announcer are told, in clusters with MetalLB's kinds and without.

use kubernetes::source::Reads;
use serde_json::{Value, json};
use switchyard_conformance::api::{Api, Resource};

use crate::followed::{Followed, service};

fn pool(namespace: &str, name: &str, addresses: &str) -> Value {
    json!({"kind": "IPAddressPool", "metadata": {"name": name, "namespace": namespace},
           "spec": {"addresses": [addresses]}})
}

fn allocating() -> Reads {
    Reads::Allocating { namespace: "metallb-system".into() }
}

#[tokio::test]
async fn an_allocator_is_told_of_pools_and_goes_on_without_kinds_that_are_not_installed() {
    let api = Api::local().await.unwrap();
    let namespace = json!({"kind": "Namespace", "metadata": {"name": "default", "labels": {"tier": "gold"}}});
    let mut headless = service("headless", 80);
    headless["spec"]["clusterIP"] = "None".into();
    let elsewhere = pool("elsewhere", "other", "10.0.9.0/24");
    for object in [service("web", 80), headless, namespace, pool("metallb-system", "p", "10.0.0.0/24"), elsewhere] {
        api.put(object);
    }
    let mut followed = Followed::reading(api, allocating(), |_| {});
    let mut told = followed.until("listed").await;
    let refused: Vec<_> = told.extract_if(.., |word| word.starts_with('!')).collect();
    told.sort();
    assert_eq!(told, ["IPAddressPool metallb-system/p", "Namespace default", "headless:80", "listed", "web:80"]);
    assert_eq!(refused.len(), 4, "{refused:?}");
    assert!(refused.iter().all(|word| word.contains("404") && word.ends_with("going on without")), "{refused:?}");
    for plural in ["endpointslices", "nodes", "servicecidrs"] {
        assert_eq!(followed.asked(plural), [""; 0], "an allocator needs none");
    }
    followed.api.delete(Resource::IpAddressPools, "metallb-system", "p");
    followed.until("-IPAddressPool metallb-system/p").await;
}

#[tokio::test]
async fn a_proxy_asks_for_no_pools() {
    let followed = Followed::listed(Api::local().await.unwrap()).await;
    for plural in ["ipaddresspools", "l2advertisements", "namespaces", "bgppeers"] {
        assert_eq!(followed.asked(plural), [""; 0]);
    }
    let announcing = Reads::Announcing { namespace: "metallb-system".into() };
    let mut followed = Followed::reading(Api::local().await.unwrap(), announcing, |_| {});
    followed.until("listed").await;
    assert_eq!(followed.asked("ipaddresspools").len(), 1);
    assert_eq!(followed.asked("namespaces"), [""; 0]);
}
