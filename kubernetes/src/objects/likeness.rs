//! Which kind a document is about: one of ours, another's, or one of ours with a typing error.
//!
//! What is neither ours nor known to be another's could be one of ours: it must not be passed over in silence, or a
//! typing error would delete a service.

use super::Kind;

/// The API versions of our kinds, with the other kinds that they have. `Config` is a kubeconfig file.
const OTHERS: [(&str, &[&str]); 4] = [
    (
        "v1",
        &[
            "Binding",
            "ComponentStatus",
            "Config",
            "ConfigMap",
            "Event",
            "LimitRange",
            "PersistentVolume",
            "PersistentVolumeClaim",
            "Pod",
            "PodTemplate",
            "ReplicationController",
            "ResourceQuota",
            "Secret",
            "ServiceAccount",
            "Status",
        ],
    ),
    ("discovery.k8s.io/v1", &[]),
    ("metallb.io/v1beta1", &["AddressPool", "ConfigurationState", "ServiceBGPStatus", "ServiceL2Status"]),
    ("networking.k8s.io/v1", &["IPAddress", "Ingress", "IngressClass", "NetworkPolicy"]),
];

/// The groups of Kubernetes without a dot. A custom resource's group has one.
const PLAIN_GROUPS: [&str; 5] = ["apps", "autoscaling", "batch", "extensions", "policy"];

/// What an `apiVersion` and a `kind` are about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Means {
    Ours(Kind),
    Others,
    /// A mistake, and the kind that is probably meant.
    Mistake(Option<Kind>, String),
}

/// What these are about.
pub(super) fn means(api_version: &str, kind: &str) -> Means {
    if kind.is_empty() {
        return Means::Mistake(None, "no `kind`".to_owned());
    }
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    let exact = Kind::ALL.into_iter().find(|ours| ours.as_str() == kind);
    if let Some(ours) = exact {
        // Of what is not served any version is: nothing of it is read.
        let any_version = matches!(ours, Kind::Unserved(_)) && group == ours.group();
        if any_version || api_version == ours.api_version() {
            return Means::Ours(ours);
        }
    }
    let near = exact.or_else(|| nearest(kind, Kind::ALL, Kind::as_str));
    let like_ours = !group.contains('.') || nearest(group, Kind::ALL, Kind::group).is_some();
    let others = OTHERS.iter().find(|(version, _)| *version == api_version);
    match (exact, near) {
        (Some(ours), _) if like_ours => {
            let meant = ours.api_version();
            Means::Mistake(exact, format!("`apiVersion: {api_version:?}` with `kind: {kind}`: must be {meant}"))
        }
        (Some(_), _) => Means::Others,
        (None, near) => match others {
            Some((_, kinds)) if kinds.contains(&kind) => Means::Others,
            Some(_) => Means::Mistake(near, format!("`kind: {kind:?}`: {api_version} has no such kind{}", meant(near))),
            None if near.is_some() && like_ours && !PLAIN_GROUPS.contains(&group) => Means::Mistake(
                near,
                format!("`kind: {kind:?}`, `apiVersion: {api_version:?}`: no such kind{}", meant(near)),
            ),
            None => Means::Others,
        },
    }
}

fn meant(near: Option<Kind>) -> String {
    near.map(|kind| format!("; {} {} may be meant", kind.api_version(), kind.as_str())).unwrap_or_default()
}

/// The kind whose text is so near to `word` that a typing error may be between them.
fn nearest(word: &str, kinds: impl IntoIterator<Item = Kind>, text: fn(Kind) -> &'static str) -> Option<Kind> {
    let word = folded(word);
    let distances = kinds.into_iter().filter(|kind| !text(*kind).is_empty()).map(|kind| {
        let text = folded(text(kind));
        (distance(&word, &text), (text.len() / 3).clamp(1, 3), kind)
    });
    distances
        .filter(|(distance, most, _)| distance <= most)
        .min_by_key(|(distance, ..)| *distance)
        .map(|(.., kind)| kind)
}

/// In small letters, without the end of a plural. What is much longer than any kind is cut.
fn folded(word: &str) -> Vec<char> {
    let mut letters: Vec<char> = word.chars().take(64).flat_map(char::to_lowercase).collect();
    if letters.last() == Some(&'s') {
        letters.pop();
    }
    letters
}

/// How many letters are missing, too many, others, or have changed places (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let other = usize::from(a[i - 1] != b[j - 1]);
            let mut least = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + other);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(api_version: &str, kind: &str, expected: &str) {
        let found = match means(api_version, kind) {
            Means::Ours(kind) => format!("{kind:?}"),
            Means::Others => "others".to_owned(),
            Means::Mistake(meant, _) => format!("mistake, {}", meant.map_or("unknown", Kind::as_str)),
        };
        assert_eq!(found, expected, "{api_version} {kind}");
    }

    #[test]
    fn our_kinds_are_ours_in_their_versions_alone() {
        for kind in Kind::ALL {
            check(kind.api_version(), kind.as_str(), &format!("{kind:?}"));
        }
        for version in ["core/v1", "v2", "V1", "", "/v1", "apps/v1", "discovery.k8s.io/v1", "networking.k8s.io/v1"] {
            check(version, "Service", "mistake, Service");
        }
        for version in ["v1", "discovery/v1", "discovery.k8s.io/v1beta1", "discovery.k8s.o/v1"] {
            check(version, "EndpointSlice", "mistake, EndpointSlice");
        }
    }

    #[test]
    fn a_kind_with_a_typing_error_is_a_mistake() {
        for kind in ["Servise", "service", "Services", "SERVICE", "Servcie", "Srvice"] {
            check("v1", kind, "mistake, Service");
            check("core/v1", kind, "mistake, Service");
        }
        check("v1", "Endpoint", "mistake, Endpoints");
        check("v1", "Endponts", "mistake, Endpoints");
        check("v1", "nodes", "mistake, Node");
        check("v1", "Svc", "mistake, unknown");
        check("v1", "Lits", "mistake, unknown");
        check("discovery.k8s.io/v1", "EndpointSlices", "mistake, EndpointSlice");
        check("discovery.k8s.io/v1beta1", "Endpointslice", "mistake, EndpointSlice");
        check("networking.k8s.io/v1", "ServiceCidr", "mistake, ServiceCIDR");
        check("v1", "", "mistake, unknown");
    }

    #[test]
    fn kinds_of_others_are_others() {
        for (version, kind) in [
            ("apps/v1", "Deployment"),
            ("v1", "ConfigMap"),
            ("v1", "Secret"),
            ("v1", "ServiceAccount"),
            ("v1", "Config"),
            ("networking.k8s.io/v1", "Ingress"),
            ("networking.k8s.io/v1beta1", "IngressClass"),
            ("gateway.networking.k8s.io/v1", "HTTPRoute"),
            ("serving.knative.dev/v1", "Service"),
            ("longhorn.io/v1beta2", "Node"),
            ("metrics.k8s.io/v1beta1", "NodeMetrics"),
            ("storage.k8s.io/v1", "CSINode"),
            ("kustomize.config.k8s.io/v1beta1", "Kustomization"),
            ("policy/v1", "PodDisruptionBudget"),
        ] {
            check(version, kind, "others");
        }
    }
}
