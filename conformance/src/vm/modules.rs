//! Which kernel modules the machine gets, and in which order they load.
//!
//! A package that was only unpacked has no `modules.dep` (its installation writes that), so dependencies are read from
//! where `depmod` reads them: the module's own `.modinfo`, `key=value` strings that end in NUL.
//!
//! **Invariant:** a module comes after all that it depends on (`tests::dependencies_come_first`).

use super::VmError;

/// Must be there, as a module or built in. Not `sctp`: the worlds' pods speak SCTP themselves, for kernels without it,
/// and the kernel's own stack would answer their clients with ABORT. Conntrack, NAT and IPVS need no such module.
const REQUIRED: [&str; 25] = [
    // the way to the host: console ports, its file system, a layer to write on
    "virtio_pci",
    "virtio_console",
    "9pnet_virtio",
    "9p",
    "overlay",
    "nf_tables",
    "nf_conntrack",
    "nf_conntrack_netlink",
    "nf_nat",
    "nft_nat",
    "nft_masq",
    "nft_numgen",
    "nft_reject_ipv4",
    "nft_reject_ipv6",
    "nft_fib_ipv4",
    "nft_fib_ipv6",
    "nf_flow_table",
    // the flowtables of `ip` and `ip6` are asked for by name too, and are in it
    "nf_flow_table_inet",
    "ip_vs",
    "br_netfilter",
    "bridge",
    "veth",
    "dummy",
    "inet_diag",
    "udp_diag",
];

/// Taken along where the kernel has it as a module, ahead of the others: older kernels ask for their checksums by name
/// when a module that computes some is loaded (`softdep`), so that no dependency tells of it.
const FIRST: &str = "crc32c_generic";

/// Taken along whatever they are called exactly: every IPVS scheduler and every nftables expression that the kernel
/// has.
const FAMILIES: [&str; 2] = ["ip_vs_", "nft_"];

/// A kernel module: its name and its content, uncompressed.
pub(super) type Module = (String, Vec<u8>);

/// What one kernel offers.
pub(super) trait Offer {
    /// Names of all its modules, with underscores.
    fn modules(&self) -> Vec<String>;
    /// Whether the kernel has this in itself.
    fn has_built_in(&self, name: &str) -> bool;
    /// The module of that name, if there is one.
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, VmError>;
}

/// Everything that decides which modules are taken, as text: a kept image is thrown away when it changes.
pub(super) fn wanted() -> String {
    [FIRST].into_iter().chain(REQUIRED).chain(FAMILIES).collect::<Vec<_>>().join("\n")
}

/// The modules to load, in order.
///
/// # Errors
///
/// Names what is neither a module nor built in, and what needs it.
pub(super) fn load_order(offer: &dyn Offer) -> Result<Vec<Module>, VmError> {
    let mut families = offer.modules();
    let first = families.iter().any(|name| name == FIRST).then_some(FIRST);
    families.retain(|name| FAMILIES.iter().any(|family| name.starts_with(family)));
    families.sort();
    let mut order = Vec::new();
    for name in first.into_iter().chain(REQUIRED).chain(families.iter().map(String::as_str)) {
        visit(offer, name, "the suite", &mut order)?;
    }
    Ok(order)
}

/// The name under which the kernel knows the module in file `9p.ko`, `nf-nat.ko.xz`, …; nothing for other files.
pub(super) fn module_name(file: &str) -> Option<String> {
    let stem = file.strip_suffix(".xz").unwrap_or(file).strip_suffix(".ko")?;
    Some(stem.replace('-', "_"))
}

fn visit(offer: &dyn Offer, name: &str, needed_by: &str, order: &mut Vec<Module>) -> Result<(), VmError> {
    if order.iter().any(|(loaded, _)| loaded == name) || offer.has_built_in(name) {
        return Ok(());
    }
    let module = offer.read(name)?.ok_or_else(|| unusable(name, needed_by, "not in the kernel's package"))?;
    let needed = dependencies(&module).ok_or_else(|| unusable(name, needed_by, "has no list of dependencies"))?;
    for dependency in needed {
        visit(offer, &dependency, name, order)?;
    }
    order.push((name.to_owned(), module));
    Ok(())
}

fn unusable(name: &str, needed_by: &str, reason: &str) -> VmError {
    VmError::unavailable(format!("kernel module {name}, which {needed_by} needs"), reason)
}

fn dependencies(module: &[u8]) -> Option<Vec<String>> {
    let value = module.split(|&byte| byte == 0).find_map(|text| text.strip_prefix(b"depends="))?;
    let names = String::from_utf8_lossy(value);
    Some(names.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Modules and what they depend on; all else that is required is built in.
    struct Shelf(&'static [(&'static str, &'static str)]);

    impl Offer for Shelf {
        fn modules(&self) -> Vec<String> {
            self.0.iter().map(|(name, _)| (*name).to_owned()).collect()
        }

        fn has_built_in(&self, name: &str) -> bool {
            REQUIRED.contains(&name) && !self.0.iter().any(|(module, _)| *module == name)
        }

        fn read(&self, name: &str) -> Result<Option<Vec<u8>>, VmError> {
            let found = self.0.iter().find(|(module, _)| *module == name);
            Ok(found.map(|(_, depends)| format!("\x7fELF\0license=GPL\0depends={depends}\0").into_bytes()))
        }
    }

    fn check(shelf: &'static [(&'static str, &'static str)], expected: &[&str]) {
        let order = load_order(&Shelf(shelf)).unwrap();
        assert_eq!(order.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn dependencies_come_first() {
        check(
            &[("ip_vs", "nf-conntrack,libcrc32c"), ("nf_conntrack", "libcrc32c"), ("libcrc32c", "")],
            &["libcrc32c", "nf_conntrack", "ip_vs"],
        );
    }

    #[test]
    fn every_scheduler_of_the_kernel_is_taken_along() {
        check(
            &[("ip_vs_twos", ""), ("ip_vs_mh", ""), ("nft_xfrm", ""), ("drm", "")],
            &["ip_vs_mh", "ip_vs_twos", "nft_xfrm"],
        );
    }

    #[test]
    fn checksums_come_before_what_asks_for_them_by_name() {
        check(
            &[("nf_nat", "libcrc32c"), ("libcrc32c", ""), ("crc32c_generic", "")],
            &["crc32c_generic", "libcrc32c", "nf_nat"],
        );
    }

    #[test]
    fn what_is_missing_is_named_with_who_needs_it() {
        let error = load_order(&Shelf(&[("ip_vs", "absent")])).unwrap_err();
        assert_eq!(error.to_string(), "kernel module absent, which ip_vs needs: not in the kernel's package");
    }

    #[test]
    fn a_file_name_tells_the_module() {
        assert_eq!(module_name("nf-nat.ko.xz").as_deref(), Some("nf_nat"));
        assert_eq!(module_name("9p.ko").as_deref(), Some("9p"));
        assert_eq!(module_name("modules.order"), None);
    }
}
