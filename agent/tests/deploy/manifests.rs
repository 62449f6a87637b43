//! What the manifests say, as claims.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Capabilities, Container, PodSpec, Volume};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use serde_json::Value;

use super::build::{ANNOUNCING, FOLDERS, built, merge};
use super::documents::{deploy, document, identity, is_within, text, through_the_api};

/// kubeadm's own DaemonSet, as `kubectl get` shows what it made.
const KUBEADM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/deploy/kubeadm.yaml");

fn found<'a>(resources: &'a [Value], kind: &str, name: &str) -> Option<&'a Value> {
    resources.iter().find(|resource| {
        let (its_kind, _, its_name) = identity(resource);
        (its_kind.as_str(), its_name.as_str()) == (kind, name)
    })
}

fn pod(resources: &[Value]) -> PodSpec {
    let daemonset: DaemonSet =
        serde_json::from_value(found(resources, "DaemonSet", "switchyard").unwrap().clone()).unwrap();
    daemonset.spec.template.spec.unwrap()
}

fn containers(pod: &PodSpec) -> impl Iterator<Item = &Container> {
    pod.init_containers.iter().flatten().chain(&pod.containers)
}

#[test]
fn every_document_is_what_the_api_takes() {
    for folder in FOLDERS {
        let resources = built(&deploy(folder));
        assert_eq!(resources.len(), if folder == ANNOUNCING { 8 } else { 6 }, "{folder}");
        for resource in resources {
            let (kind, namespace, name) = identity(&resource);
            assert_eq!(through_the_api(&resource).as_ref(), Ok(&resource), "{folder}: {kind} {name}");
            let expected = if kind.starts_with("Cluster") { "" } else { "kube-system" };
            assert_eq!(namespace, expected, "{folder}: {kind} {name}");
        }
    }
}

#[test]
fn every_file_is_part_of_something_that_is_built() {
    for folder in FOLDERS {
        let mut files: BTreeSet<String> = std::fs::read_dir(deploy(folder))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert!(files.remove("kustomization.yaml"), "{folder}");
        let listed = text(&deploy(folder).join("kustomization.yaml"));
        for file in files {
            assert!(listed.contains(&format!(" {file}")), "{folder}/{file} is listed nowhere");
        }
    }
}

#[test]
fn every_name_that_is_referred_to_exists() {
    for folder in FOLDERS {
        let resources = built(&deploy(folder));
        let exists =
            |kind: &str, name: &str| assert!(found(&resources, kind, name).is_some(), "{folder}: {kind} {name}");
        let pod = pod(&resources);
        exists("ServiceAccount", pod.service_account_name.as_deref().unwrap());
        let mut volumes = BTreeSet::new();
        for volume in pod.volumes.as_ref().unwrap() {
            match &volume.config_map {
                Some(config_map) => exists("ConfigMap", &config_map.name),
                None => assert!(volume.projected.is_some(), "{folder}: {}", volume.name),
            }
            volumes.insert(volume.name.as_str());
        }
        let mut mounted = BTreeSet::new();
        for container in containers(&pod) {
            for variable in container.env.iter().flatten() {
                if let Some(key) = variable.value_from.as_ref().and_then(|from| from.config_map_key_ref.as_ref()) {
                    let config = found(&resources, "ConfigMap", &key.name).unwrap();
                    assert!(config.pointer(&format!("/data/{}", key.key)).is_some(), "{folder}: {}", key.key);
                }
            }
            for mount in container.volume_mounts.iter().flatten() {
                assert_eq!(mount.read_only, Some(true), "{folder}: {}", mount.name);
                mounted.insert(mount.name.as_str());
            }
            let config = container.args.iter().flatten().find_map(|arg| arg.strip_prefix("--config=")).unwrap();
            let (directory, file) = config.rsplit_once('/').unwrap();
            let mounts = container.volume_mounts.as_ref().unwrap();
            assert!(mounts.iter().any(|mount| mount.mount_path == directory), "{folder}: {config}");
            let key = found(&resources, "ConfigMap", "switchyard").unwrap().pointer(&format!("/data/{file}"));
            assert!(key.is_some(), "{folder}: {config}");
        }
        assert_eq!(mounted, volumes, "{folder}");
        let binding = found(&resources, "ClusterRoleBinding", "switchyard").unwrap();
        let string = |pointer: &str| binding.pointer(pointer).and_then(Value::as_str).unwrap();
        exists(string("/roleRef/kind"), string("/roleRef/name"));
        exists(string("/subjects/0/kind"), string("/subjects/0/name"));
        let labels = found(&resources, "DaemonSet", "switchyard").unwrap();
        assert_eq!(labels.pointer("/spec/selector/matchLabels"), labels.pointer("/spec/template/metadata/labels"));
    }
}

