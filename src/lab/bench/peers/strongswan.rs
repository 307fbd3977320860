//! strongSwan with ESP in user space: the plugin kernel-libipsec in place of the kernel's IPsec.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Running, Stage, first_line, program, wait_for};
use crate::entropy::Entropy;
use crate::lab::bench::BenchError;
use crate::lab::bench::site::{GATEWAY_A, GATEWAY_B, NETS};
use crate::lab::gateway::write_private;
use crate::platform::entropy::OsEntropy;

const PLUGIN: [&str; 2] = ["/usr/lib/ipsec/plugins", "/usr/lib/strongswan/plugins"];
/// What its TUN device is called.
const DEVICE: &str = "ipsec0";

/// The plugin, where distributions put it.
fn plugin() -> Option<PathBuf> {
    PLUGIN.iter().map(|folder| Path::new(folder).join("libstrongswan-kernel-libipsec.so")).find(|file| file.exists())
}

/// Its version, if daemon, tool and plugin are here.
pub(super) fn version() -> Result<String, String> {
    program("charon-systemd").ok_or("charon-systemd is not installed")?;
    plugin().ok_or("the plugin kernel-libipsec is not installed")?;
    program("swanctl").ok_or("swanctl is not installed")?;
    // Only a running daemon tells its version.
    Ok("strongSwan".into())
}

pub(super) fn start(stage: &Stage<'_>) -> Result<Running, BenchError> {
    let mut psk = [0; 32];
    OsEntropy.fill(&mut psk);
    let psk = hex::encode(psk);
    let mut running = Running { device: Some(DEVICE.into()), ..Running::default() };
    let daemon =
        program("charon-systemd").ok_or_else(|| BenchError::Failed("charon-systemd is not installed".into()))?;
    for side in [1, 0] {
        let folder = stage.folder.join(["a", "b"][side]);
        let write = || {
            fs::create_dir_all(&folder)?;
            write_private(&folder.join("strongswan.conf"), &daemon_settings(&folder))?;
            write_private(&folder.join("swanctl.conf"), &connection(side, &psk))
        };
        write().map_err(BenchError::system("its configuration"))?;
        let settings = folder.join("strongswan.conf");
        stage.spawn(&mut running, side, Command::new(&daemon).env("STRONGSWAN_CONF", &settings))?;
        let socket = folder.join("vici");
        if !wait_for(|| socket.exists()) {
            return Err(BenchError::Failed(format!("no socket: {}", running.last_words())));
        }
        let mut load = Command::new("swanctl");
        load.env("STRONGSWAN_CONF", &settings).args(["--load-all", "--file"]).arg(folder.join("swanctl.conf"));
        stage.run(side, &mut load)?;
    }
    let settings = stage.folder.join("a").join("strongswan.conf");
    let mut told = Command::new("swanctl");
    let told = stage.run(0, told.env("STRONGSWAN_CONF", &settings).arg("--version"));
    running.version = told.ok().map(|said| first_line(&said));
    let mut initiate = Command::new("swanctl");
    stage.run(
        0,
        initiate.env("STRONGSWAN_CONF", &settings).args(["--initiate", "--child", "bench", "--timeout", "10"]),
    )?;
    for side in 0..2 {
        // Its MTU is 1400 whatever the wire's is: it reads no longer packets, even from a device that takes them.
        stage.route_into(side, DEVICE, None)?;
    }
    Ok(running)
}

fn daemon_settings(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "charon-systemd {{\n  load = random nonce openssl sha1 sha2 hmac pem pkcs1 pkcs8 x509 pubkey constraints kdf \
         kernel-libipsec kernel-netlink socket-default vici updown\n  \
         filelog {{\n    file {{\n      path = {folder}/log\n      default = 1\n    }}\n  }}\n  \
         plugins {{\n    vici {{\n      socket = unix://{folder}/vici\n    }}\n  }}\n}}\n\
         swanctl {{\n  socket = unix://{folder}/vici\n}}\n"
    )
}

fn connection(side: usize, psk: &str) -> String {
    let gateways = [GATEWAY_A, GATEWAY_B];
    let (local, remote) = (gateways[side], gateways[1 - side]);
    format!(
        "connections {{\n  bench {{\n    version = 2\n    local_addrs = {local}\n    remote_addrs = {remote}\n    \
         proposals = aes256gcm16-prfsha384-ecp384\n    encap = yes\n    \
         local {{\n      auth = psk\n      id = {local}\n    }}\n    remote {{\n      auth = psk\n      id = {remote}\n    }}\n    \
         children {{\n      bench {{\n        local_ts = {}\n        remote_ts = {}\n        \
         esp_proposals = aes256gcm16-ecp384\n        start_action = none\n      }}\n    }}\n  }}\n}}\n\
         secrets {{\n  ike {{\n    secret = 0x{psk}\n  }}\n}}\n",
        NETS[side],
        NETS[1 - side]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_side_names_the_other_and_the_same_key() {
        let (a, b) = (connection(0, "abcd"), connection(1, "abcd"));
        assert!(a.contains("local_addrs = 198.51.100.10\n") && a.contains("remote_ts = 10.20.0.0/24\n"), "{a}");
        assert!(b.contains("local_addrs = 198.51.100.20\n") && b.contains("remote_ts = 192.0.2.0/24\n"), "{b}");
        assert!(a.contains("secret = 0xabcd") && b.contains("secret = 0xabcd"));
    }
}
