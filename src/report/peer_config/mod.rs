//! `portcullis peer-config`: the other side's configuration, made from our own file.
//!
//! A [`View`] is our tunnel seen from the peer: its own address is our `peer`, its local selectors our remote ones. Each
//! device has a file that prints the view in its words. What it has no words for is told at the top and to the caller.
//! Left out: everything of the peer that our file knows nothing about (interfaces, routes, other tunnels).

mod access_list;
mod cisco_asa;
mod cisco_ios_xe;
mod strongswan;

use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use zeroize::Zeroizing;

use crate::config::{Loaded, Places};
use crate::crypto::suite::Group;
use crate::ike::config::TunnelConfig;
use crate::policy::selector::TrafficSelector;
use crate::policy::{Rule, Service};
use crate::wire::ike::numbers::IdType;
use crate::wire::ike::payload::Id;

/// What stands at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// A router under IOS XE.
    CiscoIosXe,
    /// An Adaptive Security Appliance.
    CiscoAsa,
    /// strongSwan with swanctl.
    Strongswan,
}

/// A configuration for the other side.
pub struct PeerConfig {
    /// The text. It holds the key if that was asked for.
    pub text: Zeroizing<String>,
    /// What that device cannot be told.
    pub left_out: Vec<String>,
    /// Whether the tunnel comes up with what is left.
    pub whole: bool,
}

/// Prints the other side of the tunnel `name`; `None` if there is no such tunnel.
#[must_use]
pub fn peer_config(
    device: Device,
    loaded: &Loaded,
    places: &Places,
    name: &str,
    with_secret: bool,
) -> Option<PeerConfig> {
    let tunnel = loaded.ike.tunnels.iter().find(|tunnel| tunnel.name == name)?;
    let rules: Vec<_> = loaded.policy.rules().iter().filter(|rule| rule.tunnel == tunnel.id).collect();
    let flows = tunnel.children.iter().map(|child| Flow {
        near: child.remote,
        far: child.local,
        rules: rules
            .iter()
            .filter(|rule| asks_for(rule, &child.local, &child.remote))
            .map(|rule| &*rule.name)
            .collect(),
    });
    let file = loaded.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let view = View { file, tunnel, flows: flows.collect(), places, with_secret };
    let mut page = match device {
        Device::CiscoIosXe => cisco_ios_xe::print(&view),
        Device::CiscoAsa => cisco_asa::print(&view),
        Device::Strongswan => strongswan::print(&view),
    };
    if device != Device::Strongswan && !(tunnel.local_auth.psk().is_some() && tunnel.peer_auth.psk().is_some()) {
        page.missing("authentication other than by a pre-shared key: replace the lines about it, and add a trustpoint");
    }
    Some(page.finish(&view))
}

/// Whether a rule asks for the child SA with these selectors.
fn asks_for(rule: &Rule, local: &TrafficSelector, remote: &TrafficSelector) -> bool {
    let names = |nets: &[IpNet], selector: &TrafficSelector| nets.iter().any(|net| Some(*net) == network(selector));
    let protocol = rule.service.protocol(local.start.is_ipv6());
    let opened = if rule.opener_is_local() { remote } else { local };
    let port = rule.service == Service::Echo
        || opened.any_port()
        || rule.effective_ports().iter().any(|port| (opened.first_port..=opened.last_port).contains(port));
    names(rule.local(), local)
        && names(rule.remote(), remote)
        && (local.protocol == 0 || (local.protocol == protocol && port))
}

/// A child SA as the peer sees it, and the rules that ask for it.
struct Flow<'a> {
    near: TrafficSelector,
    far: TrafficSelector,
    rules: Vec<&'a str>,
}

/// Our tunnel, seen from the peer.
struct View<'a> {
    file: String,
    tunnel: &'a TunnelConfig,
    flows: Vec<Flow<'a>>,
    places: &'a Places,
    with_secret: bool,
}

impl View<'_> {
    /// What is to be said where the peer has several head-ends and a page is for one.
    fn other_heads(&self) -> Option<String> {
        let others: Vec<_> = self.tunnel.peering.others.iter().map(ToString::to_string).collect();
        let others = others.join(" and ");
        (!others.is_empty())
            .then(|| format!("This is for {}; {others} gets the same, with its own address.", self.here()))
    }

    /// The peer's own address.
    fn here(&self) -> IpAddr {
        self.tunnel.peer
    }

    /// Our address.
    fn there(&self) -> IpAddr {
        self.tunnel.local
    }

    /// `peer, line 17`; a key that is not written stands for its default.
    fn from(&self, keys: &[&str]) -> String {
        let lines = keys.iter().filter_map(|key| Some((*key, self.places.tunnel_key(&self.tunnel.name, key)?)));
        let lines: Vec<_> = lines.map(|(key, line)| format!("`{key}`, line {line}")).collect();
        if lines.is_empty() { format!("default of `{}`", keys.join("`, `")) } else { lines.join("; ") }
    }

    /// `rule mq, line 23`.
    fn rules(&self, flow: &Flow<'_>) -> String {
        let line = |name: &str| self.places.rule(name).map(|line| format!(", line {line}")).unwrap_or_default();
        flow.rules.iter().map(|name| format!("rule {name}{}", line(name))).collect::<Vec<_>>().join("; ")
    }

    /// Whether the file has this key of the tunnel.
    fn has(&self, key: &str) -> bool {
        self.places.tunnel_key(&self.tunnel.name, key).is_some()
    }

    /// Where our side has the key.
    fn reference(&self) -> String {
        match self.places.reference(&self.tunnel.name) {
            Some(reference) => format!("the key of {reference}"),
            None => format!("the key of {}", self.file),
        }
    }

    /// The key as text, if a command line takes it.
    fn key_text(&self) -> Option<&str> {
        let text = std::str::from_utf8(self.tunnel.peer_auth.psk()?.expose()).ok()?;
        let fits = |b: u8| b.is_ascii_graphic() && !b"?\"".contains(&b);
        ((1..=128).contains(&text.len()) && text.bytes().all(fits)).then_some(text)
    }
}

