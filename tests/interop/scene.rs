//! One case: the network, Portcullis as gateway A, charon as gateway B, the capture between them and its decryption.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use portcullis::lab::capture::{Capture, Sightings};
use portcullis::lab::gateway::{Gateway, write_private};
use portcullis::lab::mq_session::Tally;
use portcullis::lab::topology::{Topology, V4, inner_networks};
use portcullis::runtime::protocol::Request;
use serde_json::Value;
use tempfile::TempDir;

use super::charon::{Charon, Connection, Side};

/// Who opens the IKE SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opener {
    /// Portcullis.
    We,
    /// charon.
    Peer,
}

/// What a test changes of our configuration.
#[derive(Clone, Debug)]
pub struct Ours {
    /// IKE suites.
    pub ike: &'static str,
    /// ESP suites.
    pub esp: &'static str,
    /// The preshared key, in hexadecimal.
    pub psk: String,
    /// The remote end of the rule.
    pub to: String,
    /// How both sides prove themselves, in place of the preshared key.
    pub auth: Option<String>,
    /// Further lines of the gateway.
    pub gateway: &'static str,
    /// Further lines of the tunnel.
    pub tunnel: &'static str,
    /// Further lines of the rule.
    pub rule: &'static str,
}

impl Default for Ours {
    fn default() -> Self {
        Self {
            ike: "aes256gcm16-prfsha384-ecp384",
            esp: "aes256gcm16-ecp384",
            psk: super::PSK.into(),
            to: V4.host_b.to_string(),
            auth: None,
            gateway: "",
            tunnel: "",
            rule: "",
        }
    }
}

/// The stage of one case.
pub struct Scene {
    /// The network.
    pub topology: Topology,
    folder: TempDir,
    capture: Option<Capture>,
}

impl Scene {
    /// Sets it up, or says why it cannot be.
    pub fn set(name: &str) -> Option<Self> {
        let topology = super::topology(name)?;
        topology.cut_to_packets().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let ring = topology.watch_underlay().unwrap();
        let capture = Capture::start(ring, inner_networks(), Some(&folder.path().join("underlay.pcap"))).unwrap();
        Some(Self { topology, folder, capture: Some(capture) })
    }

