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

use kubernetes::settings::NodeName;
use serde_json::{Value, json};

use super::findings::{Findings, Mistake, Place};
use super::settings::{Config, Written};

pub(super) use self::fields::EFFECTS;

pub(super) const API_VERSION: &str = "kubeproxy.config.k8s.io/v1alpha1";
pub(super) const KIND: &str = "KubeProxyConfiguration";

/// What `text` of `file` says. `above` overrides it, so that nothing is remarked of what `above` says otherwise.
pub(super) fn read(file: &str, text: &str, above: &Written, findings: &mut Findings) -> Written {
    match tree::parse(text) {
        Ok(root) => fields::read(file, &root, above, findings),
        Err((line, reason)) => {
            findings.mistake(Mistake { place: Place::File { file: file.to_owned(), line }, reason });
            Written::default()
        }
    }
}

/// The configuration in the form of KubeProxyConfiguration; of fields that have no effect, kube-proxy's defaults.
pub fn configz(config: &Config) -> Value {
    fields::write(config)
}

/// The same as a YAML file. A node's name that is its host's is left out, so that the file can serve other nodes too.
pub fn yaml(config: &Config) -> String {
    let mut form = configz(config);
    if NodeName::of_host().as_ref() == Ok(&config.node_name) {
        fields::merge(&mut form, json!({"hostnameOverride": ""}));
    }
    let text = serde_saphyr::to_string(&form).expect("JSON values can be written as YAML");
    format!("{}\n", text.trim_end())
}
