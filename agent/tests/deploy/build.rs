//! What `kubectl apply --kustomize` would send: resources, patched, with the images' names. As much of kustomize as our
//! files use; where kubectl is at hand the two are compared.

use std::path::Path;
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;

use super::documents::{deploy, document, identity};

/// A `kustomization.yaml`; whatever else one may say is refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Kustomization {
    api_version: String,
    kind: String,
    resources: Vec<String>,
    #[serde(default)]
    patches: Vec<Patch>,
    #[serde(default)]
    images: Vec<Image>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Patch {
    path: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Image {
    name: String,
    new_tag: String,
}

/// Every resource of a folder with a `kustomization.yaml`.
pub(crate) fn built(folder: &Path) -> Vec<Value> {
    let kustomization: Kustomization = serde_json::from_value(document(&folder.join("kustomization.yaml"))).unwrap();
    assert_eq!(kustomization.api_version, "kustomize.config.k8s.io/v1beta1");
    assert_eq!(kustomization.kind, "Kustomization");
    let mut resources = Vec::new();
    for path in kustomization.resources {
        let path = folder.join(path);
        if path.is_dir() { resources.extend(built(&path)) } else { resources.push(document(&path)) }
    }
    for Patch { path } in kustomization.patches {
        let patch = document(&folder.join(&path));
        let patched = resources.iter_mut().find(|resource| identity(resource) == identity(&patch));
        merge(patched.unwrap_or_else(|| panic!("{path}: patches {:?}, which is not there", identity(&patch))), &patch);
    }
    for Image { name, new_tag } in kustomization.images {
        let tagged: usize = resources.iter_mut().map(|resource| tag(resource, &name, &new_tag)).sum();
        assert!(tagged > 0, "image {name}: no container uses it");
    }
    resources
}

/// A strategic merge as the API does it for what we patch: objects field by field, containers and variables by name,
/// other lists as a whole.
pub(crate) fn merge(whole: &mut Value, patch: &Value) {
    match (whole, patch) {
        (Value::Object(whole), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(whole.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (Value::Array(whole), Value::Array(patch)) if patch.iter().all(|item| item.get("name").is_some()) => {
            for item in patch {
                match whole.iter_mut().find(|known| known.get("name") == item.get("name")) {
                    Some(known) => merge(known, item),
                    None => whole.push(item.clone()),
                }
            }
        }
        (whole, patch) => *whole = patch.clone(),
    }
}

fn tag(value: &mut Value, name: &str, tag_: &str) -> usize {
    match value {
        Value::Object(fields) => {
            let here = match fields.get_mut("image") {
                Some(image) if image == name => {
                    *image = format!("{name}:{tag_}").into();
                    1
                }
                _ => 0,
            };
            here + fields.values_mut().map(|value| tag(value, name, tag_)).sum::<usize>()
        }
        Value::Array(items) => items.iter_mut().map(|item| tag(item, name, tag_)).sum(),
        _ => 0,
    }
}

/// The folders that are built.
pub(crate) const FOLDERS: [&str; 4] =
    ["kubernetes/base", "kubernetes/overlays/nftables", "kubernetes/overlays/ipvs", ANNOUNCING];

/// The one of nodes that announce addresses.
pub(crate) const ANNOUNCING: &str = "kubernetes/overlays/announce";

#[test]
fn what_is_built_is_what_kubectl_builds() {
    for folder in FOLDERS {
        let output = Command::new("kubectl").arg("kustomize").arg(deploy(folder)).output();
        let Ok(output) = output else {
            eprintln!("not tested: kubectl is not at hand");
            return;
        };
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut theirs: Vec<Value> = serde_saphyr::from_multiple(&String::from_utf8(output.stdout).unwrap()).unwrap();
        let mut ours = built(&deploy(folder));
        theirs.sort_by_key(identity);
        ours.sort_by_key(identity);
        assert_eq!(ours, theirs, "{folder}");
    }
}