    /// The configuration file of gateway A, once it was started.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("portcullis").join("portcullis.toml")
    }

    /// Starts Portcullis as gateway A. It opens the tunnel by itself only if it is the opener.
    pub fn portcullis(&self, ours: &Ours, opener: Opener) -> Gateway {
        let start = if opener == Opener::We { "always" } else { "manual" };
        let Ours { ike, esp, psk, to, auth, gateway, tunnel, rule } = ours;
        let psk = || format!("auth = {{ method = \"psk\", secret = \"hex:{psk}\" }}");
        let auth = auth.clone().unwrap_or_else(psk);
        let config = format!(
            "[gateway]\nstate_dir = \"@FOLDER@/state\"\ncontrol_socket = \"@FOLDER@/control.sock\"\n{gateway}\n\
             [agreement.lab]\nkind = \"lab\"\n\n\
             [tunnel.peer]\nagreement = \"lab\"\nlocal = \"{local}\"\npeer = \"{peer}\"\nstart = \"{start}\"\n\
             {auth}\nike = [\"{ike}\"]\nesp = [\"{esp}\"]\n{tunnel}\n\n\
             [[rule]]\nname = \"mq\"\ntunnel = \"peer\"\nclause = \"lab\"\nfrom = [\"{from}\"]\nto = [\"{to}\"]\n\
             service = \"mq\"\n{rule}\n",
            local = V4.gateway_a,
            peer = V4.gateway_b,
            from = V4.host_a,
        );
        self.portcullis_with(&config)
    }

    /// Starts Portcullis as gateway A with a whole configuration.
    pub fn portcullis_with(&self, config: &str) -> Gateway {
        let program = Path::new(env!("CARGO_BIN_EXE_portcullis"));
        let folder = self.folder.path().join("portcullis");
        let mut gateway =
            Gateway::start(program, &self.topology.gateway_a, &folder, config, Some(&self.keys())).unwrap();
        let speaks = gateway.wait_for(Duration::from_secs(10), |_| true);
        assert!(speaks.is_some(), "the gateway does not start:\n{}", gateway.log());
        gateway
    }

    /// Gives the running gateway A another configuration.
    pub fn reload(&self, gateway: &Gateway, config: &str) {
        let folder = self.folder.path().join("portcullis");
        write_private(&self.file(), &config.replace("@FOLDER@", &folder.to_string_lossy())).unwrap();
        let answer = gateway.request(&Request::Reload {}).unwrap();
        assert!(answer["error"].is_null(), "{answer}");
    }

    /// A folder for whatever a case needs beside the configuration.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts charon as gateway B.
    pub fn charon(&self, connection: &Connection) -> Charon {
        Charon::start(&self.topology, Side::B, self.folder.path(), connection)
    }

    /// Starts charon as gateway B with a whole swanctl.conf, and `more` lines of strongswan.conf.
    pub fn charon_with(&self, swanctl: &str, more: &str) -> Charon {
        Charon::start_among(&self.topology, Side::B, self.folder.path(), swanctl, &[], more)
    }

    /// Starts charon as gateway B with what Portcullis prints for it, word for word.
    pub fn charon_as_told(&self, name: &str, file: &Path) -> Charon {
        let program = env!("CARGO_BIN_EXE_portcullis");
        let arguments = ["peer-config", name, "--for", "strongswan", "--with-secret"];
        let output = Command::new(program).args(arguments).arg(file).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && error.is_empty(), "peer-config: {error}");
        let swanctl = String::from_utf8(output.stdout).unwrap();
        Charon::start_with(&self.topology, Side::B, self.folder.path(), &swanctl)
    }

    /// A file each way between host A and the host that charon is.
    pub fn transfer(&self) -> Result<Tally, String> {
        super::transfer(&self.topology.host_a, &self.topology.gateway_b)
    }

    /// Ends the capture: nothing of ours may have been in clear. charon, once its SA is deleted, sends the last ACK of a
    /// connection in clear; that is its affair.
    pub fn seen(&mut self) -> Sightings {
        let seen = self.capture.take().unwrap().stop().unwrap();
        let ours = seen.flows.keys().filter(|(source, _, _)| *source == V4.host_a).count();
        assert_eq!((ours, seen.lost), (0, 0), "{seen:?}");
        seen
    }

    fn keys(&self) -> PathBuf {
        self.folder.path().join("keys")
    }

    fn tshark(&self, arguments: &[&str]) -> String {
        let output = Command::new("tshark")
            .env("WIRESHARK_CONFIG_DIR", self.keys())
            .args(["-n", "-o", "esp.enable_encryption_decode:TRUE", "-o", "esp.enable_authentication_check:TRUE"])
            .arg("-r")
            .arg(self.folder.path().join("underlay.pcap"))
            .args(arguments)
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "tshark {arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// tshark reads what was inside IKE and ESP with the exported keys, and finds nothing wrong.
    pub fn tshark_reads_everything(&self) {
        let protected = self.tshark(&["-Y", "isakmp.exchangetype == 35", "-T", "fields", "-e", "isakmp.messageid"]);
        let opened = self.tshark(&["-Y", "isakmp.auth.method", "-T", "fields", "-e", "isakmp.messageid"]);
        assert!(!protected.is_empty(), "no IKE_AUTH was seen");
        assert_eq!(opened.lines().count(), 2, "tshark opens IKE_AUTH both ways:\n{protected}");
        let inside = self.tshark(&["-Y", "esp && mq", "-T", "fields", "-e", "ip.src"]);
        for host in [V4.host_a, V4.host_b] {
            let count = inside.lines().filter(|line| line.ends_with(&host.to_string())).count();
            assert!(count > 20, "tshark reads {count} packets of MQ from {host} inside ESP");
        }
        for wrong in ["esp.icv_bad == 1", "_ws.malformed"] {
            let found = self.tshark(&["-Y", wrong]);
            assert!(found.is_empty(), "{wrong}: {}", found.lines().next().unwrap_or_default());
        }
    }
}

/// Has the opener open the tunnel, and waits until both ends have it.
pub fn bring_up(opener: Opener, ours: &mut Gateway, charon: &Charon) -> Value {
    if opener == Opener::Peer {
        let account = charon.initiate();
        assert!(account.is_ok(), "charon cannot open the tunnel: {account:?}\n{}\n{}", ours.log(), charon.log());
    }
    let status = ours.wait_until_up(Duration::from_secs(15));
    status.unwrap_or_else(|| panic!("no tunnel:\n{}\n{:?}\n{}", ours.log(), ours.status(), charon.log()))
}
