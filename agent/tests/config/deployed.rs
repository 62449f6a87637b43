//! The configuration files that are deployed.

use std::path::Path;

use serde_json::Value;

use super::given::file_with;

#[test]
fn the_deployed_configuration_is_read_without_a_word() {
    let deployed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kubernetes");
    for file in [
        "base/config.yaml",
        "overlays/nftables/config.yaml",
        "overlays/ipvs/config.yaml",
        "overlays/announce/config.yaml",
    ] {
        let text = std::fs::read_to_string(deployed.join(file)).unwrap();
        let map: Value = serde_saphyr::from_str(&text).unwrap();
        let config = map["data"]["config.conf"].as_str().unwrap();
        let (_, remarks) =
            file_with(config, &["--hostname-override=n"]).unwrap_or_else(|error| panic!("{file}: {error:?}"));
        assert_eq!(remarks, Vec::<String>::new(), "{file}");
    }
}
