//! kube-proxy's configuration file: KubeProxyConfiguration, `kubeproxy.config.k8s.io/v1alpha1`, in YAML or JSON.
//!
//! ```text
//! text ──► tree (values with their lines) ──► section (one field after the other, by path) ──► fields ──► Written
//! Config ──► form ──► text, and /configz
//! ```
//!
//! **Invariant:** what is written of a configuration is read as the same configuration
//! (`tests/config/law.rs::what_is_written_is_read_as_the_same_configuration`).

mod fields;
mod form;
mod section;
mod tree;

pub use self::form::{configz, yaml};

use super::findings::{Findings, Mistake, Place};
use super::written::Written;

pub(super) const API_VERSION: &str = "kubeproxy.config.k8s.io/v1alpha1";
pub(super) const KIND: &str = "KubeProxyConfiguration";

/// What `text` of `file` says. `above` is what counts more: of that nothing is remarked.
pub(super) fn read(file: &str, text: &str, above: &Written, findings: &mut Findings) -> Written {
    match tree::parse(text) {
        Ok(root) => fields::read(file, &root, above, findings),
        Err((line, reason)) => {
            findings.mistake(Mistake { place: Place::File { file: file.to_owned(), line }, reason });
            Written::default()
        }
    }
}
