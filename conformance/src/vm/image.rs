//! A kernel with its modules, ready to boot: fetched once, then kept under `target/vm/`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::modules::{self, Module, Offer};
use super::{Kernel, VmError, packages};
use crate::debian;

/// A kernel and the modules that the suite needs, in load order, on this machine's disk.
#[derive(Clone, Debug)]
pub struct Image {
    directory: PathBuf,
    /// The kernel.
    pub kernel: Kernel,
}

/// The list of modules' names in load order; written last, so an image that has it is whole.
const ORDER: &str = "modules.order";

impl Image {
    /// The image of a kernel: the one that is kept, else fetched now. Installs QEMU too where it is missing.
    ///
    /// # Errors
    ///
    /// [`VmError::Unavailable`] names the package or module that could not be had.
    pub fn prepare(kernel: Kernel) -> Result<Self, VmError> {
        debian::have_program(packages::QEMU, "qemu-system-x86")?;
        debian::have_program("setpriv", "util-linux")?;
        let kept = debian::shelf("vm")?;
        fs::create_dir_all(&kept).map_err(VmError::io(format!("create {}", kept.display())))?;
        // One fetches, the others wait and find it done.
        let lock = kept.join("lock");
        let lock = File::create(&lock).and_then(|file| file.lock().map(|()| file));
        let _lock = lock.map_err(VmError::io(format!("lock {}", kept.display())))?;

        let image = Self { directory: kept.join(kernel.name()), kernel };
        if !image.is_current() {
            image.fetch()?;
        }
        Ok(image)
    }

    /// Where one run's files may lie: on the same disk, and gone with `cargo clean`.
    pub(super) fn scratch(&self) -> PathBuf {
        self.directory.join("runs")
    }

    /// The compressed kernel.
    pub(super) fn vmlinuz(&self) -> PathBuf {
        self.directory.join("vmlinuz")
    }

    /// The modules in load order.
    pub(super) fn modules(&self) -> Result<Vec<Module>, VmError> {
        let order = self.directory.join(ORDER);
        let order = fs::read_to_string(&order).map_err(VmError::io(format!("read {}", order.display())))?;
        order.lines().map(|name| self.module(name)).collect()
    }

    fn module(&self, name: &str) -> Result<Module, VmError> {
        let file = self.directory.join(name);
        fs::read(&file).map(|content| (name.to_owned(), content)).map_err(VmError::io(file.display().to_string()))
    }

    /// Whether it is whole and was made for the modules that are wanted today.
    fn is_current(&self) -> bool {
        let wanted = fs::read_to_string(self.directory.join("modules.wanted"));
        self.directory.join(ORDER).exists() && wanted.is_ok_and(|wanted| wanted == modules::wanted())
    }

    fn fetch(&self) -> Result<(), VmError> {
        let _ = fs::remove_dir_all(&self.directory);
        let unpacked = self.directory.join("unpacked");
        fs::create_dir_all(&unpacked).map_err(VmError::io(format!("create {}", unpacked.display())))?;
        packages::unpack_kernel(self.kernel, &unpacked)?;

        let package = Unpacked::open(&unpacked.join("root"), self.kernel)?;
        let vmlinuz = self.vmlinuz();
        fs::rename(&package.vmlinuz, &vmlinuz).map_err(VmError::io(format!("create {}", vmlinuz.display())))?;
        let modules = modules::load_order(&package)?;
        for (name, content) in &modules {
            self.write(name, content)?;
        }
        self.write("modules.wanted", modules::wanted().as_bytes())?;
        // The tree is 400 MB, what the suite needs of it 10.
        fs::remove_dir_all(&unpacked).map_err(VmError::io(format!("remove {}", unpacked.display())))?;
        let order: String = modules.iter().map(|(name, _)| format!("{name}\n")).collect();
        self.write(ORDER, order.as_bytes())
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<(), VmError> {
        let file = self.directory.join(name);
        fs::write(&file, content).map_err(VmError::io(format!("write {}", file.display())))
    }
}

/// A kernel's package, unpacked.
struct Unpacked {
    vmlinuz: PathBuf,
    modules: BTreeMap<String, PathBuf>,
    builtin: BTreeSet<String>,
}

impl Unpacked {
    fn open(root: &Path, kernel: Kernel) -> Result<Self, VmError> {
        let tree =
            ["lib/modules", "usr/lib/modules"].map(|path| root.join(path)).into_iter().find(|path| path.exists());
        let tree = tree.ok_or_else(|| VmError::unavailable(kernel.metapackage(), "its package holds no modules"))?;
        let tree = only_child(&tree, |_| true)?;
        // Beside the modules since Linux 7.
        let vmlinuz = match tree.join("vmlinuz") {
            beside if beside.exists() => beside,
            _ => only_child(&root.join("boot"), |name| name.starts_with("vmlinuz-"))?,
        };
        let builtin = tree.join("modules.builtin");
        let builtin = fs::read_to_string(&builtin).map_err(VmError::io(format!("read {}", builtin.display())))?;
        let builtin = builtin.lines().filter_map(|line| modules::module_name(line.rsplit('/').next()?)).collect();
        let mut modules = BTreeMap::new();
        collect(&tree, &mut modules)?;
        Ok(Self { vmlinuz, modules, builtin })
    }
}

impl Offer for Unpacked {
    fn modules(&self) -> Vec<String> {
        self.modules.keys().cloned().collect()
    }

    fn has_built_in(&self, name: &str) -> bool {
        self.builtin.contains(name)
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, VmError> {
        let Some(file) = self.modules.get(name) else { return Ok(None) };
        if file.extension().is_some_and(|extension| extension == "xz") {
            debian::have_program("xz", "xz-utils")?;
            return debian::run("xz", Command::new("xz").args(["-d", "-c"]).arg(file)).map(Some).map_err(VmError::from);
        }
        fs::read(file).map(Some).map_err(VmError::io(format!("read {}", file.display())))
    }
}

fn only_child(directory: &Path, is_it: fn(&str) -> bool) -> Result<PathBuf, VmError> {
    let found = children(directory)?
        .into_iter()
        .find(|path| path.file_name().is_some_and(|name| is_it(&name.to_string_lossy())));
    found.ok_or_else(|| VmError::unavailable("kernel package", format!("nothing of use in {}", directory.display())))
}

fn collect(directory: &Path, modules: &mut BTreeMap<String, PathBuf>) -> Result<(), VmError> {
    for path in children(directory)? {
        if path.is_dir() {
            collect(&path, modules)?;
        } else if let Some(name) = path.file_name().and_then(|name| modules::module_name(&name.to_string_lossy())) {
            modules.insert(name, path);
        }
    }
    Ok(())
}

fn children(directory: &Path) -> Result<Vec<PathBuf>, VmError> {
    let what = format!("list {}", directory.display());
    let entries = fs::read_dir(directory).map_err(VmError::io(&what))?;
    entries.map(|entry| entry.map(|entry| entry.path()).map_err(VmError::io(&what))).collect()
}
