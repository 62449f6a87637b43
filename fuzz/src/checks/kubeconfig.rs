//! Any text is a kubeconfig or refused with a reason, and neither the reason nor a warning holds what its files say.

use std::path::Path;

use kubernetes::source::api::check_kubeconfig;

/// What stands in the file `token`.
const SECRET: &str = "hunter2-of-a-file";

pub(super) fn check(bytes: &[u8]) {
    let said = match check_kubeconfig(Path::new("/etc/kubeconfig"), |path| read_file(path, bytes)) {
        Ok(warnings) => warnings,
        Err(reason) => vec![reason],
    };
    for text in said {
        assert!(!text.is_empty());
        assert!(!text.contains(SECRET) || holds(bytes, SECRET), "{text}");
    }
}

/// A kubeconfig beside two files that it may name.
fn read_file(path: &Path, kubeconfig: &[u8]) -> Result<Vec<u8>, String> {
    match path.to_str() {
        Some("/etc/kubeconfig") => Ok(kubeconfig.to_vec()),
        Some("/etc/token") => Ok(SECRET.into()),
        Some("/etc/two") => Ok(format!("{SECRET} {SECRET}").into()),
        _ => Err("No such file or directory".to_owned()),
    }
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}
