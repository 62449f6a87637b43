//! Reads deployment files, and holds them against the API's own types.

use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A path below `deploy/`.
pub(crate) fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(path)
}

pub(crate) fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The only document of a file.
pub(crate) fn document(path: &Path) -> Value {
    serde_saphyr::from_str(&text(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// `kind` of a document, and its name.
pub(crate) fn identity(document: &Value) -> (String, String, String) {
    let string = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    (string("/kind"), string("/metadata/namespace"), string("/metadata/name"))
}

/// What the API's type makes of a document: unknown fields are gone, missing ones that it needs are there.
pub(crate) fn through_the_api(document: &Value) -> Result<Value, String> {
    fn through<T: DeserializeOwned + Serialize>(document: &Value) -> Result<Value, String> {
        let read: T = serde_json::from_value(document.clone()).map_err(|error| error.to_string())?;
        serde_json::to_value(read).map_err(|error| error.to_string())
    }
    match identity(document).0.as_str() {
        "ServiceAccount" => through::<ServiceAccount>(document),
        "ClusterRole" => through::<ClusterRole>(document),
        "ClusterRoleBinding" => through::<ClusterRoleBinding>(document),
        "ConfigMap" => through::<ConfigMap>(document),
        "DaemonSet" => through::<DaemonSet>(document),
        other => Err(format!("kind {other:?}: not expected here")),
    }
}

/// Whether everything that `part` says stands in `whole`.
pub(crate) fn is_within(part: &Value, whole: &Value) -> bool {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => {
            part.iter().all(|(key, value)| whole.get(key).is_some_and(|whole| is_within(value, whole)))
        }
        (Value::Array(part), Value::Array(whole)) => {
            part.len() == whole.len() && part.iter().zip(whole).all(|(part, whole)| is_within(part, whole))
        }
        (part, whole) => part == whole,
    }
}

#[test]
fn a_mistake_in_a_document_shows() {
    let good = document(&deploy("kubernetes/base/daemonset.yaml"));
    assert_eq!(through_the_api(&good).unwrap(), good);
    let wrong = |pointer: &str, key: &str, value: Value| {
        let mut wrong = good.clone();
        wrong.pointer_mut(pointer).unwrap().as_object_mut().unwrap().insert(key.to_owned(), value);
        through_the_api(&wrong).map_or(true, |read| read != wrong && !is_within(&wrong, &read))
    };
    assert!(wrong("/spec/template/spec", "hostNetworks", true.into()), "an unknown field");
    assert!(wrong("/spec/template/spec", "hostNetwork", "yes".into()), "another type");
    assert!(wrong("/spec/template/spec/containers/0", "securityContext", "none".into()), "no object");
    assert!(!wrong("/spec/template/spec", "hostPID", false.into()), "what is right");
}
