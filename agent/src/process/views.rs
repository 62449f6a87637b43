//! What each part of the agent sees of the configuration.
//!
//! The only place that divides the configuration among the parts: a part is given its view and nothing else, and which
//! parts a change concerns is found by comparing views.

use std::collections::BTreeSet;

use backend_api::PerFamily;
use kubernetes::settings::Settings;
use kubernetes::source::{Reads, SourceChoice};
use tokio::sync::watch;

use crate::config::{
    Announce, AnnounceConfig, Backend, Config, HostConfig, IpvsConfig, KubeProxyRules, ServersConfig, Verbosity,
};
use crate::localhost::OnLocalhost;

/// The configuration, divided among the parts of the agent. Each can change while the agent runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Views {
    /// Where objects come from, and of which node. Another source lists everything; what the former one told stays
    /// until then.
    pub source: SourceChoice,
    /// What resolving depends on. A change resolves everything again.
    pub settings: Settings,
    /// Which backend programs the kernel, and how it is opened.
    pub backend: BackendView,
    /// Health and metrics.
    pub servers: ServersConfig,
    /// What is set on the node.
    pub host: HostConfig,
    /// Node ports on localhost.
    pub localhost: PerFamily<OnLocalhost>,
    /// Whether kube-proxy's rules are removed. Rules that were removed do not come back.
    pub kube_proxy: KubeProxyRules,
    /// Whether and how addresses are announced.
    pub announcing: AnnounceConfig,
    /// How much is logged.
    pub verbosity: Verbosity,
}

/// Which backend programs the kernel, and how it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendView {
    /// Which.
    pub backend: Backend,
    /// Options of IPVS, if it is that one: with another backend a change of them concerns no part.
    pub ipvs: Option<IpvsConfig>,
}

/// A part of the agent that a configuration is for: a field of [`Views`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// [`Views::source`].
    Source,
    /// [`Views::settings`].
    Settings,
    /// [`Views::backend`].
    Backend,
    /// [`Views::servers`].
    Servers,
    /// [`Views::host`].
    Host,
    /// [`Views::localhost`].
    Localhost,
    /// [`Views::kube_proxy`].
    KubeProxy,
    /// [`Views::announcing`].
    Announcing,
    /// [`Views::verbosity`].
    LogLevel,
}

impl Views {
    /// The parts that have to act if `after` takes the place of this.
    pub fn changes(&self, after: &Self) -> BTreeSet<Part> {
        // Every view by name: a new one must have a part.
        let Self { source, settings, backend, servers, host, localhost, kube_proxy, announcing, verbosity } = after;
        [
            (Part::Source, self.source != *source),
            (Part::Settings, self.settings != *settings),
            (Part::Backend, self.backend != *backend),
            (Part::Servers, self.servers != *servers),
            (Part::Host, self.host != *host),
            (Part::Localhost, self.localhost != *localhost),
            (Part::KubeProxy, self.kube_proxy != *kube_proxy),
            (Part::Announcing, self.announcing != *announcing),
            (Part::LogLevel, self.verbosity != *verbosity),
        ]
        .into_iter()
        .filter_map(|(part, differs)| differs.then_some(part))
        .collect()
    }
}

impl From<&Config> for Views {
    fn from(config: &Config) -> Self {
        // Every setting by name: a new one must be in a view.
        let Config {
            node_name,
            node_address,
            backend,
            ipvs,
            local_traffic,
            node_ports,
            masquerade_all,
            flowtable_after,
            budget,
            source,
            servers,
            host,
            kube_proxy,
            announcing,
            verbosity,
        } = config.clone();
        let reads = match announcing.announce {
            Announce::Off => Reads::Forwarding,
            Announce::On => Reads::Announcing { namespace: announcing.namespace.clone() },
        };
        Self {
            source: SourceChoice { source, node_name: node_name.clone(), reads },
            backend: BackendView {
                backend,
                ipvs: match backend {
                    Backend::Ipvs => Some(ipvs),
                    Backend::Nftables => None,
                },
            },
            servers,
            host,
            localhost: OnLocalhost::of(&node_ports),
            kube_proxy,
            announcing,
            verbosity,
            settings: Settings {
                node_name,
                node_address,
                local_traffic,
                node_ports,
                masquerade_all,
                flowtable_after,
                budget,
            },
        }
    }
}

impl From<&Config> for Settings {
    fn from(config: &Config) -> Self {
        Views::from(config).settings
    }
}

/// A part's view of the configuration; it changes only when what the part sees does.
pub(crate) fn view<T: PartialEq + Send + Sync + 'static>(
    configs: &watch::Receiver<Config>,
    part: impl Fn(Views) -> T + Send + 'static,
) -> watch::Receiver<T> {
    derive(configs, move |config| part(Views::from(config)))
}

/// What `see` sees of the configuration, and every other thing that it sees later.
pub(super) fn derive<T: PartialEq + Send + Sync + 'static>(
    configs: &watch::Receiver<Config>,
    see: impl Fn(&Config) -> T + Send + 'static,
) -> watch::Receiver<T> {
    let mut configs = configs.clone();
    let (seen, views) = watch::channel(see(&configs.borrow_and_update()));
    tokio::spawn(async move {
        loop {
            tokio::select! {
                changed = configs.changed() => if changed.is_err() {
                    // The configuration is final, and the view stays readable.
                    return seen.closed().await;
                },
                () = seen.closed() => return,
            }
            let now = see(&configs.borrow_and_update());
            seen.send_if_modified(|before| {
                let differs = *before != now;
                *before = now;
                differs
            });
        }
    });
    views
}
