//! A virtual machine with a stock Debian kernel: the suite on kernels that this machine does not run.
//!
//! ```text
//! Kernel ──► packages [debian] ──────────► Image: vmlinuz, modules in load order     cached under target/vm/
//! Order, this binary, Image ──► initramfs [cpio] ──► machine [qemu] ──► init ──► the order's commands
//!                                                      │ output  ◄── virtio port ◄────────┘
//!                                                      └ Outcome ◄── virtio port ◄── exit status
//! ```
//!
//! The machine sees this machine's files, read-only with a throw-away layer above, under the same paths: the very test
//! binary that runs here runs there, with its scenario files, its libraries, and `nft` beside it.
//! Emulated, not accelerated: `/dev/kvm` exists on machines where it does not work.

mod cpio;
mod error;
mod image;
mod init;
mod initramfs;
mod kernel;
mod machine;
mod modules;
mod order;
mod packages;
mod programs;
mod stream;

pub use error::VmError;
pub use image::Image;
pub use init::{become_init, is_init};
pub use initramfs::Init;
pub use kernel::Kernel;
pub use machine::Machine;
pub use order::{Order, Outcome, Terminal};
pub use programs::Programs;
pub use stream::Limits;
