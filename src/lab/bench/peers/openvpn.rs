//! OpenVPN between two points, in user space, each knowing the other's certificate by its fingerprint.

use std::path::Path;
use std::process::Command;

use super::{Running, Stage, program};
use crate::lab::bench::BenchError;
use crate::lab::bench::site::{GATEWAY_A, GATEWAY_B};

const PORT: &str = "1194";
const DEVICE: &str = "ovpn0";

/// Its version, if it and the maker of certificates are here.
pub(super) fn version() -> Result<String, String> {
    program("openssl").ok_or("openssl is not installed")?;
    super::version("openvpn", &["--version"])
}

pub(super) fn start(stage: &Stage<'_>) -> Result<Running, BenchError> {
    let daemon = program("openvpn").ok_or_else(|| BenchError::Failed("openvpn is not installed".into()))?;
    let prints = [certificate(stage, 0)?, certificate(stage, 1)?];
    let addresses = [GATEWAY_A.to_string(), GATEWAY_B.to_string()];
    // Its device takes packets that are as long as the wire's are without IP, UDP, its own header and its tag.
    let mtu = stage.site.wire_mtu - 20 - 8 - 24 - 48;
    let mut running = Running { device: Some(DEVICE.into()), ..Running::default() };
    for side in [1, 0] {
        let file = |end: &str| stage.folder.join(format!("{side}.{end}"));
        let mut command = Command::new(&daemon);
        command.args(["--dev", DEVICE, "--dev-type", "tun", "--proto", "udp4", "--topology", "p2p", "--verb", "1"]);
        command.args(["--local", &addresses[side], "--port", PORT, "--remote", &addresses[1 - side], PORT]);
        command.args(["--ifconfig", ["10.99.0.1", "10.99.0.2"][side], ["10.99.0.2", "10.99.0.1"][side]]);
        command.args([["--tls-client", "--tls-server"][side], "--peer-fingerprint", &prints[1 - side]]);
        command.arg("--cert").arg(file("crt")).arg("--key").arg(file("key")).args(["--data-ciphers", "AES-256-GCM"]);
        command.args(["--tun-mtu", &mtu.to_string(), "--disable-dco", "--sndbuf", "4194304", "--rcvbuf", "4194304"]);
        if side == 1 {
            command.args(["--dh", "none"]);
        }
        stage.spawn(&mut running, side, &mut command)?;
    }
    for side in 0..2 {
        stage
            .route_into(side, DEVICE, None)
            .map_err(|error| BenchError::Failed(format!("{error}: {}", running.last_words())))?;
    }
    Ok(running)
}

/// Makes a certificate of its own for one side and gives its fingerprint.
fn certificate(stage: &Stage<'_>, side: usize) -> Result<String, BenchError> {
    let file = |end: &str| stage.folder.join(format!("{side}.{end}"));
    let mut make = Command::new("openssl");
    make.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp384r1", "-nodes", "-days", "2"]);
    make.args(["-subj", &format!("/CN=bench-{side}")]).arg("-keyout").arg(file("key")).arg("-out").arg(file("crt"));
    stage.run(side, &mut make)?;
    fingerprint(stage, side, &file("crt"))
}

fn fingerprint(stage: &Stage<'_>, side: usize, certificate: &Path) -> Result<String, BenchError> {
    let mut show = Command::new("openssl");
    let said = stage.run(side, show.args(["x509", "-noout", "-fingerprint", "-sha256", "-in"]).arg(certificate))?;
    read_fingerprint(&said).ok_or_else(|| BenchError::Failed("openssl shows no fingerprint".into()))
}

/// `sha256 Fingerprint=AA:BB:...`
fn read_fingerprint(said: &str) -> Option<String> {
    let (_, print) = said.trim().split_once('=')?;
    let bytes = print.split(':').filter(|byte| byte.len() == 2 && byte.chars().all(|c| c.is_ascii_hexdigit())).count();
    (bytes == 32).then(|| print.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_has_thirty_two_bytes() {
        let print = ["0A"; 32].join(":");
        assert_eq!(read_fingerprint(&format!("sha256 Fingerprint={print}\n")), Some(print.clone()));
        assert_eq!(read_fingerprint("sha256 Fingerprint=0A:0B"), None);
        assert_eq!(read_fingerprint("unable to load certificate"), None);
    }
}
