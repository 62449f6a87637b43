//! The names that the API server would refuse, which a file can hold all the same: refused here too, because they
//! become parts of tables, logs and labels.

use super::{Metadata, Object};

/// A rule for names.
#[derive(Clone, Copy)]
enum Rule {
    Label,
    Subdomain,
    LabelValue,
}

impl Rule {
    fn admits(self, name: &str) -> bool {
        match self {
            Self::Label => is_label(name),
            Self::Subdomain => name.len() <= 253 && name.split('.').all(is_label_of_any_length),
            Self::LabelValue => {
                let inner = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
                let ends = [name.bytes().next(), name.bytes().last()];
                name.len() <= 63 && inner && ends.iter().flatten().all(u8::is_ascii_alphanumeric)
            }
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Label => "a label (RFC 1123): 1 to 63 of a-z, 0-9 and -, none of them - at the ends",
            Self::Subdomain => {
                "a subdomain (RFC 1123): 1 to 253 of a-z, 0-9, - and ., a letter or digit at each end of each part"
            }
            Self::LabelValue => {
                "the value of a label: at most 63 of A-Z, a-z, 0-9, -, _ and ., a letter or digit at the ends"
            }
        }
    }
}

fn is_label(name: &str) -> bool {
    name.len() <= 63 && is_label_of_any_length(name)
}

fn is_label_of_any_length(name: &str) -> bool {
    let inner = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    inner && !name.is_empty() && !name.starts_with('-') && !name.ends_with('-')
}

/// Whether an object may have this name, in this namespace.
///
/// # Errors
/// What is wrong, with the rule.
pub(super) fn check_name(is_service: bool, namespace: Option<&str>, name: &str) -> Result<(), String> {
    check("metadata.namespace", Rule::Label, namespace)?;
    check("metadata.name", if is_service { Rule::Label } else { Rule::Subdomain }, Some(name))
}

/// Whether the API server would accept the names in `object`.
///
/// # Errors
/// What is wrong, with the rule.
pub(super) fn check_names(object: &Object) -> Result<(), String> {
    match object {
        Object::Service(service) => {
            check_metadata(true, &service.metadata)?;
            for port in &service.spec.ports {
                check("spec.ports.name", Rule::Label, port.name.as_deref().filter(|name| !name.is_empty()))?;
            }
        }
        Object::EndpointSlice(slice) => {
            check_metadata(false, &slice.metadata)?;
            let service = slice.metadata.labels.service_name.as_deref();
            check("label kubernetes.io/service-name", Rule::LabelValue, service)?;
            for port in &slice.ports {
                check("ports.name", Rule::Label, port.name.as_deref().filter(|name| !name.is_empty()))?;
            }
            for endpoint in &slice.endpoints {
                check("endpoints.nodeName", Rule::Subdomain, endpoint.node_name.as_deref())?;
            }
        }
        Object::Endpoints(endpoints) => {
            check_metadata(false, &endpoints.metadata)?;
            for subset in &endpoints.subsets {
                for port in &subset.ports {
                    check("subsets.ports.name", Rule::Label, port.name.as_deref().filter(|name| !name.is_empty()))?;
                }
                for address in subset.addresses.iter().chain(&subset.not_ready_addresses) {
                    check("subsets.addresses.nodeName", Rule::Subdomain, address.node_name.as_deref())?;
                }
            }
        }
        Object::Node(node) => {
            check_metadata(false, &node.metadata)?;
            check("label topology.kubernetes.io/zone", Rule::LabelValue, node.metadata.labels.zone.as_deref())?;
        }
        Object::ServiceCidr(cidr) => check_metadata(false, &cidr.metadata)?,
        Object::Namespace(namespace) => check_metadata(true, &namespace.metadata)?,
        Object::IpAddressPool(pool) => check_metadata(false, &pool.metadata)?,
        Object::L2Advertisement(advertisement) => check_metadata(false, &advertisement.metadata)?,
        Object::ServiceAddresses(addresses) => check_metadata(true, &addresses.metadata)?,
        Object::Unserved(unserved) => check_metadata(false, &unserved.metadata)?,
    }
    Ok(())
}

fn check_metadata<L, A, U>(is_service: bool, metadata: &Metadata<L, A, U>) -> Result<(), String>
where
    L: Default + for<'a> serde::Deserialize<'a>,
    A: Default + for<'a> serde::Deserialize<'a>,
    U: Default + for<'a> serde::Deserialize<'a>,
{
    check_name(is_service, Some(&metadata.namespace), &metadata.name)
}

fn check(field: &str, rule: Rule, name: Option<&str>) -> Result<(), String> {
    match name {
        Some(name) if !rule.admits(name) => {
            let shown: String = name.chars().take(80).collect();
            Err(format!("{field} {shown:?}: must be {}", rule.text()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_those_of_the_api_server() {
        for (rule, good, bad) in [
            (
                Rule::Label,
                vec!["a", "9", "a-b", "1-a"],
                vec!["", "-a", "a-", "A", "a.b", "a_b", "a\r\nb", "a\u{202e}b", "é"],
            ),
            (Rule::Subdomain, vec!["a", "a.b", "n1.example.org"], vec!["", ".", "a..b", "a.-b", "a.b.", "A.b", "a\0"]),
            (Rule::LabelValue, vec!["", "a", "A_b.c-d"], vec!["-", "a-", "_a", "a b", "a\nb"]),
        ] {
            good.iter().for_each(|name| assert!(rule.admits(name), "{name:?}"));
            bad.iter().for_each(|name| assert!(!rule.admits(name), "{name:?}"));
        }
        let long = "a".repeat(64);
        assert!(!Rule::Label.admits(&long) && !Rule::LabelValue.admits(&long) && Rule::Subdomain.admits(&long));
        assert!(!Rule::Subdomain.admits(&"a.".repeat(127)) && !Rule::Subdomain.admits(&"a".repeat(254)));
    }
}
