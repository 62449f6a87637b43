//! Flags that count more than a file: our own, and those that kube-proxy treats so.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use super::on;
use crate::backend::Backend;
use crate::config::duration::GoDuration;
use crate::config::ipvs::DrainTimeout;
use crate::config::words::{Master, MasterError, Switch, Unless};
use crate::config::written::Written;
use crate::config::{ByService, KubeProxyRules};
use kubernetes::settings::NodeName;

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options that count more than --config")]
pub(super) struct OwnFlags {
    /// Folder of YAML or JSON files with Services, EndpointSlices, Endpoints, Nodes and ServiceCIDRs, as
    /// `kubectl get -o yaml` prints them, in place of the Kubernetes API. It is watched: a change is in the kernel within
    /// milliseconds
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,

    /// Who programs the kernel [default: what --proxy-mode says, else nftables]
    #[arg(long, value_name = "NAME", ignore_case = true)]
    backend: Option<Backend>,

    /// Name of this node's Node object, if it is not the host name
    #[arg(long, value_name = "NAME")]
    hostname_override: Option<Unless<NodeName>>,

    /// URLs of the cluster's API servers, in place of the one in the kubeconfig; the next is tried where one does not answer
    #[arg(long, value_name = "URL[,URL...]")]
    master: Option<Masters>,

    /// How long nothing may come from an API server until the connection is taken for dead. 0 is as long as is usual
    #[arg(long, value_name = "DURATION")]
    api_silence: Option<GoDuration>,

    /// Whether rules that kube-proxy has left are removed, once ours are in place [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    cleanup_kube_proxy: Option<Switch>,

    /// Of how many services metrics tell the connections one by one, in order of names; the others' are one sum. 0 is of
    /// none, and no sum [default: 0]
    #[arg(long, value_name = "COUNT")]
    connections_by_service: Option<usize>,

    /// After about how many packets an established TCP connection that this node forwards to a service's endpoint is handed to the
    /// kernel's flowtable, past every rule on the node. 0 is never. Has no effect with the IPVS backend [default: 0]
    #[arg(long, value_name = "PACKETS", value_parser = clap::value_parser!(u32).range(..=i64::from(i32::MAX)))]
    flowtable_after: Option<u32>,

    /// With the IPVS backend: how long TCP connections to an endpoint that is gone may go on. 0 cuts them within seconds
    /// [default: 24h]
    #[arg(long, value_name = "DURATION")]
    ipvs_drain_timeout: Option<DrainTimeout>,
}

/// URLs; none if empty.
#[derive(Clone, Debug)]
struct Masters(Vec<Master>);

impl OwnFlags {
    pub(super) fn written(&self) -> Written {
        Written {
            source: self.source.clone(),
            backend: self.backend,
            node_name: self.hostname_override.clone().and_then(Unless::said),
            masters: self.master.clone().map(|Masters(urls)| urls).filter(|urls| !urls.is_empty()),
            silence: self.api_silence.map(|GoDuration(silence)| silence),
            kube_proxy: on(self.cleanup_kube_proxy).map(KubeProxyRules::cleanup),
            by_service: self.connections_by_service.map(ByService::at_most),
            flowtable_after: self.flowtable_after,
            drain: self.ipvs_drain_timeout,
            ..Written::default()
        }
    }
}

impl FromStr for Masters {
    type Err = MasterError;

    fn from_str(text: &str) -> Result<Self, MasterError> {
        let urls = text.split(',').map(str::trim).filter(|url| !url.is_empty());
        urls.map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}
