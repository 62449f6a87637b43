//! Any text is a configuration file or a list of mistakes. What a file means is written back as a file that means the
//! same.

use agent::config::{parse_file, yaml};

/// Without it nothing else of a file is read, and random text hardly ever begins so.
const HEADER: &str = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";

pub(super) fn check(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    // A text that brings a header of its own is one file, any other is one with a header before it.
    let text =
        if text.starts_with("apiVersion") || text.starts_with('{') { text } else { (HEADER.to_owned() + &text).into() };
    let Ok((config, _)) = parse_file("file", &text) else { return };
    // Refused where a URL holds a password.
    let Ok(written) = yaml(&config) else { return };
    let (again, remarks) = parse_file("file", &written).expect("what was written can be read");
    assert_eq!(again, config, "from {text:?}");
    assert_eq!(remarks, [], "from {text:?}");
}
