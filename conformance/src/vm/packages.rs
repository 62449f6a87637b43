//! Which packages a kernel is made of, and how they are unpacked: never installed, so that this machine's boot loader
//! never hears of them.

use std::path::Path;

use super::{Kernel, VmError};
use crate::debian::{Suite, Unavailable};

/// Emulates the machine.
pub(super) const QEMU: &str = "qemu-system-x86_64";

/// How packages with a kernel are named, before its release.
const IMAGE: &str = "linux-image-";

/// Unpacks the newest build of a kernel's packages into `directory`.
pub(super) fn unpack_kernel(kernel: Kernel, directory: &Path) -> Result<(), VmError> {
    let suite = Suite::open(&directory.join("apt"), kernel.archive())?;
    let image = suite.depends(kernel.metapackage())?.into_iter().find(|name| name.starts_with(IMAGE));
    let image = image
        .ok_or_else(|| Unavailable::new(kernel.metapackage(), format!("no such package in {}", kernel.archive())))?;
    let mut packages = parts(&image, suite.depends(&image)?);
    packages.push(image);
    eprintln!("vm: fetching {}", packages.join(", "));
    Ok(suite.unpack(&packages, &directory.join("root"))?)
}

/// The packages of the same build that an image's package depends on: since Linux 7 it is split, and holds nothing.
fn parts(image: &str, mut depends: Vec<String>) -> Vec<String> {
    let release = image.trim_start_matches(IMAGE);
    depends.retain(|name| name.strip_suffix(release).is_some_and(|part| part.starts_with("linux-")));
    depends
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_is_split_is_fetched_whole() {
        let depends = ["linux-base-7.2.13+deb14-amd64", "linux-binary-7.2.13+deb14-amd64", "linux-base", "kmod"];
        let found = parts("linux-image-7.2.13+deb14-amd64", depends.map(str::to_owned).into());
        assert_eq!(found, depends[..2]);
    }
}
