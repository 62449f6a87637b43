//! How the Kubernetes API is reached.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The way to the API servers of one cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KubernetesConfig {
    /// A kubeconfig file. None: the service account that a pod is given.
    pub kubeconfig: Option<PathBuf>,
    /// URLs in place of the one that the kubeconfig names, each a server of the same cluster. The next is tried where one
    /// does not answer.
    pub masters: Vec<String>,
    /// How long nothing may come on a connection until it is taken for dead; none: as long as is usual.
    pub silence: Option<Duration>,
}

impl fmt::Display for KubernetesConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.kubeconfig, self.masters.as_slice()) {
            (_, masters @ [_, ..]) => write!(f, "Kubernetes API at {}", masters.join(", ")),
            (Some(kubeconfig), []) => write!(f, "Kubernetes API of {}", kubeconfig.display()),
            (None, []) => f.write_str("Kubernetes API of this pod's cluster"),
        }
    }
}
