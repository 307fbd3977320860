//! Ourselves: this program at both gateways, a lab agreement, everything on that is on in earnest.

use std::path::Path;
use std::time::Duration;

use super::{Running, Stage};
use crate::entropy::Entropy;
use crate::lab::bench::BenchError;
use crate::lab::bench::ends::PORT;
use crate::lab::bench::site::{GATEWAY_A, GATEWAY_B, HOST_A, HOST_B};
use crate::lab::gateway::Gateway;
use crate::platform::entropy::OsEntropy;

/// How long the tunnel may take to come up.
const COME_UP: Duration = Duration::from_secs(15);

pub(super) fn start(stage: &Stage<'_>) -> Result<Running, BenchError> {
    let mut psk = [0; 32];
    OsEntropy.fill(&mut psk);
    let psk = hex::encode(psk);
    let start = |side: usize| {
        let folder = stage.folder.join(if side == 0 { "a" } else { "b" });
        if side == 0 {
            stage.commands.borrow_mut().push("portcullis run portcullis.toml".to_owned());
        }
        let gateway =
            Gateway::start(Path::new("/proc/self/exe"), stage.gateways()[side], &folder, &config(side, &psk), None);
        let gateway = gateway.map_err(BenchError::system("a gateway"))?;
        stage.standing.watch(gateway.pid());
        Ok(gateway)
    };
    let mut pair = [start(0)?, start(1)?];
    for (gateway, name) in pair.iter_mut().zip(["A", "B"]) {
        if gateway.wait_until_up(COME_UP).is_none() {
            let log = gateway.log();
            let last = log.lines().last().unwrap_or_default();
            return Err(BenchError::Failed(format!("gateway {name} does not bring its tunnel up: {last}")));
        }
    }
    Ok(Running { gateways: Some(Box::new(pair)), device: Some("portcullis0".into()), ..Running::default() })
}

/// Only A opens the tunnel, so that handshakes can be counted.
fn config(side: usize, psk: &str) -> String {
    let (local, peer) = if side == 0 { (GATEWAY_A, GATEWAY_B) } else { (GATEWAY_B, GATEWAY_A) };
    let (direction, begin) = if side == 0 { ("outbound", "always") } else { ("inbound", "manual") };
    let rule = |service: &str, ports: &str| {
        format!(
            "\n[[rule]]\nname = \"{service}\"\ntunnel = \"bench\"\nclause = \"bench\"\nfrom = [\"{HOST_A}\"]\nto = [\"{HOST_B}\"]\n\
             service = \"{service}\"\n{service} = [{ports}]\ndirection = \"{direction}\"\n"
        )
    };
    format!(
        r#"[gateway]
state_dir = "@FOLDER@/state"
control_socket = "@FOLDER@/control.sock"

[agreement.bench]
kind = "lab"

[tunnel.bench]
agreement = "bench"
local = "{local}"
peer = "{peer}"
auth = {{ method = "psk", secret = "hex:{psk}" }}
ike = ["aes256gcm16-prfsha384-ecp384"]
esp = ["aes256gcm16-ecp384-esn"]
encapsulation = "forced"
start = "{begin}"
{}{}"#,
        rule("tcp", &PORT.to_string()),
        rule("udp", &format!("{PORT}, {}", PORT + 1)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_files_load() {
        let folder = tempfile::tempdir().unwrap();
        let key = "3f9c1de0a7b45826f10e6cd27b9835a4c8fe21d09a6437b5e2186f0dc95ba374";
        for side in 0..2 {
            let file = folder.path().join("portcullis.toml");
            let text = config(side, key).replace("@FOLDER@", folder.path().to_str().unwrap());
            crate::lab::gateway::write_private(&file, &text).unwrap();
            crate::config::load(&file).unwrap();
        }
    }
}
