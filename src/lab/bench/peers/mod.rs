//! Who is measured: no tunnel, Portcullis, and every other tunnel that is installed here.
//!
//! Each is set up for the same two networks on the same wire, with its own usual way and the strongest common cipher that it
//! has. What is not installed is named with the way to have it. A peer that does not start costs its own figures alone.

mod openvpn;
mod portcullis;
mod stage;
mod strongswan;
mod wireguard;
mod xfrm;

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use self::stage::{Stage, wait_for};
use super::BenchError;
use super::site::Site;
use crate::lab::standing::Standing;

pub(super) use self::stage::Running;

/// The longest version that is shown.
const VERSION: usize = 80;

/// Somebody who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// No tunnel: what the network itself carries.
    None,
    /// This very program.
    Portcullis,
    /// strongSwan with its ESP in user space (kernel-libipsec).
    StrongSwan,
    /// wireguard-go.
    WireGuardGo,
    /// boringtun-cli.
    BoringTun,
    /// OpenVPN in user space.
    OpenVpn,
    /// The kernel's IPsec, keys set by hand.
    KernelIpsec,
    /// The kernel's WireGuard.
    KernelWireGuard,
}

/// Somebody who is here.
#[derive(Clone, Debug)]
pub struct Found {
    /// Who.
    pub subject: Subject,
    /// Which version, in its own words.
    pub version: String,
}

/// Somebody who is not.
#[derive(Clone, Debug)]
pub struct Missing {
    /// Who.
    pub subject: Subject,
    /// Why.
    pub why: String,
}

impl Subject {
    /// Everybody but the first two.
    pub const PEERS: [Self; 6] =
        [Self::StrongSwan, Self::WireGuardGo, Self::BoringTun, Self::OpenVpn, Self::KernelIpsec, Self::KernelWireGuard];

    /// Its name in figures.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Portcullis => "portcullis",
            Self::StrongSwan => "strongswan-libipsec",
            Self::WireGuardGo => "wireguard-go",
            Self::BoringTun => "boringtun",
            Self::OpenVpn => "openvpn",
            Self::KernelIpsec => "kernel-ipsec",
            Self::KernelWireGuard => "kernel-wireguard",
        }
    }

    /// What protects its packets here.
    #[must_use]
    pub const fn cipher(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Portcullis => "AES-256-GCM, ESN, ESP in UDP",
            Self::StrongSwan => "AES-256-GCM, ESP in UDP",
            Self::KernelIpsec => "AES-256-GCM, ESN, ESP",
            Self::WireGuardGo | Self::BoringTun | Self::KernelWireGuard => "ChaCha20-Poly1305, UDP",
            Self::OpenVpn => "AES-256-GCM, UDP",
        }
    }

    /// How to have it, on Debian and its kin.
    #[must_use]
    pub const fn install(self) -> &'static str {
        match self {
            Self::None | Self::Portcullis => "",
            Self::StrongSwan => "apt-get install charon-systemd strongswan-swanctl libcharon-extra-plugins",
            Self::WireGuardGo => "apt-get install wireguard-go",
            Self::BoringTun => "cargo install boringtun-cli",
            Self::OpenVpn => "apt-get install openvpn openssl",
            Self::KernelIpsec => "a kernel with CONFIG_INET_ESP; apt-get install iproute2",
            Self::KernelWireGuard => "a kernel with CONFIG_WIREGUARD; apt-get install wireguard-tools iproute2",
        }
    }

    /// Is it here?
    pub fn find(self) -> Result<Found, Missing> {
        let version = match self {
            Self::None => Ok(String::new()),
            Self::Portcullis => Ok(env!("CARGO_PKG_VERSION").to_owned()),
            Self::StrongSwan => strongswan::version(),
            Self::WireGuardGo => version("wireguard-go", &["--version"]),
            Self::BoringTun => version("boringtun-cli", &["--version"]),
            Self::OpenVpn => openvpn::version(),
            Self::KernelIpsec => xfrm::version(),
            Self::KernelWireGuard => wireguard::kernel_version(),
        };
        match version {
            Ok(version) => Ok(Found { subject: self, version }),
            Err(why) => Err(Missing { subject: self, why }),
        }
    }

    /// Starts it at both gateways. That packets pass is for the caller to see.
    pub(super) fn start(self, site: &Site, standing: &Standing) -> Result<Running, BenchError> {
        let folder = standing.folder().join(format!("{}-{}", self.name(), site.wire_mtu));
        let _ = fs::remove_dir_all(&folder);
        let started = fs::create_dir_all(&folder).map_err(BenchError::system("a folder")).and_then(|()| {
            let stage = Stage::new(site, standing, &folder);
            let running = match self {
                Self::None => Ok(Running::default()),
                Self::Portcullis => portcullis::start(&stage),
                Self::StrongSwan => strongswan::start(&stage),
                Self::WireGuardGo => wireguard::start(&stage, "wireguard-go", &["-f"]),
                Self::BoringTun => wireguard::start(&stage, "boringtun-cli", &["-f", "--disable-drop-privileges"]),
                Self::KernelWireGuard => wireguard::start_kernel(&stage),
                Self::OpenVpn => openvpn::start(&stage),
                Self::KernelIpsec => xfrm::start(&stage),
            };
            Ok(Running { commands: stage.commands(), ..running? })
        });
        started.map_err(|error| match error {
            BenchError::System { what, source } => BenchError::Failed(format!("{}: {what}: {source}", self.name())),
            BenchError::Refused(why) | BenchError::Failed(why) => BenchError::Failed(format!("{}: {why}", self.name())),
        })
    }
}

