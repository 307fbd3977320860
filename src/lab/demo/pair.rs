//! The two gateways of the demo, by which files they run, and how each is started again after it was killed.

use std::cell::RefCell;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use serde_json::Value;

use super::{DemoError, system};
use crate::agreement::{Role, Wish};
use crate::entropy::Entropy;
use crate::lab::gateway::{Events, Gateway, write_private};
use crate::lab::standing::Standing;
use crate::lab::topology::{Topology, V4};
use crate::platform::entropy::OsEntropy;
use crate::platform::namespace::Namespace;
use crate::runtime::protocol::Request;

/// How long the tunnel may take to come up.
pub(super) const COME_UP: Duration = Duration::from_secs(10);
/// The term of the agreement in both files.
const TERM: &str = "date = 2025-03-01\nyears = 10";

/// Where a gateway stands, and by which file it runs.
pub(super) struct Place<'a> {
    network: &'a Namespace,
    folder: PathBuf,
    keys: Option<PathBuf>,
    standing: &'a Standing,
    /// Its file, but for the lines of the agreement's term.
    file: Box<dyn Fn(&str) -> String>,
    term: RefCell<String>,
}

impl Place<'_> {
    /// Starts a gateway here, and waits until it answers.
    pub(super) fn start(&self) -> Result<Gateway, DemoError> {
        let config = (self.file)(&self.term.borrow());
        let program = Path::new("/proc/self/exe");
        let gateway = Gateway::start(program, self.network, &self.folder, &config, self.keys.as_deref());
        let mut gateway = gateway.map_err(system("a gateway"))?;
        self.standing.watch(gateway.pid());
        match gateway.wait_for(COME_UP, |_| true) {
            Some(_) => Ok(gateway),
            None => Err(DemoError::Gateway(format!("a gateway does not answer; its log:\n{}", gateway.log()))),
        }
    }

    /// Kills the gateway that runs here.
    pub(super) fn kill(&self, gateway: &mut Gateway) -> Result<(), DemoError> {
        let pid = gateway.pid();
        gateway.kill().map_err(system("the end of a gateway"))?;
        self.standing.forget(pid);
        Ok(())
    }

    /// Writes other lines for the agreement's term into the file, and has the gateway load it.
    pub(super) fn reload(&self, gateway: &Gateway, term: &str) -> Result<(), DemoError> {
        term.clone_into(&mut self.term.borrow_mut());
        let text = (self.file)(term).replace("@FOLDER@", &self.folder.to_string_lossy());
        write_private(&self.folder.join("portcullis.toml"), &text).map_err(system("the configuration file"))?;
        let answer = gateway.request(&Request::Reload {}).map_err(system("the control socket"))?;
        match answer["error"].as_str() {
            Some(error) => Err(DemoError::Gateway(format!("reload: {error}"))),
            None => Ok(()),
        }
    }
}

/// Both places; the agreement of gateway A is a draft until its operator activates it.
pub(super) fn places<'a>(topology: &'a Topology, standing: &'a Standing, keys: Option<&Path>) -> [Place<'a>; 2] {
    let mut psk = [0; 32];
    OsEntropy.fill(&mut psk);
    let (psk, own) = (hex::encode(psk), topology.own_a);
    let place = |name: &str, network, side_a| {
        let psk = psk.clone();
        Place {
            network,
            folder: standing.folder().join(name),
            keys: keys.map(|folder| folder.join(name)),
            standing,
            file: Box::new(move |term| config(side_a, &psk, own, term)),
            term: RefCell::new(TERM.to_owned()),
        }
    };
    [place("gateway-a", &topology.gateway_a, true), place("gateway-b", &topology.gateway_b, false)]
}

/// The two gateways.
pub(super) struct Pair<'a> {
    pub(super) place: Place<'a>,
    pub(super) a: Gateway,
    pub(super) b: Gateway,
    pub(super) events_a: Events,
    pub(super) events_b: Events,
    pub(super) handshake_ms: f64,
}

