//! Who is measured: no tunnel, Portcullis, and every other tunnel that is installed here.
//!
//! Each is set up for the same two networks on the same wire, with its own usual way and the strongest common cipher that it
//! has. What is not installed is named with the way to have it. A peer that does not start costs its own figures alone.

mod openvpn;
mod portcullis;
mod strongswan;
mod wireguard;
mod xfrm;

use std::cell::RefCell;
use std::fs::{self, OpenOptions};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::BenchError;
use super::pins::Pins;
use super::site::{HOST_B, NETS, Site};
use crate::lab::gateway::Gateway;
use crate::lab::standing::Standing;
use crate::lab::topology::spawn_in;
use crate::platform::child::dies_with_its_parent;
use crate::platform::clock;
use crate::platform::namespace::Namespace;
use crate::platform::netlink::{Netlink, Route};
use crate::platform::privileges::bind_process;

/// How long a peer may take to make its device or socket.
const PATIENCE: Duration = Duration::from_secs(10);
/// No word of a command but a key is so long.
const KEY: usize = 40;
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
            let stage = Stage { site, standing, folder: &folder, commands: RefCell::default() };
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
            Ok(Running { commands: stage.commands.into_inner(), ..running? })
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

/// Where a peer is started.
struct Stage<'a> {
    site: &'a Site,
    standing: &'a Standing,
    folder: &'a Path,
    /// What was run at gateway A.
    commands: RefCell<Vec<String>>,
}

/// A tunnel that stands, until this is dropped.
#[derive(Default)]
pub(super) struct Running {
    children: Children,
    /// Ours, which can be spoken to.
    pub(super) gateways: Option<Box<[Gateway; 2]>>,
    /// Gateway A's device, which has the tunnel's MTU where no route has another.
    device: Option<String>,
    /// Its version, where it tells that only while it runs.
    pub(super) version: Option<String>,
    logs: Vec<PathBuf>,
    sockets: Sockets,
    /// What was run at gateway A to have it.
    pub(super) commands: Vec<String>,
}

impl Running {
    /// The processes of both gateways.
    pub(super) fn processes(&self) -> Vec<u32> {
        let ours = self.gateways.iter().flat_map(|pair| pair.iter().map(Gateway::pid));
        self.children.0.iter().map(Child::id).chain(ours).collect()
    }

    /// Binds the processes of each gateway to its processor.
    pub(super) fn bind(&self, pins: Pins) -> Result<(), BenchError> {
        // Each peer is started at gateway A, then at gateway B, and so on.
        let sides = pins.gateways.into_iter().cycle();
        let mut each = self.processes().into_iter().zip(sides);
        each.try_for_each(|(process, processor)| bind_process(process, processor))
            .map_err(BenchError::system("binding a gateway to a processor"))
    }

    /// The longest packet that it takes: the MTU of its route, or else of its device.
    pub(super) fn mtu(&self, site: &Site) -> Option<u32> {
        let device = self.device.as_ref()?;
        let look = || -> io::Result<Option<u32>> {
            let mut netlink = Netlink::open()?;
            let Some(link) = netlink.link(device)? else { return Ok(None) };
            let routes = netlink.routes()?;
            let leads = |route: &&Route| route.device == Some(link.index) && route.destination.contains(&HOST_B);
            Ok(Some(routes.iter().find(leads).and_then(|route| route.mtu).unwrap_or(link.mtu)))
        };
        site.gateway_a.run(look).ok()?.ok()?
    }

    /// What its processes said at last.
    pub(super) fn last_words(&self) -> String {
        let mut words: Vec<String> = self.logs.iter().filter_map(|log| fs::read_to_string(log).ok()).collect();
        words.extend(self.gateways.iter().flat_map(|pair| pair.iter().map(Gateway::log)));
        let last = |text: &String| text.lines().rev().take(3).map(str::to_owned).collect::<Vec<_>>();
        let lines: Vec<String> = words.iter().flat_map(|text| last(text).into_iter().rev()).collect();
        lines.join("; ")
    }
}

/// Files that peers make outside their folder, and leave behind when they are killed.
#[derive(Default)]
struct Sockets(Vec<PathBuf>);

impl Drop for Sockets {
    fn drop(&mut self) {
        for file in &self.0 {
            let _ = fs::remove_file(file);
        }
    }
}

