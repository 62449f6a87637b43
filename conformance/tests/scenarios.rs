//! One test for each backend and scenario file, named `backend::topic::claim`, on this machine's kernel.

use std::process::ExitCode;

use agent::backend::Backend;
use libtest_mimic::{Arguments, Failed, Trial};
use switchyard_conformance::scenario::{ParseError, ScenarioFile};
use switchyard_conformance::{Outcome, Subject, judge, lacking, scenarios};
use testbed::privilege;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // A scenario mostly waits, for links, packets and silence: two a processor keep it busy.
    arguments.test_threads.get_or_insert_with(|| 2 * std::thread::available_parallelism().map_or(1, usize::from));
    match trials(&arguments) {
        Ok(trials) => libtest_mimic::run(&arguments, trials).exit_code(),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn trials(arguments: &Arguments) -> Result<Vec<Trial>, ParseError> {
    let files = scenarios();
    let unprivileged = privilege::missing();
    if let Some(reason) = &unprivileged {
        eprintln!("all scenarios are ignored: {reason}");
    }
    let mut trials = Vec::new();
    for backend in Backend::compiled() {
        let lacking = if unprivileged.is_some() { None } else { lacking(backend) };
        if let Some(what) = &lacking {
            eprintln!(
                "backend {}: its scenarios are ignored on this kernel, and run in the virtual machine: {what}",
                backend.name()
            );
        }
        for file in files.iter().filter(|file| is_asked(arguments, &name(backend, file))) {
            let ignored = unprivileged.is_some() || lacking.is_some() || file.not_for(backend.name())?.is_some();
            trials.push(trial(backend, file.clone()).with_ignored_flag(ignored));
        }
    }
    Ok(trials)
}

/// One process for each scenario, as cargo-nextest has it, need not read all the others' files.
fn is_asked(arguments: &Arguments, name: &str) -> bool {
    !arguments.exact || arguments.filter.as_deref() == Some(name)
}

fn trial(backend: Backend, file: ScenarioFile) -> Trial {
    Trial::test(name(backend, &file), move || {
        let scenario = file.load().map_err(|error| error.to_string())?;
        match judge(&Subject::of(backend), &scenario).outcome {
            Outcome::Passed | Outcome::Gap(_) | Outcome::NotMeant(_) => Ok(()),
            Outcome::Failed(reason) => Err(Failed::from(reason)),
        }
    })
}

fn name(backend: Backend, file: &ScenarioFile) -> String {
    format!("{}::{}::{}", backend.name(), file.topic, file.claim)
}
