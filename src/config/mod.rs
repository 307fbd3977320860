//! What does the operator write? TOML with labelled errors, compiled into what the other rooms take.
//!
//! The way of a file: `raw` (what stands in it, every value with its place) -> `validate` (what it means, every
//! error with a label and a way to mend it) -> `compile` (what the endpoint, the policy and the guard take).
//! The keys and their meaning: `docs/CONFIG.md`. Left out: what a peer sends (`ike`), what the kernel holds (`guard`).

mod cases;
mod compile;
pub mod identity;
pub mod import;
mod place;
mod problem;
mod raw;
mod redact;
mod secrets;
mod section;
pub mod strength;
mod subject;
mod validate;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::IpNet;
use jiff::Timestamp;
use toml::de::DeTable;

use crate::agreement::Subject;
use crate::dataplane::offload::Offloads;
use crate::guard::desired::Protected;
use crate::ids::TunnelId;
use crate::ike;
use crate::policy::Snapshot;
use problem::{Dated, Problems};
use secrets::Sources;

pub use crate::agreement::{Basis, Record as Agreement};
pub(crate) use cases::question;
pub use cases::{Approved, Tested};
pub use place::Places;
pub use problem::{ConfigError, Problem};

/// The file that is read when none is named.
pub const DEFAULT_FILE: &str = "/etc/portcullis/portcullis.toml";

/// No configuration file is longer than this.
const MAX_FILE: u64 = 1 << 20;

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
    /// What may pass.
    pub policy: Arc<Snapshot>,
    /// `[[test]]`, in the order of the file: each has passed, unless the file was loaded to show them.
    pub tests: Vec<Tested>,
    /// `[approval]`.
    pub approval: Option<Approved>,
    /// What loads, but should be looked at.
    pub warnings: Vec<Problem>,
    /// What should be looked at on some days.
    dated: Vec<Dated>,
}

impl Loaded {
    /// What the guard keeps from leaking: the remote side of every rule. A route carries a source address where the
    /// local host of its rule is one of the gateway's `own` addresses.
    #[must_use]
    pub fn protected(&self, own: &[IpAddr]) -> Vec<Protected> {
        let mut protected: BTreeMap<IpNet, Protected> = BTreeMap::new();
        for rule in self.policy.rules() {
            let source = own.iter().copied().find(|address| rule.local().contains(&IpNet::from(*address)));
            for network in rule.remote() {
                let entry = protected.entry(*network).or_insert(Protected { network: *network, source, mtu: None });
                entry.source = entry.source.or(source);
            }
        }
        protected.into_values().collect()
    }

    /// The warnings of this moment: all that do not depend on the day, and those that do and count now.
    pub fn warnings_at(&self, now: Timestamp) -> impl Iterator<Item = &Problem> {
        self.warnings.iter().chain(self.dated.iter().filter_map(move |dated| dated.at(now)))
    }

    /// The agreements with what is configured under each: what a ledger of their states is opened for.
    #[must_use]
    pub fn subjects(&self) -> Vec<Subject> {
        subject::subjects(self)
    }

    /// The agreement of a tunnel.
    #[must_use]
    pub fn agreement(&self, name: &str) -> Option<&Agreement> {
        self.agreements.iter().find(|agreement| agreement.name == name)
    }
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
    /// What the kernel may do for many packets at once.
    pub offloads: Offloads,
    /// Whether puzzles are posed under heavy load.
    pub puzzles: bool,
    /// Threads that move packets.
    pub workers: u16,
    /// The processor that each of them is bound to, in their order; none: the kernel moves them about.
    pub processors: Vec<usize>,
    /// Whether the peer's host gets a RST for a connection that is ended here. Read at start.
    pub reset_peers: bool,
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
    /// The peer's address, or that of its first head-end.
    pub peer: IpAddr,
    /// Its other head-ends, in order.
    pub others: Vec<IpAddr>,
    /// Estimated strength of the weakest pre-shared key in bits, if there is one; the method is in `docs/CONFIG.md`.
    pub psk_bits: Option<u32>,
}

impl TunnelInfo {
    /// Every address of the peer, in order.
    pub fn peers(&self) -> impl Iterator<Item = IpAddr> + '_ {
        std::iter::once(self.peer).chain(self.others.iter().copied())
    }
}

/// Reads and checks a configuration file.
pub fn load(path: &Path) -> Result<Loaded, ConfigError> {
    parse(path, &read(path)?, Sources::Followed, None, Tests::MustPass)
}

/// Like [`load`], but tunnels and rules that keep their name keep their number in `previous`.
pub fn reload(path: &Path, previous: &Loaded) -> Result<Loaded, ConfigError> {
    parse(path, &read(path)?, Sources::Followed, Some(previous), Tests::MustPass)
}

