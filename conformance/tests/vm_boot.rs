//! The machine itself: what comes out of it, and that it cannot hang.
//!
//! Skipped, with the reason printed, where the machine cannot be had (no root, not Debian or Ubuntu, no archive within
//! reach), unless `SWITCHYARD_REQUIRE_VM` is set, as the test command does.

use std::path::Path;
use std::time::Duration;

use switchyard_conformance::vm::{Image, Init, Kernel, Limits, Machine, Order, Terminal, VmError};

/// For a machine that shares its two cores with others.
const PATIENT: Duration = Duration::from_secs(240);

const LIMITS: Limits = Limits { boot: PATIENT, silence: PATIENT, total: PATIENT };

/// What the suite is in the machine for: IPVS with a scheduler that is a module of its own. No SCTP stack: it would
/// answer in the place of the pods.
const FEATURES: &str = "test -e /proc/net/ip_vs && grep -q '^ip_vs_mh ' /proc/modules && ! test -e /proc/net/sctp";

#[test]
fn what_runs_inside_is_seen_outside_and_changes_nothing() {
    let file = std::env::temp_dir().join(format!("switchyard-vm-boot-{}", std::process::id()));
    std::fs::write(&file, "outside\n").unwrap();
    let name = file.display();
    let write = format!("cat {name} && echo inside > {name} && cat {name}");
    let commands = order(&["uname -r", FEATURES, &write, "printf 'a\\0b'; echo c >&2; exit 7", "exit 8"]);
    let booted = boot(Kernel::V6_12, LIMITS, &commands);
    let after = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();

    let Some((result, output)) = booted else { return };
    assert_eq!(result.unwrap(), 7, "the first failure is the exit status: {output}");
    let (release, rest) = output.split_once('\n').unwrap();
    assert!(release.starts_with("6.12."), "{release}");
    assert_eq!(rest, "outside\ninside\na\0bc\n", "what was printed, byte for byte");
    assert_eq!(after, "outside\n");
}

#[test]
fn the_oldest_kernel_has_what_the_suite_needs() {
    let Some((result, output)) = boot(Kernel::V6_1, LIMITS, &order(&[FEATURES, "uname -r"])) else { return };
    assert_eq!(result.unwrap(), 0, "{output}");
    assert!(output.starts_with("6.1."), "{output}");
}

#[test]
fn a_command_that_hangs_is_ended_after_what_it_said_was_handed_on() {
    let limits = Limits { silence: Duration::from_secs(2), ..LIMITS };
    let Some((result, output)) = boot(Kernel::V6_12, limits, &order(&["echo ready; exec sleep 1d"])) else { return };
    assert!(matches!(result, Err(VmError::Silent { .. })), "{result:?}");
    assert_eq!(output, "ready\n");
}

fn order(scripts: &[&str]) -> Order {
    let commands = scripts.iter().map(|script| ["sh", "-c", script].map(str::to_owned).to_vec());
    Order::new(commands.collect(), Terminal::Stream)
}

/// Runs an order in a fresh machine; nothing where there cannot be one.
fn boot(kernel: Kernel, limits: Limits, order: &Order) -> Option<(Result<u8, VmError>, String)> {
    let image = match Image::prepare(kernel) {
        Ok(image) => image,
        Err(error) if std::env::var_os("SWITCHYARD_REQUIRE_VM").is_none() => {
            eprintln!("skipped: {error}");
            return None;
        }
        Err(error) => panic!("{error}"),
    };
    let mut output = Vec::new();
    let init = Init::read(Path::new(env!("CARGO_BIN_EXE_vm"))).unwrap();
    let result = Machine::new(image, init, limits).run(order, &mut output);
    Some((result, String::from_utf8_lossy(&output).into_owned()))
}
