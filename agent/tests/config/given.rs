//! Command lines and files as an operator writes them.

use clap::Parser;
use switchyard_agent::config::{Action, Config, ConfigError, LogFlags, Order, RunFlags};
use tempfile::TempDir;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    run: RunFlags,
    #[command(flatten)]
    log: LogFlags,
}

/// What a command line asks for; `Err` if clap refuses it.
pub(crate) fn order(flags: &[&str]) -> Result<Result<Order, ConfigError>, String> {
    let line = Line::try_parse_from(["switchyard"].iter().chain(flags)).map_err(|error| error.to_string())?;
    Ok(line.run.order(line.log.v))
}

/// A configuration, and what was remarked.
pub(crate) type Read = (Config, Vec<String>);

/// What was found, or every mistake.
pub(crate) fn read(flags: &[&str]) -> Result<Read, Vec<String>> {
    let nowhere = "--write-config-to=/nowhere";
    let flags: Vec<_> = [nowhere].iter().chain(flags).copied().collect();
    let order =
        order(&flags).unwrap().map_err(|error| error.mistakes().iter().map(ToString::to_string).collect::<Vec<_>>())?;
    let Action::WriteConfig { config, .. } = order.action else { panic!("{:?}", order.action) };
    Ok((*config, order.remarks.iter().map(ToString::to_string).collect()))
}

/// The same of a line with words between spaces, on a node `n`.
pub(crate) fn line(flags: &str) -> Result<Read, Vec<String>> {
    let flags: Vec<_> = ["--hostname-override=n"].into_iter().chain(flags.split_whitespace()).collect();
    read(&flags)
}

/// The configuration of a line that has nothing to be remarked.
pub(crate) fn quiet(flags: &str) -> Config {
    let (config, remarks) = line(flags).unwrap();
    assert_eq!(remarks, Vec::<String>::new(), "{flags}");
    config
}

/// A file with `text`, and flags beside it. Where a file is named in what was found, it is `FILE`.
pub(crate) fn file_with(text: &str, flags: &[&str]) -> Result<Read, Vec<String>> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("config.conf");
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap();
    let place = format!("--config={path}");
    let flags: Vec<_> = [place.as_str()].iter().chain(flags).copied().collect();
    let anonymous = |texts: Vec<String>| texts.iter().map(|text| text.replace(path, "FILE")).collect();
    read(&flags).map(|(config, remarks)| (config, anonymous(remarks))).map_err(anonymous)
}

/// A file with these fields below its header, of which the first is in line 3, on a node `n`.
pub(crate) fn fields(fields: &str) -> Result<Read, Vec<String>> {
    let header = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";
    file_with(&format!("{header}{fields}"), &["--hostname-override=n"])
}
