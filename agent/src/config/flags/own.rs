//! Flags that override the file: Switchyard's own, and those that kube-proxy treats so.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use super::on;
use crate::config::duration::GoDuration;
use crate::config::ipvs::DrainTimeout;
use crate::config::settings::Written;
use crate::config::words::{Switch, Unless};
use crate::config::{Backend, ByService, KubeProxyRules};
use kubernetes::settings::NodeName;
use kubernetes::source::{ServerUrl, ServerUrlError};

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options that override --config")]
pub(super) struct OwnFlags {
    /// Folder of YAML or JSON files with Services, EndpointSlices, Endpoints, Nodes and ServiceCIDRs, as
    /// `kubectl get -o yaml` prints them, in place of the Kubernetes API. The folder is watched [default: the
    /// Kubernetes API]
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,

    /// Which backend programs the kernel; overrides --proxy-mode [default: nftables]
    #[arg(long, value_name = "NAME", ignore_case = true)]
    backend: Option<Backend>,

    /// Name of this node's Node object [default: the host's name]
    #[arg(long, value_name = "NAME")]
    hostname_override: Option<Unless<NodeName>>,

    /// URLs of the cluster's API servers, in place of the one in the kubeconfig; if one does not answer, the next is
    /// tried
    #[arg(long, value_name = "URL[,URL...]")]
    master: Option<Masters>,

    /// An API server that sends nothing for this long is not reachable, and the connection is closed; 0 is the default
    /// [default: 90s]
    #[arg(long, value_name = "DURATION")]
    api_silence: Option<GoDuration>,

    /// Remove the rules that kube-proxy left, after Switchyard's are in place [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    cleanup_kube_proxy: Option<Switch>,

    /// Count connections by service in the metrics, for at most this many services by name; all others share one sum. 0
    /// turns it off [default: 0]
    #[arg(long, value_name = "COUNT")]
    connections_by_service: Option<usize>,

    /// Hand established TCP connections through services to the kernel's flowtable, where they pass no rule of this
    /// node any more. Each packet triggers it with probability 1/PACKETS; 0 turns it off. Has no effect with the IPVS
    /// backend [default: 0]
    #[arg(long, value_name = "PACKETS", value_parser = clap::value_parser!(u32).range(..=i64::from(i32::MAX)))]
    flowtable_after: Option<u32>,

    /// The most elements that one service may need: each address and port counts as one, and as many as it has
    /// endpoints. A larger service is refused; 0 allows any size [default: 250000]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(..=i64::from(i32::MAX)))]
    max_service_elements: Option<u32>,

    /// The most elements that all services may need together. Where they need more, the largest are refused; 0 allows
    /// any number [default: 1000000]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(..=i64::from(i32::MAX)))]
    max_elements: Option<u32>,

    /// IPVS: how long TCP connections to a removed endpoint may continue; 0 cuts them within seconds [default: 24h]
    #[arg(long, value_name = "DURATION")]
    ipvs_drain_timeout: Option<DrainTimeout>,
}

/// URLs; none if empty.
#[derive(Clone, Debug)]
struct Masters(Vec<ServerUrl>);

impl OwnFlags {
    pub(super) fn written(&self) -> Written {
        Written {
            source: self.source.clone(),
            backend: self.backend,
            node_name: self.hostname_override.clone().and_then(Unless::said),
            masters: self.master.clone().map(|Masters(urls)| urls).filter(|urls| !urls.is_empty()),
            silence: self.api_silence.map(GoDuration::into),
            kube_proxy: on(self.cleanup_kube_proxy).map(KubeProxyRules::cleanup),
            by_service: self.connections_by_service.map(ByService::at_most),
            flowtable_after: self.flowtable_after,
            max_service_elements: self.max_service_elements,
            max_elements: self.max_elements,
            drain: self.ipvs_drain_timeout,
            ..Written::default()
        }
    }
}

impl FromStr for Masters {
    type Err = ServerUrlError;

    fn from_str(text: &str) -> Result<Self, ServerUrlError> {
        let urls = text.split(',').map(str::trim).filter(|url| !url.is_empty());
        Ok(Self(urls.map(str::parse).collect::<Result<_, _>>()?))
    }
}
