//! The kernel's own IPsec, with keys set by hand: no IKE, tunnel mode, no UDP.

use std::fs;
use std::process::Command;

use super::{Running, Stage, program};
use crate::entropy::Entropy;
use crate::lab::bench::BenchError;
use crate::lab::bench::site::{GATEWAY_A, GATEWAY_B, NETS};
use crate::platform::entropy::OsEntropy;
use crate::platform::namespace::Namespace;

/// Whether the kernel has it: an SA is tried.
pub(super) fn version() -> Result<String, String> {
    program("ip").ok_or("ip is not installed (package iproute2)")?;
    let place = Namespace::new().map_err(|error| format!("it cannot be tried: {error}"))?;
    let mut command = state(0, 0, &"00".repeat(36));
    let output = place.run(move || command.output()).and_then(|output| output).map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(format!("Linux {}", fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim()));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "this kernel has no ESP (CONFIG_INET_ESP) or no AES-GCM: {}",
        said.lines().next().unwrap_or_default().trim()
    ))
}

pub(super) fn start(stage: &Stage<'_>) -> Result<Running, BenchError> {
    for from in 0..2 {
        let mut key = [0; 36];
        OsEntropy.fill(&mut key);
        let key = hex::encode(key);
        for side in 0..2 {
            stage.run(side, &mut state(from, from, &key))?;
        }
    }
    for side in 0..2 {
        for (direction, from) in [("out", side), ("in", 1 - side), ("fwd", 1 - side)] {
            stage.run(side, &mut policy(direction, from))?;
        }
    }
    Ok(Running::default())
}

const GATEWAYS: [std::net::IpAddr; 2] = [GATEWAY_A, GATEWAY_B];

/// The SA from one gateway to the other.
fn state(from: usize, number: usize, key: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["xfrm", "state", "add", "src", &GATEWAYS[from].to_string(), "dst", &GATEWAYS[1 - from].to_string()]);
    command.args(["proto", "esp", "spi", &format!("{:#x}", 0x1000 + number), "reqid", "1", "mode", "tunnel"]);
    command.args(["flag", "esn", "replay-window", "128"]);
    command.args(["aead", "rfc4106(gcm(aes))", &format!("0x{key}"), "128"]);
    command
}

fn policy(direction: &str, from: usize) -> Command {
    let mut command = Command::new("ip");
    command.args(["xfrm", "policy", "add", "src", NETS[from], "dst", NETS[1 - from], "dir", direction]);
    command.args(["tmpl", "src", &GATEWAYS[from].to_string(), "dst", &GATEWAYS[1 - from].to_string()]);
    command.args(["proto", "esp", "reqid", "1", "mode", "tunnel"]);
    command
}