/// Processes that end with this.
#[derive(Default)]
struct Children(Vec<Child>);

impl Drop for Children {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Stage<'_> {
    /// Gateway A, then gateway B.
    fn gateways(&self) -> [&Namespace; 2] {
        [&self.site.gateway_a, &self.site.gateway_b]
    }

    /// Remembers a command, for whoever wants to do the same: without the keys in it, and without the place of its files.
    fn note(&self, side: usize, command: &Command) {
        if side == 0 {
            let words = std::iter::once(command.get_program()).chain(command.get_args());
            self.commands
                .borrow_mut()
                .push(words.map(|word| told(&word.to_string_lossy(), self.folder)).collect::<Vec<_>>().join(" "));
        }
    }

    /// Starts a process at a gateway, with what it says in a file beside it. Call it from the thread that outlives it.
    fn spawn(&self, running: &mut Running, side: usize, command: &mut Command) -> Result<(), BenchError> {
        self.note(side, command);
        let log = self.folder.join(format!("log-{side}-{}", running.children.0.len()));
        let mut spawn = || {
            let output = OpenOptions::new().create(true).append(true).mode(0o600).open(&log)?;
            command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
            spawn_in(self.gateways()[side], dies_with_its_parent(command))
        };
        let child = spawn().map_err(BenchError::system("its process"))?;
        self.standing.watch(child.id());
        running.children.0.push(child);
        running.logs.push(log);
        Ok(())
    }

    /// Runs a command at a gateway to its end.
    fn run(&self, side: usize, command: &mut Command) -> Result<String, BenchError> {
        self.note(side, command);
        let what = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null());
        let output = self.gateways()[side].run(move || command.output()).and_then(|output| output);
        let output = output.map_err(BenchError::system(&what))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
            return Err(BenchError::Failed(format!("{what}: {said}")));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Waits for a device at a gateway, brings it up with this MTU and sends the other side's network into it.
    fn route_into(&self, side: usize, device: &str, mtu: Option<u32>) -> Result<(), BenchError> {
        let far: IpNet = NETS[1 - side].parse().expect("a network of this room");
        let end = clock::now() + PATIENCE;
        let done = self.gateways()[side].run(|| -> io::Result<()> {
            let mut netlink = Netlink::open()?;
            let index = loop {
                match netlink.link(device)? {
                    Some(link) => break link.index,
                    None if clock::now() < end => std::thread::sleep(Duration::from_millis(20)),
                    None => return Err(io::Error::new(io::ErrorKind::NotFound, "it does not appear")),
                }
            };
            if let Some(mtu) = mtu {
                netlink.set_mtu(index, mtu)?;
            }
            netlink.set_up(index, true)?;
            netlink.replace_route(&Route::by_device(far, index))
        });
        done.and_then(|done| done).map_err(BenchError::system(&format!("the device {device}")))
    }
}

/// A word of a command as it is shown.
fn told(word: &str, folder: &Path) -> String {
    let word = word.replace(&*folder.to_string_lossy(), "FOLDER");
    // A key in hexadecimal or base64: made for this run, and nobody's business all the same.
    let is_key = word.len() >= KEY && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
    let is_text = word.contains([' ', '(', ')', '\'']);
    match () {
        () if is_key => "KEY".to_owned(),
        () if is_text => format!("\"{word}\""),
        () => word,
    }
}

/// Waits until `is` holds.
fn wait_for(mut is: impl FnMut() -> bool) -> bool {
    let end = clock::now() + PATIENCE;
    while !is() {
        if clock::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
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
    fn commands_are_shown_without_keys_and_places() {
        let folder = Path::new("/tmp/a");
        for (word, shown) in [
            ("--config=/tmp/a/x.conf", "--config=FOLDER/x.conf"),
            (&*format!("0x{}", "ab".repeat(36)), "KEY"),
            ("mKFxKpWe0nBnJ6ZbNHfBlI3p7wq0Fl3g8V4i7TV/1Xk=", "KEY"),
            ("rfc4106(gcm(aes))", "\"rfc4106(gcm(aes))\""),
            ("203.0.113.5:51820", "203.0.113.5:51820"),
        ] {
            assert_eq!(told(word, folder), shown);
        }
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
