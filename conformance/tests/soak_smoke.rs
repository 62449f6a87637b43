//! Some seconds of the soak test: what is lost is judged, speed and growth are not.

use std::process::Command;

#[test]
fn changes_and_dials_of_some_seconds_lose_nothing() {
    if testbed::privilege::skip() {
        return;
    }
    let output = Command::new(env!("CARGO_BIN_EXE_soak"))
        .args(["--minutes", "0.05", "--changes", "100", "--dials", "100", "--services", "50"])
        .output()
        .unwrap();
    let [said, failed] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(output.status.success() && said.contains("nothing failed, nothing grew"), "{said}{failed}");
}
