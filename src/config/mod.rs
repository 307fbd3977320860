//! What does the operator write? TOML with labelled errors, compiled into what the other rooms take.
//!
//! The way of a file: `raw` (what stands in it, every value with its place) -> `validate` (what it means, every
//! error with a label and a way to mend it) -> `compile` (what the endpoint, the policy and the guard take).
//! The keys and their meaning: `docs/CONFIG.md`. Left out: what a peer sends (`ike`), what the kernel holds (`guard`).

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::guard::desired::Protected;
use crate::ids::TunnelId;
use crate::ike;

/// The file that is read when none is named.
pub const DEFAULT_FILE: &str = "/etc/portcullis/portcullis.toml";

/// A configuration that holds: everything the other rooms need of it.
#[derive(Debug)]
pub struct Loaded {
    /// Where it was read from.
    pub path: PathBuf,
    /// `[gateway]`.
    pub gateway: GatewaySettings,
    /// `[agreement.NAME]`, in the order of the file.
    pub agreements: Vec<Agreement>,
    /// `[tunnel.NAME]`, in the order of the file, for people and status lines.
    pub tunnels: Vec<TunnelInfo>,
    /// What the IKE endpoint takes.
    pub ike: Arc<ike::config::Config>,
    /// What the guard keeps from leaking: the remote side of every rule.
    pub protected: Vec<Protected>,
}

/// `[gateway]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewaySettings {
    /// Where the gateway keeps what must outlive it.
    pub state_dir: PathBuf,
    /// The control socket.
    pub control_socket: PathBuf,
    /// Name of the TUN device.
    pub tun: String,
    /// The largest inner packet, where the operator sets it; otherwise the path decides.
    pub mtu: Option<u32>,
}

/// `[agreement.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// Its name.
    pub name: String,
    /// Whether it is of kind `lab`: not a real agreement, for demonstrations and tests.
    pub lab: bool,
    /// Title of the document.
    pub document: Option<String>,
    /// The other organisation.
    pub organisation: Option<String>,
    /// What its term is counted from.
    pub basis: Option<Basis>,
    /// The day from which its term runs.
    pub date: Option<jiff::civil::Date>,
    /// Its term in years.
    pub years: Option<u8>,
}

impl Agreement {
    /// The kind as it is stamped on status lines and events.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        if self.lab { "lab" } else { "agreement" }
    }
}

/// What the term of an agreement is counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// The date of the acknowledgement e-mail (CBP §4).
    Acknowledgement,
    /// The date of the last signature.
    LatestSignature,
}

/// `[tunnel.NAME]` as people see it; what the endpoint needs is in [`ike::config::TunnelConfig`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelInfo {
    /// Its number.
    pub id: TunnelId,
    /// Its name.
    pub name: String,
    /// The agreement it stands under.
    pub agreement: String,
    /// The agreement's kind: `lab` or `agreement`.
    pub kind: &'static str,
    /// Our address.
    pub local: IpAddr,
    /// The peer's address.
    pub peer: IpAddr,
    /// Estimated strength of the pre-shared key in bits; the method is in `docs/CONFIG.md`.
    pub psk_bits: u32,
}

/// Why a configuration does not load.
#[derive(Debug)]
pub struct ConfigError;

/// Reads and checks a configuration file.
pub fn load(path: &Path) -> Result<Loaded, ConfigError> {
    let _ = path;
    todo!("raw, validate, compile")
}

/// Like [`load`], but tunnels and rules that keep their name keep their number in `previous`.
pub fn reload(path: &Path, previous: &Loaded) -> Result<Loaded, ConfigError> {
    let _ = (path, previous);
    todo!("raw, validate, compile")
}
