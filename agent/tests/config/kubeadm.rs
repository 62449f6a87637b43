//! The ConfigMap that kubeadm writes.

use kubernetes::settings::LocalDetector;
use kubernetes::source::{ApiConfig, SourceConfig};

use super::given::{file_with, quiet};

#[test]
fn kubeadms_file_is_read_without_a_word_and_means_the_defaults() {
    let (config, remarks) = file_with(include_str!("kubeadm.yaml"), &["--hostname-override=n"]).unwrap();
    assert_eq!(remarks, Vec::<String>::new());
    let mut expected = quiet("");
    expected.local_traffic = LocalDetector::ClusterCidrs("10.244.0.0/16".parse().unwrap());
    expected.source = SourceConfig::Kubernetes(ApiConfig {
        kubeconfig: Some("/var/lib/kube-proxy/kubeconfig.conf".into()),
        ..ApiConfig::default()
    });
    assert_eq!(config, expected);
}
