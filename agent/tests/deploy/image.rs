//! The image: what is copied into its build, and what it starts.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::documents::{deploy, document, text};

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn after<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
    text.lines().filter_map(|line| line.strip_prefix(start)).map(str::trim).collect()
}

#[test]
fn everything_that_the_workspace_is_made_of_reaches_the_build() {
    let ignored = text(&root().join(".dockerignore"));
    let copied: BTreeSet<&str> = after(&ignored, "!").into_iter().collect();
    assert!(ignored.lines().any(|line| line == "*"), "all else stays out");
    let manifest = text(&root().join("Cargo.toml"));
    let members = after(&manifest, "members = ")[0].to_owned();
    let members: Vec<String> = serde_json::from_str(&members).unwrap();
    for needed in members.iter().map(String::as_str).chain(["Cargo.toml", "Cargo.lock", "deploy/image"]) {
        // A folder is copied with everything in it.
        assert!(
            Path::new(needed).ancestors().any(|part| copied.contains(part.to_str().unwrap())),
            "{needed} is missing"
        );
    }
    for path in copied {
        assert!(root().join(path).exists(), "{path} is not there");
    }
}

#[test]
fn the_image_starts_the_binary_that_is_built_into_it() {
    let dockerfile = text(&root().join("Dockerfile"));
    let entrypoint: Vec<String> = serde_json::from_str(after(&dockerfile, "ENTRYPOINT ")[0]).unwrap();
    let build = text(&deploy("image/build"));
    assert!(build.contains(&format!("\"$root{}\"", entrypoint[0])), "{entrypoint:?}");
    let kubeadm = document(&deploy("kubernetes/kubeadm/kube-proxy.yaml"));
    let command = kubeadm.pointer("/spec/template/spec/containers/0/command/0").and_then(Value::as_str);
    assert_eq!(command, Some(entrypoint[0].as_str()));
    assert!(dockerfile.contains("\nRUN deploy/image/build /image\n"));
    assert!(dockerfile.contains("\nFROM scratch\nCOPY --from=build /image/ /\n"));
    assert!(after(&dockerfile, "FROM ").last() == Some(&"scratch"));
}

#[test]
fn the_image_has_the_version_of_the_workspace() {
    let version = env!("CARGO_PKG_VERSION");
    let kustomization = document(&deploy("kubernetes/base/kustomization.yaml"));
    assert_eq!(kustomization.pointer("/images/0/newTag").and_then(Value::as_str), Some(version));
    let kubeadm = text(&deploy("kubernetes/kubeadm/kube-proxy.yaml"));
    assert_eq!(after(&kubeadm, "          image:"), [format!("switchyard:{version}")]);
}