/// What a role allows: verbs by `group/resource`.
fn rights(path: &str) -> BTreeMap<String, String> {
    let role: ClusterRole = serde_json::from_value(document(&deploy(path))).unwrap();
    let mut rights = BTreeMap::new();
    for PolicyRule { api_groups, resources, verbs, resource_names, non_resource_urls } in role.rules.unwrap() {
        assert_eq!((resource_names, non_resource_urls), (None, None));
        for (group, resource) in
            api_groups.unwrap().iter().flat_map(|group| resources.iter().flatten().map(move |one| (group, one)))
        {
            rights.insert(format!("{group}/{resource}"), verbs.join(" "));
        }
    }
    rights
}

#[test]
fn an_agent_that_announces_reads_pools_and_advertisements_besides() {
    let expected = [("metallb.io/ipaddresspools", "list watch"), ("metallb.io/l2advertisements", "list watch")];
    let expected = expected.map(|(resource, verbs)| (resource.to_owned(), verbs.to_owned()));
    assert_eq!(rights("kubernetes/overlays/announce/cluster-role.yaml"), expected.into());
}

#[test]
fn the_agent_lists_and_watches_four_kinds_and_posts_events_and_may_do_nothing_else() {
    let expected = [
        ("/nodes", "list watch"),
        ("/services", "list watch"),
        ("discovery.k8s.io/endpointslices", "list watch"),
        ("events.k8s.io/events", "create patch"),
        ("networking.k8s.io/servicecidrs", "list watch"),
    ];
    let rights = rights("kubernetes/base/cluster-role.yaml");
    assert_eq!(rights, expected.map(|(resource, verbs)| (resource.to_owned(), verbs.to_owned())).into());
}

#[test]
fn only_the_container_that_prepares_the_node_is_privileged() {
    for folder in FOLDERS {
        let pod = pod(&built(&deploy(folder)));
        assert_eq!((pod.host_network, pod.host_pid, pod.host_ipc), (Some(true), None, None));
        assert_eq!(pod.priority_class_name.as_deref(), Some("system-node-critical"));
        let everywhere = pod.tolerations.unwrap();
        assert!(everywhere.len() == 1 && everywhere[0].key.is_none() && everywhere[0].effect.is_none());
        let [init] = &pod.init_containers.unwrap()[..] else { panic!("one container prepares the node") };
        assert!(init.args.as_ref().unwrap().contains(&"--init-only".to_owned()));
        let [main] = &pod.containers[..] else { panic!("one container runs") };
        let [prepares, runs] = [init, main].map(|container| container.security_context.clone().unwrap());
        assert_eq!((prepares.privileged, prepares.read_only_root_filesystem), (Some(true), Some(true)));
        assert_eq!((runs.privileged, runs.read_only_root_filesystem), (Some(false), Some(true)));
        assert_eq!(runs.allow_privilege_escalation, Some(false));
        let added: &[&str] = if folder == ANNOUNCING { &["NET_ADMIN", "NET_RAW"] } else { &["NET_ADMIN"] };
        let add = added.iter().map(|capability| (*capability).to_owned()).collect();
        assert_eq!(runs.capabilities, Some(Capabilities { drop: Some(vec!["ALL".into()]), add: Some(add) }));
        let path = |probe: &Option<k8s_openapi::api::core::v1::Probe>| probe.clone().unwrap().http_get.unwrap().path;
        assert_eq!(path(&main.liveness_probe).as_deref(), Some("/livez"));
        assert_eq!(path(&main.readiness_probe).as_deref(), Some("/healthz"));
    }
}

#[test]
fn only_the_container_that_asks_the_api_has_the_accounts_token() {
    for folder in FOLDERS {
        let pod = pod(&built(&deploy(folder)));
        assert_eq!(pod.automount_service_account_token, Some(false), "{folder}");
        let has_token = |volume: &&Volume| {
            let sources = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
            sources.into_iter().any(|source| source.service_account_token.is_some())
        };
        let tokens: Vec<_> = pod.volumes.iter().flatten().filter(has_token).map(|volume| &volume.name).collect();
        let [token] = tokens[..] else { panic!("{folder}: {tokens:?}") };
        let places = |container: &Container| -> Vec<String> {
            let mounts = container.volume_mounts.iter().flatten().filter(|mount| mount.name == *token);
            mounts.map(|mount| mount.mount_path.clone()).collect()
        };
        let prepares = pod.init_containers.iter().flatten().map(places);
        assert!(prepares.into_iter().all(|places| places.is_empty()), "{folder}");
        // Where clients look for it.
        assert_eq!(places(&pod.containers[0]), ["/var/run/secrets/kubernetes.io/serviceaccount"], "{folder}");
        let files: Vec<_> = pod.volumes.iter().flatten().find(|volume| volume.name == *token).into_iter().collect();
        let written = serde_json::to_string(&files).unwrap();
        for file in ["token", "ca.crt", "namespace"] {
            assert!(written.contains(&format!("\"path\":\"{file}\"")), "{folder}: {file}: {written}");
        }
    }
}

