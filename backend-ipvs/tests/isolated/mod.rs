//! Each test runs on a thread of its own in a fresh network namespace, which goes away with the thread.

use libtest_mimic::{Arguments, Trial};
use netlink::ipvs::Ipvs;
use nix::sched::{CloneFlags, unshare};

/// Runs these tests. Where the kernel has no IPVS, or without root, each of them is reported as ignored.
pub(crate) fn run(tests: &[(&str, fn())]) {
    let is_allowed = testbed::privilege::missing().is_none();
    let has_ipvs = is_allowed && runtime().block_on(Ipvs::open()).is_ok();
    let trials = tests.iter().map(|(name, test)| {
        let test = *test;
        Trial::test(*name, move || {
            test();
            Ok(())
        })
        .with_ignored_flag(!has_ipvs)
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit();
}

pub(crate) fn in_namespace<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("root may make a network namespace");
        runtime().block_on(test());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}