impl<'a> Pair<'a> {
    /// Starts gateway B beside gateway A, whose agreement is in force, and waits for the tunnel.
    pub(super) fn join(place: Place<'a>, mut a: Gateway, other: &Place<'_>) -> Result<Self, DemoError> {
        let mut b = other.start()?;
        let mut up = Vec::new();
        for (name, gateway) in [("gateway A", &mut a), ("gateway B", &mut b)] {
            let status = gateway.wait_until_up(COME_UP).ok_or_else(|| {
                DemoError::Gateway(format!("the tunnel of {name} did not come up; its log:\n{}", gateway.log()))
            })?;
            up.push(status);
        }
        let handshake_ms = up.iter().map(|status| &status["tunnels"][0]["ike"]["handshake_ms"]);
        let handshake_ms = handshake_ms.filter_map(Value::as_f64).fold(0.0, f64::max);
        let events_a = a.monitor().map_err(system("the events of gateway A"))?;
        let events_b = b.monitor().map_err(system("the events of gateway B"))?;
        Ok(Self { place, a, b, events_a, events_b, handshake_ms })
    }

    pub(super) fn last_words(&self) -> String {
        format!("log of gateway A:\n{}\nlog of gateway B:\n{}", self.a.log(), self.b.log())
    }

    /// Ends both; names the one that did not end well.
    pub(super) fn stop(self) -> io::Result<Vec<(&'static str, ExitStatus)>> {
        let ends = [("gateway A", self.a.stop()?), ("gateway B", self.b.stop()?)];
        Ok(ends.into_iter().filter(|(_, status)| !status.success()).collect())
    }
}

/// Something that a gateway's operator wants of the agreement.
pub(super) fn wish(gateway: &Gateway, wish: Wish) -> Result<(), DemoError> {
    let what = wish.as_str();
    let answer =
        gateway.request(&Request::Agreement { name: "cbp".into(), wish }).map_err(system("the control socket"))?;
    match answer["error"].as_str() {
        Some(error) => Err(DemoError::Gateway(format!("agreement {what}: {error}"))),
        None => Ok(()),
    }
}

/// One side's configuration file.
fn config(side_a: bool, psk: &str, own: IpAddr, term: &str) -> String {
    let (local, peer) = if side_a { (V4.gateway_a, V4.gateway_b) } else { (V4.gateway_b, V4.gateway_a) };
    let direction = if side_a { "outbound" } else { "inbound" };
    let activation = if side_a { "activation = \"operator\"\n" } else { "" };
    let translate = if side_a {
        format!("[[translate]]\ntunnel = \"cbp\"\ninside = \"{own}\"\noutside = \"{}\"\n", V4.host_a)
    } else {
        String::new()
    };
    // A draft is activated only if its record is complete.
    let contact = |role: &Role| format!("contacts.{} = \"{}\"\n", role.as_str(), role.what());
    let contacts = Role::REQUIRED.iter().map(contact).collect::<Vec<_>>().concat();
    format!(
        r#"[gateway]
state_dir = "@FOLDER@/state"
control_socket = "@FOLDER@/control.sock"

[agreement.cbp]
document = "CBP Interconnection Security Agreement"
document_digest = "sha256:{digest}"
organisation = "Example Brokers"
classification = "sensitive-but-unclassified"
basis = "acknowledgement"
{term}
{activation}{contacts}
[tunnel.cbp]
agreement = "cbp"
local = "{local}"
peer = "{peer}"
auth = {{ method = "psk", secret = "hex:{psk}" }}
ike = ["aes256gcm16-prfsha384-ecp384"]
esp = ["aes256gcm16-ecp384-esn"]

[[rule]]
name = "mq"
tunnel = "cbp"
clause = "1a"
from = ["{host_a}"]
to = ["{host_b}"]
service = "mq"
direction = "{direction}"

{translate}"#,
        digest = "0".repeat(64),
        host_a = V4.host_a,
        host_b = V4.host_b,
    )
}
