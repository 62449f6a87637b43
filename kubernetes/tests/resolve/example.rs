//! The example cluster as kubectl prints it.

use std::fs;
use std::path::Path;

use super::given::{objects, settings};
use switchyard_kubernetes::resolve::Resolver;

#[test]
fn the_example_cluster_resolves_without_a_warning() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples/seed");
    let mut resolver = Resolver::new(settings());
    for file in fs::read_dir(folder).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        objects(&text).iter().for_each(|object| resolver.upsert(object));
    }
    let changes = resolver.resolve();
    assert_eq!(changes.warnings, []);
    let served: Vec<_> =
        changes.services.iter().filter(|(_, service)| service.is_some()).map(|(name, _)| name.to_string()).collect();
    assert_eq!(
        served,
        [
            "default/kubernetes",
            "default/nginx-deploy-clusterip-svc",
            "default/nginx-deploy-lb-svc",
            "default/nginx-deploy-nodeport-svc",
            "default/whoami",
            "ingress-nginx/ingress-nginx-controller",
            "kube-system/kube-dns",
        ]
    );
}