impl Found {
    /// As `--json` shows it, with its MTU and the commands that started it at gateway A.
    #[must_use]
    pub fn json(&self, mtu: Option<u32>, commands: &[String]) -> Value {
        let (name, cipher) = (self.subject.name(), self.subject.cipher());
        json!({"name": name, "version": self.version, "cipher": cipher, "mtu": mtu, "commands": commands})
    }
}

impl Missing {
    /// As `--json` shows it.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({"name": self.subject.name(), "why": self.why, "install": self.subject.install()})
    }
}

/// Where a program is, also where only root looks.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(more).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// The first line that a program says of itself, or that it is not installed.
fn version(name: &str, arguments: &[&str]) -> Result<String, String> {
    let file = program(name).ok_or_else(|| format!("{name} is not installed"))?;
    let output = Command::new(file).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{name} does not start: {error}"))?;
    let said = [output.stdout, output.stderr].concat();
    Ok(first_line(&String::from_utf8_lossy(&said)))
}

/// The first line with anything in it, no longer than a table has room for.
fn first_line(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("version unknown");
    let line = line.split(" [").next().unwrap_or(line);
    line.chars().take(VERSION).collect()
}

/// An address and its port, as most write it.
fn at(address: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(address, port).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_the_first_line_without_what_is_in_brackets() {
        for (said, version) in [
            ("\nwireguard-go v0.0.20220316\n\nUserspace\n", "wireguard-go v0.0.20220316"),
            (
                "OpenVPN 2.6.14 x86_64-pc-linux-gnu [SSL (OpenSSL)] [LZO]\nlibrary\n",
                "OpenVPN 2.6.14 x86_64-pc-linux-gnu",
            ),
            ("", "version unknown"),
        ] {
            assert_eq!(first_line(said), version);
        }
        assert_eq!(first_line(&"x".repeat(1000)).len(), VERSION);
    }

    #[test]
    fn whoever_is_missing_says_why_and_how_to_have_it() {
        assert_eq!(version("no-such-program", &[]).unwrap_err(), "no-such-program is not installed");
        let missing = Missing { subject: Subject::BoringTun, why: "boringtun-cli is not installed".into() };
        assert_eq!(missing.json()["install"], "cargo install boringtun-cli");
        for subject in Subject::PEERS {
            assert!(!subject.install().is_empty() && !subject.cipher().is_empty(), "{subject:?}");
        }
    }
}
