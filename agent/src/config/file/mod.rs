//! kube-proxy's configuration file: KubeProxyConfiguration, `kubeproxy.config.k8s.io/v1alpha1`, in YAML or JSON.
//!
//! ```text
//! text ──► tree (values with their lines) ──► section (one field after the other, by path) ──► fields ──► Written
//! Config ──► fields ──► text, and /configz
//! ```
//!
//! **Invariant:** what is written of a configuration is read as the same configuration
//! (`tests/config/law.rs::what_is_written_is_read_as_the_same_configuration`).

mod fields;
mod section;
mod tree;

use kubernetes::objects::yaml::documents;
use kubernetes::settings::NodeName;
use kubernetes::source::SourceConfig;
use serde_json::{Value, json};

use self::tree::Node;
use super::findings::{ConfigError, Findings, Mistake, Place};
use super::settings::{Config, Written};

pub(super) use self::fields::EFFECTS;

pub(super) const API_VERSION: &str = "kubeproxy.config.k8s.io/v1alpha1";
pub(super) const KIND: &str = "KubeProxyConfiguration";

/// What `text` of `file` says. `above` overrides it, so that nothing is remarked of what `above` says otherwise.
///
/// Of several documents the first KubeProxyConfiguration counts.
pub(super) fn read(file: &str, text: &str, above: &Written, findings: &mut Findings) -> Written {
    let place = |line| Place::File { file: file.to_owned(), line };
    let mut roots = Vec::new();
    for document in documents(text) {
        match tree::parse(document) {
            Ok(root) => roots.push(root),
            Err(mistake) => findings.mistake(Mistake { place: place(mistake.line), reason: mistake.reason }),
        }
    }
    if !findings.mistakes.is_empty() {
        return Written::default();
    }
    let counts = roots.iter().position(|root| root.text("kind") == Some(KIND)).unwrap_or(0);
    let counts = if roots.is_empty() { Node::EMPTY } else { roots.remove(counts) };
    for root in roots {
        let kind = root.text("kind").map_or("no kind".to_owned(), |kind| format!("kind {kind:?}"));
        let reason = format!("a document of {kind}: is ignored, the {KIND} in line {} counts", counts.line);
        findings.remark(place(Some(root.line)), reason);
    }
    fields::read(file, &counts, above, findings)
}

/// The configuration in the form of KubeProxyConfiguration; of fields that have no effect, kube-proxy's defaults.
pub fn configz(config: &Config) -> Value {
    fields::write(config)
}

/// The same as a YAML file. A node's name that is its host's is left out, so that the file can serve other nodes too.
///
/// # Errors
/// If it holds a password. What is written shows none, and would be another configuration without.
pub fn yaml(config: &Config) -> Result<String, ConfigError> {
    if let SourceConfig::Kubernetes(way) = &config.source
        && let Some(url) = way.masters.iter().find(|url| url.to_string() != url.with_secrets())
    {
        let reason = format!("{url} holds a password, which no file is to show: put it into a kubeconfig");
        return Err(Mistake { place: Place::Flag("write-config-to".into()), reason }.into());
    }
    let mut form = configz(config);
    if NodeName::of_host().as_ref() == Ok(&config.node_name) {
        fields::merge(&mut form, json!({"hostnameOverride": ""}));
    }
    let text = serde_saphyr::to_string(&form).expect("JSON values can be written as YAML");
    Ok(format!("{}\n", text.trim_end()))
}