/// Like [`load`], but follows no reference to a secret: for questions about the rules, which anybody may ask who can
/// read the file. No tunnel can be brought up with it.
pub fn load_rules(path: &Path) -> Result<Loaded, ConfigError> {
    parse(path, &read(path)?, Sources::Unread, None, Tests::MustPass)
}

/// Like [`load_rules`], but a `[[test]]` that fails is no error: what became of each stands in [`Loaded::tests`].
pub fn load_tests(path: &Path) -> Result<Loaded, ConfigError> {
    parse(path, &read(path)?, Sources::Unread, None, Tests::Shown)
}

/// Like [`load_rules`], for a text that is at hand, and like [`reload`] where there is a `previous`: nothing outside the
/// text is touched.
pub fn load_text(path: &Path, text: &str, previous: Option<&Loaded>) -> Result<Loaded, ConfigError> {
    parse(path, text, Sources::Unread, previous, Tests::MustPass)
}

/// The lines on which things stand in a text.
#[must_use]
pub fn places(text: &str) -> Places {
    Places::read(text)
}

/// Like [`load`], or like [`load_rules`] without the `secrets`, and with the lines on which things stand.
pub fn load_with_places(path: &Path, secrets: bool) -> Result<(Loaded, Places), ConfigError> {
    let text = read(path)?;
    let sources = if secrets { Sources::Followed } else { Sources::Unread };
    Ok((parse(path, &text, sources, None, Tests::MustPass)?, Places::read(&text)))
}

/// Any bytes either load or are refused with a rendered error. The fuzz target asks for more.
pub fn fuzz(data: &[u8]) {
    let path = Path::new("fuzz.toml");
    let Ok(text) = std::str::from_utf8(data) else { return };
    match load_text(path, text, None) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                assert!(!warning.render(false).is_empty());
            }
            // What was loaded once can be loaded again over itself, and nothing changes its number.
            let again = load_text(path, text, Some(&loaded)).expect("it was loaded a moment ago");
            assert_eq!(again.tunnels, loaded.tunnels);
            assert_eq!(again.policy.rules(), loaded.policy.rules());
        }
        Err(refused) => assert!(!refused.errors.is_empty() && !refused.render(false).is_empty()),
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |error: io::Error| {
        let mend = match error.kind() {
            io::ErrorKind::NotFound => "name the file, or create it; docs/CONFIG.md shows one to begin with",
            io::ErrorKind::PermissionDenied => "run as the user who may read it",
            _ => "name a readable file",
        };
        ConfigError::unreadable(path, format!("cannot read {}: {error}", path.display()), mend)
    };
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE {
        let message = format!("{} is longer than {MAX_FILE} bytes", path.display());
        return Err(ConfigError::unreadable(path, message, "name a configuration file"));
    }
    String::from_utf8(bytes).map_err(|error| {
        // The bytes themselves may hold a secret: only the place is told.
        let at = error.utf8_error().valid_up_to();
        let message = format!("{} is not UTF-8 text: byte {at} begins no character", path.display());
        ConfigError::unreadable(path, message, "save it as UTF-8")
    })
}

/// What a `[[test]]` that fails is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tests {
    /// An error.
    MustPass,
    /// An answer.
    Shown,
}

fn parse(
    path: &Path,
    text: &str,
    sources: Sources,
    previous: Option<&Loaded>,
    tests: Tests,
) -> Result<Loaded, ConfigError> {
    let mut problems = Problems::default();
    let (document, syntax) = DeTable::parse_recoverable(text);
    for error in &syntax {
        let span = error.span().unwrap_or(0..0);
        problems
            .error(&span, format!("this is not TOML: {}", error.message().lines().next().unwrap_or_default()), "here")
            .mend("docs/CONFIG.md shows how each section is written; https://toml.io explains the language");
    }
    let shown = redact::redact(text, &document);
    // What the parser guessed after a syntax error would only bring complaints that are not true.
    let mut checked = if syntax.is_empty() {
        let file = raw::read(&document, &mut problems);
        validate::check(&file, sources, &mut problems)
    } else {
        None
    };
    let (cases, approval) = checked
        .as_mut()
        .map_or((Vec::new(), None), |checked| (std::mem::take(&mut checked.cases), checked.approval.take()));
    let mut loaded = checked.map(|checked| compile::compile(path, checked, previous));
    match &mut loaded {
        Some(Ok(loaded)) => {
            loaded.tests = cases::run(&cases, &loaded.policy, text);
            if tests == Tests::MustPass {
                cases::complain(&cases, &loaded.tests, &mut problems);
            }
            loaded.approval = cases::approve(approval, &loaded.policy, previous, &mut problems);
        }
        Some(Err(error)) => {
            problems.error(&(0..0), error.to_string(), "in this file").mend("change the rules that are named");
        }
        None => {}
    }
    let (warnings, dated) = problems.finish(path, shown)?;
    match loaded {
        Some(Ok(loaded)) => Ok(Loaded { warnings, dated, ..loaded }),
        _ => unreachable!("what was not compiled has left a problem behind"),
    }
}