/// What is being printed.
struct Page {
    comment: &'static str,
    body: Zeroizing<String>,
    left_out: Vec<String>,
    whole: bool,
}

impl Page {
    fn new(comment: &'static str) -> Self {
        Self { comment, body: Zeroizing::default(), left_out: Vec::new(), whole: true }
    }

    fn line(&mut self, text: impl AsRef<str>) {
        // A string that grows leaves copies of a key behind.
        let text = text.as_ref();
        if self.body.capacity() - self.body.len() < text.len() + 1 {
            let mut wider = Zeroizing::new(String::with_capacity((self.body.capacity() + text.len() + 1) * 2 + 4096));
            wider.push_str(&self.body);
            self.body = wider;
        }
        self.body.push_str(text);
        self.body.push('\n');
    }

    /// A comment on a line of its own.
    fn note(&mut self, text: impl AsRef<str>) {
        let line = format!("{} {}", self.comment, text.as_ref());
        self.line(line);
    }

    /// Something that this device has no words for, and that the tunnel comes up without.
    fn left_out(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.left_out.contains(&text) {
            self.left_out.push(text);
        }
    }

    /// A PPK, which is not printed for this device.
    fn without_ppk(&mut self, view: &View<'_>) {
        match &view.tunnel.ppk {
            Some(ppk) if ppk.required => self.missing(format!("the PPK ({}), which is required", view.from(&["ppk"]))),
            Some(_) => self.left_out(format!("the PPK ({})", view.from(&["ppk"]))),
            None => {}
        }
    }

    /// Something that this device has no words for, and that is needed.
    fn missing(&mut self, text: impl Into<String>) {
        self.left_out(text);
        self.whole = false;
    }

    fn finish(self, view: &View<'_>) -> PeerConfig {
        let mut head = format!(
            "{c} The other side of tunnel {} of {}, line {}. Made by portcullis {}.\n",
            view.tunnel.name,
            view.file,
            view.places.tunnel(&view.tunnel.name).unwrap_or_default(),
            env!("CARGO_PKG_VERSION"),
            c = self.comment,
        );
        if !self.left_out.is_empty() {
            let _ = writeln!(head, "{}\n{0} Not expressed here:", self.comment);
        }
        for left_out in &self.left_out {
            let _ = writeln!(head, "{} - {left_out}", self.comment);
        }
        if !self.whole {
            let _ = writeln!(head, "{} THE TUNNEL DOES NOT COME UP LIKE THIS.", self.comment);
        }
        let mut text = Zeroizing::new(String::with_capacity(head.len() + self.body.len() + 1));
        text.push_str(&head);
        text.push('\n');
        text.push_str(&self.body);
        PeerConfig { text, left_out: self.left_out, whole: self.whole }
    }
}

/// The network that a selector's range of addresses is.
fn network(selector: &TrafficSelector) -> Option<IpNet> {
    let net: IpNet = match (selector.start, selector.end) {
        (IpAddr::V4(start), IpAddr::V4(end)) => {
            let bits = (start.to_bits() ^ end.to_bits()).leading_zeros();
            Ipv4Net::new(start, u8::try_from(bits).ok()?).ok()?.into()
        }
        (IpAddr::V6(start), IpAddr::V6(end)) => {
            let bits = (start.to_bits() ^ end.to_bits()).leading_zeros();
            Ipv6Net::new(start, u8::try_from(bits).ok()?).ok()?.into()
        }
        _ => return None,
    };
    (net.network() == selector.start && net.broadcast() == selector.end).then_some(net)
}

/// A host without the length of its prefix.
fn shown(net: IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}

/// The text of an identity that is text, without what would break a line of configuration.
fn id_text(id: &Id) -> Option<&str> {
    let text = std::str::from_utf8(&id.data).ok()?;
    let fits = |b: u8| b.is_ascii_graphic() && !b"?\"#{}".contains(&b);
    (!text.is_empty() && text.bytes().all(fits)).then_some(text)
}

/// Whether an identity is this address.
fn is_address(id: &Id, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => id.kind == IdType::IPV4_ADDR && id.data.as_slice() == address.octets(),
        IpAddr::V6(address) => id.kind == IdType::IPV6_ADDR && id.data.as_slice() == address.octets(),
    }
}

/// The number by which everybody but us calls a group.
const fn group_number(group: Group) -> u16 {
    group.method().0
}
