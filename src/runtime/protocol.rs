//! What `portcullis` commands and the running gateway say to each other: one JSON object a line over the control socket.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::agreement::{Report, Wish};
use crate::event::FlowKey;
use crate::ike::account::Explained;

/// A request, one line. A variant that says nothing has braces all the same: in one without, `serde` passes over fields
/// that it does not know, whatever `deny_unknown_fields` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Everything `status` and `sa` show.
    Status {},
    /// Bring a tunnel up.
    Up {
        /// Its name.
        tunnel: String,
    },
    /// Take a tunnel down until `Up`.
    Down {
        /// Its name.
        tunnel: String,
    },
    /// Give a tunnel new keys.
    Rekey {
        /// Its name.
        tunnel: String,
        /// For its child SAs.
        children: bool,
        /// For its IKE SA.
        ike: bool,
        /// Only if a key exchange for child SAs is configured.
        pfs: bool,
    },
    /// What was said in the last negotiations of a tunnel.
    Explain {
        /// Its name.
        tunnel: String,
    },
    /// How the agreements stand.
    Agreements {
        /// Only the one of this name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// Do something to an agreement.
    Agreement {
        /// Its name.
        name: String,
        /// What.
        wish: Wish,
    },
    /// Load the configuration file again.
    Reload {},
    /// The policy in force.
    Policy {},
    /// The live flows between two hosts, whoever opened them.
    Flows {
        /// One of the hosts.
        from: IpAddr,
        /// The other one.
        to: IpAddr,
        /// Only those that were opened to this port.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<u16>,
    },
    /// Events from now on, one a line, until the client hangs up.
    Monitor {},
}

/// The answer to a request: one line, or the first of many for `Monitor`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Answer {
    /// It could not be done.
    Refused {
        /// Why, in a sentence.
        error: String,
    },
    /// `Status`.
    Status(Box<Status>),
    /// `Explain`.
    Explained(Box<Explained>),
    /// `Agreements`, and `Agreement` once it is done.
    Agreements {
        /// In the order of the file.
        agreements: Vec<Report>,
    },
    /// `Policy`.
    Policy(Box<InForce>),
    /// `Flows`.
    Flows {
        /// The flows, as many as fit.
        flows: Vec<LiveFlow>,
        /// Whether there are more.
        more: bool,
    },
    /// Done.
    Done {
        /// Always true.
        ok: bool,
    },
}

/// The policy in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    /// Its digest.
    pub policy: String,
    /// All that it means, as text: what the digest is made of.
    pub canonical: String,
    /// Who has approved it, if its file says so.
    #[serde(default)]
    pub approver: Option<String>,
    /// Where that is recorded.
    #[serde(default)]
    pub ticket: Option<String>,
}

/// A live flow and by what right it lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveFlow {
    /// The packet with which it was opened.
    pub flow: FlowKey,
    /// Its tunnel.
    pub tunnel: String,
    /// The agreement of the tunnel.
    pub agreement: String,
    /// The rule that allows it.
    pub rule: String,
    /// The rule's clause.
    pub clause: String,
    /// `opening`, `open`, `closing`, `ended`; `udp`, `echo`.
    pub state: String,
    /// What is heard in it, in the word of its rule; `uninspected`: nothing.
    pub service: String,
    /// Whether it is known to be that.
    pub recognised: bool,
    /// Seconds until it ends if nothing more is said.
    pub expires_in_s: u64,
    /// Bytes of inner packets that went out.
    pub bytes_out: u64,
    /// Bytes of inner packets that came in.
    pub bytes_in: u64,
}

/// The provider of AEADs that a race at start has chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aead {
    /// Its name.
    pub provider: String,
    /// Nanoseconds to seal and open 1,440 bytes with AES-256-GCM, for each provider.
    pub ns: BTreeMap<String, u64>,
}

/// What the gateway says of itself. Field names are stable: scripts read them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the running binary.
    pub version: String,
    /// Process ID.
    pub pid: u32,
    /// Seconds since start.
    pub uptime_s: u64,
    /// Digest of the active policy.
    pub policy: String,
    /// Who has approved it, if its file says so.
    #[serde(default)]
    pub approver: Option<String>,
    /// Where that is recorded.
    #[serde(default)]
    pub ticket: Option<String>,
    /// The TUN device.
    pub tun: String,
    /// What the kernel does for many packets at once: `tun` (`tso+uso`, `tso`, `off`), `tun_write` (the same), `udp_send` (`gso`, `sendmmsg`,
    /// `sendto`), `esp_send` (`sendmmsg`, `sendto`: ESP without UDP) and `udp_gro` (`on`, `off`).
    #[serde(default)]
    pub offloads: BTreeMap<String, String>,
    /// What each worker has moved (`packets_out`, `packets_in`), and passed on to others (`handed_over`).
    #[serde(default)]
    pub workers: Vec<BTreeMap<String, u64>>,
    /// Whose AES-GCM and ChaCha20-Poly1305 protect packets.
    #[serde(default)]
    pub aead: Aead,
    /// The tunnels, `ike::status::TunnelStatus` with `agreement`, `kind` and `counters` beside it.
    pub tunnels: Vec<serde_json::Value>,
    /// Ports of outside addresses that stand for a host's own now.
    #[serde(default)]
    pub mappings: u64,
    /// Packets and bytes by rule: `{"mq": {"packets_out": 1, ...}}`.
    pub rules: BTreeMap<String, BTreeMap<String, u64>>,
    /// Refused packets by rule and reason, only those above zero: `{"mq": {"no-rule": 1}}`. The rule is the one that refuses, or
    /// one between the same hosts.
    #[serde(default)]
    pub refused: BTreeMap<String, BTreeMap<String, u64>>,
    /// Dropped packets by reason, only those above zero.
    pub drops: BTreeMap<String, u64>,
    /// Refused IKE datagrams by reason, only those above zero.
    pub ike_refused: BTreeMap<String, u64>,
}
