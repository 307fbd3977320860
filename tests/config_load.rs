//! The configuration as an operator meets it: the documented example loads, and every mistake is shown where it is.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use portcullis::config::{self, ConfigError, Loaded};

/// The example of docs/CONFIG.md, with the secret where the test put it.
const EXAMPLE: &str = r#"
[gateway]
state_dir = "/var/lib/portcullis"
control_socket = "/run/portcullis/control.sock"

[agreement.cbp]
document = "CBP Interconnection Security Agreement"
organisation = "Example Brokers"
basis = "acknowledgement"        # or "latest-signature"
date = 2025-03-01
years = 3

[tunnel.cbp]
agreement = "cbp"
local = "198.51.100.10"
peer = "203.0.113.5"
auth = { method = "psk", secret = "file:PSK" }
ike = ["aes256gcm16-prfsha384-ecp384", "aes256-sha384-ecp384"]     # or a preset: preset = "cisco-ios-xe"
esp = ["aes256gcm16-ecp384-esn", "aes256gcm16-ecp384"]

[[rule]]
name = "mq"
tunnel = "cbp"
clause = "1a"
from = ["192.0.2.10"]
to = ["203.0.113.20"]
service = "mq"
"#;

/// A key of 256 bits as `portcullis genpsk` prints it.
const PSK: &str = "gC0B5yqZ0YkJp8VhXwQm3tR7uLfN1dEs9KoTaWzPi2c=\n";

struct Case {
    directory: tempfile::TempDir,
}

impl Case {
    fn new() -> Self {
        let case = Self { directory: tempfile::tempdir().unwrap() };
        case.secret("psk", PSK, 0o600);
        case
    }

    fn secret(&self, name: &str, content: &str, mode: u32) {
        let path = self.directory.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn file(&self, text: &str) -> PathBuf {
        let path = self.directory.path().join("portcullis.toml");
        fs::write(&path, text.replace("file:PSK", &format!("file:{}/psk", self.directory.path().display()))).unwrap();
        path
    }

    fn load(&self, text: &str) -> Result<Loaded, ConfigError> {
        config::load(&self.file(text))
    }
}

#[test]
fn the_example_loads() {
    let loaded = Case::new().load(EXAMPLE).map_err(|e| panic!("{}", e.render(false))).unwrap();
    assert_eq!(loaded.tunnels[0].name, "cbp");
}
