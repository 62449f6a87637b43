//! Runs the conformance suite, or any command, on another kernel:
//! `cargo run -p switchyard-conformance --bin vm -- --kernel 6.12`.
//!
//! Needs root on Debian or Ubuntu; fetches what it lacks. Inside the machine the same program is the first process.

use std::io::stdout;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use agent::backend::Backend;
use clap::Parser;
use switchyard_conformance::vm::{
    Image, Init, Kernel, Limits, Machine, Order, Programs, Terminal, VmError, become_init, is_init,
};
use switchyard_conformance::{BACKEND, PATIENCE};

/// Boots a stock Debian kernel in an emulated machine and runs the conformance suite in it.
#[derive(Debug, Parser)]
#[command(name = "vm")]
struct Flags {
    /// Debian's kernel to boot: 5.10, 6.1, 6.12 or sid.
    #[arg(long, default_value = "6.12")]
    kernel: Kernel,
    /// The backend under test.
    #[arg(long, default_value = "nftables", conflicts_with_all = ["tests", "shell", "command", "prepare"])]
    backend: Backend,
    /// Run only the scenarios whose name contains this.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["tests", "shell", "command", "prepare"])]
    scenario: Option<String>,
    /// Run the tests of this package, all its test programs one after the other or the one that is named, instead of
    /// the scenarios. May be repeated.
    #[arg(long, value_name = "PACKAGE[::PROGRAM]", conflicts_with_all = ["shell", "command", "prepare"])]
    tests: Vec<String>,
    /// Open a shell in the machine.
    #[arg(long, conflicts_with_all = ["command", "prepare"])]
    shell: bool,
    /// Only fetch what is needed.
    #[arg(long, conflicts_with = "command")]
    prepare: bool,
    /// Fail when the suite says nothing for so many seconds.
    #[arg(long, value_name = "SECONDS", default_value = "120")]
    silence: u64,
    /// Fail when the machine is not done after so many seconds.
    #[arg(long, value_name = "SECONDS", default_value = "1200")]
    deadline: u64,
    /// Run this command instead of the suite. The machine sees this machine's files under the same paths.
    #[arg(last = true)]
    command: Vec<String>,
}

/// How many times as long everything may take inside, and silence must last.
const EMULATED: &str = "4";

/// Longest time until the first output: a boot takes 6 s, beside other work ten times that.
const BOOT: Duration = Duration::from_secs(300);

fn main() -> ExitCode {
    if is_init() {
        become_init();
    }
    match run(&Flags::parse()) {
        Ok(status) => status.into(),
        Err(error) => {
            eprintln!("vm: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(flags: &Flags) -> Result<u8, VmError> {
    let image = Image::prepare(flags.kernel)?;
    if flags.prepare {
        return Ok(0);
    }
    // By the process, not by the path, which may name a newer program: cargo builds here and elsewhere meanwhile.
    let init = Init::read(&PathBuf::from(format!("/proc/{}/exe", std::process::id())))?;
    let wanted = order(flags)?;
    let limits =
        Limits { boot: BOOT, silence: Duration::from_secs(flags.silence), total: Duration::from_secs(flags.deadline) };
    Machine::new(image, init, limits).run(&wanted, &mut stdout())
}

fn order(flags: &Flags) -> Result<Order, VmError> {
    if flags.shell {
        // A shell wants a controlling terminal, which `setsid` gives it.
        let shell = ["setsid", "--ctty", "--wait", "/bin/bash"].map(str::to_owned).to_vec();
        return Ok(Order::new(vec![shell], Terminal::Interactive));
    }
    if !flags.command.is_empty() {
        return Ok(Order::new(vec![flags.command.clone()], Terminal::Stream));
    }
    let programs = Programs::build()?;
    let commands = match flags.tests.as_slice() {
        [] => suite(flags, &programs)?,
        packages => {
            let files = packages.iter().map(|wanted| tests(&programs, wanted)).collect::<Result<Vec<_>, _>>()?;
            files.into_iter().flatten().map(|program| vec![program.display().to_string()]).collect()
        }
    };
    let mut order = Order::new(commands, Terminal::Stream);
    order.titled = order.commands.len() > 1;
    order.environment.insert(BACKEND.to_owned(), flags.backend.name().to_owned());
    order.environment.entry(PATIENCE.to_owned()).or_insert_with(|| EMULATED.to_owned());
    Ok(order)
}

/// The files of the test programs that `--tests` names.
fn tests(programs: &Programs, wanted: &str) -> Result<Vec<PathBuf>, VmError> {
    match wanted.split_once("::") {
        Some((package, name)) => programs.test(package, name).map(|program| vec![program]),
        None => programs.tests(wanted),
    }
}

/// All scenarios in one process: starting hundreds takes longer here than most of them. Behind them what else is for
/// every backend, unless one scenario is asked for.
fn suite(flags: &Flags, programs: &Programs) -> Result<Vec<Vec<String>>, VmError> {
    let mut suite = vec![programs.binary("suite")?.display().to_string()];
    suite.extend(["--backend".to_owned(), flags.backend.name().to_owned()]);
    if let Some(scenario) = &flags.scenario {
        suite.push(scenario.clone());
        return Ok(vec![suite]);
    }
    let tests = ["property", "weights"]
        .map(|name| programs.test("conformance", name).map(|file| vec![file.display().to_string()]));
    std::iter::once(Ok(suite)).chain(tests).collect()
}
