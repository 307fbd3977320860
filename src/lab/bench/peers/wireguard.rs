//! WireGuard: in user space (wireguard-go, boringtun), told what to do over the socket that both have for that, or the
//! kernel's, told by `wg`. Keys are made here; they live as long as the run.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use x25519_dalek::{PublicKey, StaticSecret};

use super::{Running, Stage, at, program, version, wait_for};
use crate::entropy::Entropy;
use crate::lab::bench::BenchError;
use crate::lab::bench::site::{GATEWAY_A, GATEWAY_B, NETS};
use crate::lab::gateway::write_private;
use crate::platform::entropy::OsEntropy;
use crate::platform::namespace::Namespace;

const PORT: u16 = 51_820;
/// IPv6, UDP, WireGuard's header and tag: what its own tools take off the wire's MTU.
const OVERHEAD: u32 = 80;

/// Private and public keys of both gateways.
struct Keys([(StaticSecret, PublicKey); 2]);

impl Keys {
    fn new() -> Self {
        Self([(); 2].map(|()| {
            let mut bytes = [0; 32];
            OsEntropy.fill(&mut bytes);
            let secret = StaticSecret::from(bytes);
            let public = PublicKey::from(&secret);
            (secret, public)
        }))
    }
}

/// Starts `name` with `arguments` and a device's name.
pub(super) fn start(stage: &Stage<'_>, name: &str, arguments: &[&str]) -> Result<Running, BenchError> {
    let file = program(name).ok_or_else(|| BenchError::Failed(format!("{name} is not installed")))?;
    let keys = Keys::new();
    let mut running = Running { device: Some(device(0)), ..Running::default() };
    for side in 0..2 {
        let socket = PathBuf::from(format!("/var/run/wireguard/{}.sock", device(side)));
        running.sockets.0.push(socket.clone());
        let mut command = Command::new(&file);
        command.args(arguments).arg(device(side)).env("LOG_LEVEL", "error").env("WG_LOG_LEVEL", "error");
        stage.spawn(&mut running, side, &mut command)?;
        if !wait_for(|| socket.exists()) {
            return Err(BenchError::Failed(format!("no socket: {}", running.last_words())));
        }
        let told = tell(&socket, &settings(side, &keys));
        told.map_err(BenchError::system("its configuration"))?;
        stage.route_into(side, &device(side), Some(stage.site.wire_mtu - OVERHEAD))?;
    }
    Ok(running)
}

/// The kernel's own.
pub(super) fn start_kernel(stage: &Stage<'_>) -> Result<Running, BenchError> {
    let keys = Keys::new();
    for side in 0..2 {
        let (secret, _) = &keys.0[side];
        let (_, public) = &keys.0[1 - side];
        let file = stage.folder.join(format!("key-{side}"));
        let key = STANDARD.encode(secret.to_bytes());
        write_private(&file, &key).map_err(BenchError::system("a key file"))?;
        stage.run(side, Command::new("ip").args(["link", "add", &device(side), "type", "wireguard"]))?;
        let mut command = Command::new("wg");
        command.args(["set", &device(side), "listen-port", &PORT.to_string(), "private-key"]).arg(&file);
        command.args(["peer", &STANDARD.encode(public.as_bytes()), "allowed-ips", NETS[1 - side]]);
        command.args(["endpoint", &at([GATEWAY_B, GATEWAY_A][side], PORT)]);
        stage.run(side, &mut command)?;
        stage.route_into(side, &device(side), Some(stage.site.wire_mtu - OVERHEAD))?;
    }
    Ok(Running { device: Some(device(0)), ..Running::default() })
}

/// Whether the kernel has it.
pub(super) fn kernel_version() -> Result<String, String> {
    version("wg", &["--version"])?;
    program("ip").ok_or("ip is not installed (package iproute2)")?;
    let place = Namespace::new().map_err(|error| format!("it cannot be tried: {error}"))?;
    let mut command = Command::new("ip");
    command.args(["link", "add", "probe", "type", "wireguard"]);
    let output = place.run(move || command.output()).and_then(|output| output).map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(format!("Linux {}", fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim()));
    }
    Err("this kernel has no WireGuard (CONFIG_WIREGUARD)".into())
}

/// Sockets of both gateways lie in one folder, so their names differ, also from those of other runs.
fn device(side: usize) -> String {
    format!("pcb{}{}", std::process::id() % 1_000_000_000, ["a", "b"][side])
}

/// The words of WireGuard's cross-platform interface (wireguard.com/xplatform).
fn settings(side: usize, keys: &Keys) -> String {
    let (secret, _) = &keys.0[side];
    let (_, public) = &keys.0[1 - side];
    format!(
        "set=1\nprivate_key={}\nlisten_port={PORT}\nreplace_peers=true\npublic_key={}\nendpoint={}\nreplace_allowed_ips=true\n\
         allowed_ip={}\n\n",
        hex::encode(secret.to_bytes()),
        hex::encode(public.as_bytes()),
        at([GATEWAY_B, GATEWAY_A][side], PORT),
        NETS[1 - side],
    )
}

fn tell(socket: &std::path::Path, settings: &str) -> io::Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(settings.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    if answer.trim() == "errno=0" { Ok(()) } else { Err(io::Error::other(format!("it answers {}", answer.trim()))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_side_is_told_the_others_public_key_and_place() {
        let keys = Keys::new();
        let (a, b) = (settings(0, &keys), settings(1, &keys));
        assert!(a.contains("endpoint=198.51.100.20:51820\n") && a.contains("allowed_ip=10.20.0.0/24\n\n"));
        assert!(b.contains("endpoint=198.51.100.10:51820\n") && b.contains("allowed_ip=192.0.2.0/24\n\n"));
        assert!(a.contains(&format!("public_key={}", hex::encode(keys.0[1].1.as_bytes()))));
        assert!(device(0).len() < 16 && device(0) != device(1));
    }
}