#[test]
fn each_overlay_says_its_mode() {
    for (overlay, mode) in [("nftables", "nftables"), ("ipvs", "ipvs"), ("announce", "nftables")] {
        let resources = built(&deploy("kubernetes/overlays").join(overlay));
        let config = found(&resources, "ConfigMap", "switchyard").unwrap();
        let config = config.pointer("/data/config.conf").and_then(Value::as_str).unwrap();
        let config: Value = serde_saphyr::from_str(config).unwrap();
        assert_eq!(config["apiVersion"], "kubeproxy.config.k8s.io/v1alpha1");
        assert_eq!((&config["kind"], &config["mode"]), (&"KubeProxyConfiguration".into(), &mode.into()));
    }
}

#[test]
fn kubeadms_daemonset_gets_another_image_and_command_and_keeps_all_else() {
    let before = document(KUBEADM.as_ref());
    assert_eq!(through_the_api(&before).as_ref(), Ok(&before));
    let path = deploy("kubernetes/kubeadm/kube-proxy.yaml");
    let patch = document(&path);
    assert_eq!(identity(&patch), identity(&before));
    assert!(is_within(&patch, &through_the_api(&patch).unwrap()));
    let mut after = before.clone();
    merge(&mut after, &patch);
    assert_eq!(through_the_api(&after).as_ref(), Ok(&after));
    let container = |document: &Value| document.pointer("/spec/template/spec/containers/0").cloned().unwrap();
    let (was, is) = (container(&before), container(&after));
    let changed: Vec<_> = is.as_object().unwrap().iter().filter(|(key, value)| was.get(*key) != Some(*value)).collect();
    assert_eq!(changed.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["command", "image"]);
    *after.pointer_mut("/spec/template/spec/containers/0").unwrap() = was.clone();
    assert_eq!(after, before);
    // All that kube-proxy was told, Switchyard is.
    let flags = |container: &Value| -> BTreeSet<String> {
        let words = container["command"].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned());
        words.filter(|word| word.starts_with("--")).collect()
    };
    assert_eq!(flags(&is), flags(&was));

    merge(after.pointer_mut("/spec/template/spec/containers/0").unwrap(), &is);
    let arguments = ["patch", "--local", "--filename", KUBEADM, "--output", "json", "--patch-file"];
    let Ok(kubectl) = Command::new("kubectl").args(arguments).arg(&path).output() else {
        eprintln!("not tested: kubectl is not at hand");
        return;
    };
    assert!(kubectl.status.success(), "{}", String::from_utf8_lossy(&kubectl.stderr));
    let theirs: Value = serde_json::from_slice(&kubectl.stdout).unwrap();
    assert!(is_within(&after, &theirs), "{theirs}");
}

#[test]
fn the_binary_takes_every_configuration_and_every_argument() {
    for folder in FOLDERS {
        let resources = built(&deploy(folder));
        let config = found(&resources, "ConfigMap", "switchyard").unwrap();
        let config = config.pointer("/data/config.conf").and_then(Value::as_str).unwrap();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(config.as_bytes()).unwrap();
        let written = tempfile::NamedTempFile::new().unwrap();
        for container in containers(&pod(&resources)) {
            let arguments = container.args.iter().flatten().filter(|argument| *argument != "--init-only");
            let arguments = arguments.map(|argument| match argument.strip_prefix("--config=") {
                Some(_) => format!("--config={}", file.path().display()),
                None => argument.replace("$(NODE_NAME)", "node2"),
            });
            let output = Command::new(env!("CARGO_BIN_EXE_switchyard"))
                .args(arguments)
                .arg(format!("--write-config-to={}", written.path().display()))
                .env("KUBERNETES_SERVICE_HOST", "192.0.2.1")
                .env("KUBERNETES_SERVICE_PORT", "6443")
                .stdin(Stdio::null())
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && !said.contains("WARN"), "{folder}: {}: {said}", container.name);
        }
    }
}
