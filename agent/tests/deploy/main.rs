//! The deployment files: every document is what the Kubernetes API takes, names exist, privileges are what they are
//! said to be, and the image holds what the manifests start.

mod build;
mod documents;
mod image;
mod manifests;
mod privileges;
