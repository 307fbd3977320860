//! A configuration file and its secrets in a directory of their own.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use portcullis::config::{self, ConfigError, Loaded};

/// The example of docs/CONFIG.md; `file:PSK` becomes a file with a good key.
pub const EXAMPLE: &str = r#"[gateway]
state_dir = "/var/lib/portcullis"
control_socket = "/run/portcullis/control.sock"

[agreement.cbp]
document = "CBP Interconnection Security Agreement"
document_digest = "sha256:9f2c4d1e8b7a60535c1d2e3f405162738495a6b7c8d9eafb0c1d2e3f40516273"
organisation = "Example Brokers"
classification = "sensitive-but-unclassified"
basis = "acknowledgement"        # or "latest-signature"
date = 2025-03-01
years = 3
contacts = { authorising-official = "J. Doe", system-owner = "J. Doe", security-officer = "R. Roe", security-manager = "R. Roe", primary = "vpn@example.com" }

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

/// The host of the example behind another address, as the documentation has it.
pub const TRANSLATE: &str = r#"
[[translate]]
tunnel = "cbp"
inside = "10.1.0.10"
outside = "192.0.2.10"
"#;

/// What only an agreement of kind `lab` may do.
pub const LAB: &str = r#"
[agreement.bench]
kind = "lab"

[tunnel.bench]
agreement = "bench"
local = "2001:db8:a::1"
peer = "2001:db8:b::1"
auth = { method = "psk", secret = "file:PSK" }
ike = ["chacha20poly1305-prfsha256-curve25519"]
esp = ["aes256gcm16-ecp384"]
start = "manual"
selectors = "service"

[[rule]]
name = "dns"
tunnel = "bench"
clause = "none"
from = ["2001:db8:1::1"]
to = ["2001:db8:2::1"]
service = "udp"
udp = [53]

[[rule]]
name = "ping"
tunnel = "bench"
clause = "none"
from = ["2001:db8:2::1"]
to = ["2001:db8:1::1"]
service = "echo"
direction = "inbound"
"#;

/// A key of 256 bits as `portcullis genpsk` prints it.
pub const PSK: &str = "gC0B5yqZ0YkJp8VhXwQm3tR7uLfN1dEs9KoTaWzPi2c=\n";

/// A directory for one case.
pub struct Case {
    directory: tempfile::TempDir,
}

impl Case {
    /// A directory with a good key in `psk`.
    pub fn new() -> Self {
        let case = Self { directory: tempfile::tempdir().expect("a temporary directory") };
        case.secret("psk", PSK, 0o600);
        case
    }

    /// A path in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a secret.
    pub fn secret(&self, name: &str, content: &str, mode: u32) {
        fs::write(self.path(name), content).expect("a file");
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).expect("a mode");
    }

    /// Writes the configuration file.
    pub fn file(&self, text: &str) -> PathBuf {
        let path = self.path("portcullis.toml");
        fs::write(&path, text.replace("file:PSK", &format!("file:{}", self.path("psk").display()))).expect("a file");
        path
    }

    /// Writes and loads it.
    pub fn load(&self, text: &str) -> Result<Loaded, ConfigError> {
        config::load(&self.file(text))
    }
}

/// The processors that this process may use.
pub fn processors() -> Vec<usize> {
    portcullis::platform::privileges::processors().expect("a set of processors")
}
