//! A peer as other gateways' files describe it, and how its values are read: addresses, identities, times, selectors.

use std::collections::BTreeSet;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;
use zeroize::Zeroizing;

use super::shown;
use crate::config::identity;

/// Something that could not be carried over.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lost {
    /// Its line; 0 for what concerns the result as a whole.
    pub line: usize,
    /// What, and why.
    pub what: String,
}

/// What could not be carried over, while it is being collected.
#[derive(Debug, Default)]
pub(super) struct Losses(BTreeSet<(usize, String)>);

impl Losses {
    pub(super) fn note(&mut self, line: usize, what: impl Into<String>) {
        // Words of the file stand in it, also those that an error quotes.
        let what: String = what.into().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        self.0.insert((if line == 0 { usize::MAX } else { line }, what));
    }

    /// A setting that has no counterpart here. A value that may be a secret is not shown.
    pub(super) fn setting(&mut self, line: usize, key: &str, value: &str, why: &str) {
        let name = key.to_ascii_lowercase();
        if ["secret", "psk", "password", "pin"].iter().any(|word| name.contains(word)) {
            return self.note(line, format!("{}: {why}", shown(key)));
        }
        self.note(line, format!("{} = {}: {why}", shown(key), shown(value)));
    }

    /// In the order of the file; what concerns all of it comes last.
    pub(super) fn finish(self) -> Vec<Lost> {
        let line = |line| if line == usize::MAX { 0 } else { line };
        self.0.into_iter().map(|(at, what)| Lost { line: line(at), what }).collect()
    }
}

/// One connection.
#[derive(Debug, Default)]
pub(super) struct Connection {
    pub(super) name: String,
    pub(super) line: usize,
    /// `None` where the file does not say it: a gap in what is written.
    pub(super) local: Option<IpAddr>,
    pub(super) peer: Option<IpAddr>,
    /// As they are written in our file; `None` for the address.
    pub(super) local_id: Option<String>,
    pub(super) peer_id: Option<String>,
    /// As they are written in our file; empty for the preset's.
    pub(super) ike: Vec<String>,
    pub(super) esp: Vec<String>,
    pub(super) start: Option<&'static str>,
    pub(super) encapsulation: bool,
    pub(super) liveness: Option<u64>,
    pub(super) replay_window: Option<u64>,
    /// What one key carries at most, and how long an IKE SA lasts.
    pub(super) child_time: Option<u64>,
    pub(super) child_bytes: Option<u64>,
    pub(super) child_packets: Option<u64>,
    pub(super) ike_time: Option<u64>,
    /// At which percentage of that they are renewed.
    pub(super) rekey_at: Option<u64>,
    /// The key in hexadecimal.
    pub(super) secret: Option<Zeroizing<String>>,
    pub(super) children: Vec<Child>,
}

/// One child SA, or several that belong together.
#[derive(Debug, Default)]
pub(super) struct Child {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) local: Vec<Traffic>,
    pub(super) remote: Vec<Traffic>,
}

/// One side of a selector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Traffic {
    pub(super) net: IpNet,
    pub(super) protocol: Option<u8>,
    pub(super) port: Option<u16>,
}

/// The address of a gateway, and whether others stand beside it.
pub(super) fn address(value: &str) -> Result<(IpAddr, bool), &'static str> {
    let mut words = value.split([',', ' ']).map(str::trim).filter(|word| !word.is_empty());
    let first = words.next().ok_or("no address stands here")?;
    if first.starts_with('%') {
        return Err("a tunnel here names both gateways by their addresses");
    }
    let address = first.parse().map_err(|_| "names, networks and ranges are not looked up: write one address")?;
    Ok((address, words.next().is_some()))
}

/// What is said of further addresses.
pub(super) const ONE_ADDRESS: &str = "a tunnel here has one address on each side; the first one was taken";

/// An identity, as it is written in our file. `None` for one that stands for anybody.
pub(super) fn id(value: &str) -> Result<Option<String>, String> {
    let hexadecimal = |digits: &str| digits.trim_start_matches("0x").replace(':', "").to_lowercase();
    let typed = |scheme: &str, rest: &str| match rest.strip_prefix('#') {
        Some(digits) => format!("{scheme}:{}", hexadecimal(digits)),
        None => format!("{scheme}:{}", hex::encode(rest)),
    };
    if matches!(value, "" | "%any" | "%any6" | "*") {
        return Ok(None);
    }
    let text = if let Some(digits) = value.strip_prefix("@#") {
        typed("keyid", &format!("#{digits}"))
    } else if let Some(mail) = value.strip_prefix("@@") {
        mail.to_owned()
    } else if let Some(name) = value.strip_prefix('@') {
        name.trim_matches(['[', ']']).to_owned()
    } else {
        match value.split_once(':') {
            Some(("keyid", rest)) => typed("keyid", rest),
            Some(("asn1dn", rest)) if rest.starts_with('#') => typed("dn", rest),
            Some(("asn1gn", rest)) if rest.starts_with('#') => typed("gn", rest),
            Some(("fqdn" | "dns" | "rfc822" | "email" | "userfqdn" | "ipv4" | "ipv6", rest)) => rest.to_owned(),
            _ => value.to_owned(),
        }
    };
    match identity::parse(&text) {
        Ok(_) => Ok(Some(text)),
        Err(mend) => Err(mend),
    }
}

/// Seconds: `30`, `30s`, `5m`, `1h`, `1d`.
pub(super) fn seconds(value: &str) -> Option<u64> {
    let value = value.trim();
    let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match value.get(digits.len()..)? {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

/// When keys are renewed and when they end, as other gateways write it: either may be missing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limit {
    pub(super) rekey: Option<u64>,
    pub(super) end: Option<u64>,
}

impl Limit {
    /// The end; where only the renewal is written, a tenth later.
    pub(super) fn end(self) -> Option<u64> {
        self.end.or_else(|| self.rekey?.checked_mul(11).map(|rekey| rekey / 10)).filter(|end| *end > 0)
    }

    /// The renewal in percent of the end, rounded up: ours is rounded down.
    pub(super) fn percent(self) -> Option<u64> {
        let (rekey, end) = (self.rekey?, self.end?);
        rekey.checked_mul(100)?.checked_add(end.checked_sub(1)?)?.checked_div(end)
    }
}

/// yes or no.
pub(super) fn yes(value: &str) -> bool {
    matches!(value.trim().to_ascii_lowercase().as_str(), "yes" | "true" | "1" | "enabled")
}

/// A pre-shared key in hexadecimal: `0x..` (hexadecimal), `0s..` (base64), else the text itself.
pub(super) fn secret(value: &str) -> Option<Zeroizing<String>> {
    let bytes = Zeroizing::new(match (value.strip_prefix("0x"), value.strip_prefix("0s")) {
        (Some(digits), _) => hex::decode(digits).ok()?,
        (_, Some(text)) => STANDARD.decode(text).ok()?,
        _ => value.as_bytes().to_vec(),
    });
    (!bytes.is_empty()).then(|| Zeroizing::new(hex::encode(&*bytes)))
}

/// One selector: `10.1.0.0/16`, `10.1.0.1[tcp/1414]`, `dynamic[udp]`. `own` is what `dynamic` stands for.
pub(super) fn traffic(value: &str, own: Option<IpAddr>) -> Result<Traffic, &'static str> {
    let (net, service) = match value.split_once('[') {
        Some((net, rest)) => (net.trim(), rest.trim_end().strip_suffix(']').ok_or("a bracket is not closed")?),
        None => (value.trim(), ""),
    };
    let net = match (net, own) {
        ("dynamic" | "" | "%dynamic", Some(own)) => IpNet::from(own),
        ("dynamic" | "" | "%dynamic", None) => return Err("it stands for an address that is not in the file"),
        (net, _) => {
            let host = net.parse::<IpAddr>().map(IpNet::from);
            host.or_else(|_| net.parse()).map_err(|_| "this is no network; ranges of addresses have no counterpart")?
        }
    };
    if net.prefix_len() == 0 {
        return Err("a rule here names hosts, or networks with a reason; never everybody");
    }
    let (protocol, port) = protocol_and_port(service)?;
    Ok(Traffic { net: net.trunc(), protocol, port })
}

/// `tcp/1414`, `6/1414`, `tcp`, `tcp/%any`, nothing.
pub(super) fn protocol_and_port(text: &str) -> Result<(Option<u8>, Option<u16>), &'static str> {
    let (protocol, port) = text.split_once('/').unwrap_or((text, ""));
    let protocol = match protocol.trim().to_ascii_lowercase().as_str() {
        "" | "%any" | "any" | "0" => None,
        "tcp" => Some(6),
        "udp" => Some(17),
        "icmp" => Some(1),
        "icmpv6" | "ipv6-icmp" => Some(58),
        number => Some(number.parse().map_err(|_| "this protocol is not known here")?),
    };
    let port = match port.trim() {
        "" | "%any" | "any" | "0" | "0-65535" => None,
        "opaque" => return Err("OPAQUE ports have no counterpart here"),
        number => Some(number.parse().map_err(|_| "a port is a number here; ranges have no counterpart")?),
    };
    if port.is_some() && protocol.is_none() {
        return Err("a port without a protocol means nothing");
    }
    Ok((protocol, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_become_ours() {
        for (theirs, ours) in [
            ("203.0.113.5", Some("203.0.113.5")),
            ("@moon", Some("moon")),
            ("moon.example.com", Some("moon.example.com")),
            ("fqdn:moon", Some("moon")),
            ("vpn@example.com", Some("vpn@example.com")),
            ("@@vpn@example.com", Some("vpn@example.com")),
            ("@#63:62:70", Some("keyid:636270")),
            ("keyid:cbp", Some("keyid:636270")),
            ("keyid:#636270", Some("keyid:636270")),
            ("asn1dn:#3000", Some("dn:3000")),
            ("%any", None),
        ] {
            assert_eq!(id(theirs), Ok(ours.map(str::to_owned)), "{theirs}");
        }
        assert!(id("C=US, O=Example").unwrap_err().contains("DER"));
    }

    #[test]
    fn selectors_are_read_with_protocol_and_port() {
        let own = Some("192.0.2.1".parse().unwrap());
        let read = |text| traffic(text, own).map(|it| (it.net.to_string(), it.protocol, it.port));
        assert_eq!(read("10.1.2.3/16"), Ok(("10.1.0.0/16".into(), None, None)));
        assert_eq!(read("10.1.2.3[tcp/1414]"), Ok(("10.1.2.3/32".into(), Some(6), Some(1414))));
        assert_eq!(read("dynamic[17]"), Ok(("192.0.2.1/32".into(), Some(17), None)));
        assert_eq!(read("2001:db8::1"), Ok(("2001:db8::1/128".into(), None, None)));
        for wrong in
            ["0.0.0.0/0", "10.0.0.1-10.0.0.9", "10.0.0.1[tcp/1-9]", "10.0.0.1[tcp", "10.0.0.1[/5]", "10.0.0.1[gre]"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert!(traffic("dynamic", None).is_err());
    }

    #[test]
    fn times_and_keys_are_read() {
        assert_eq!(
            ["30", "30s", "5m", "1h", "1d", "x", "1w"].map(seconds),
            [Some(30), Some(30), Some(300), Some(3600), Some(86_400), None, None]
        );
        let key = |text| secret(text).map(|key| key.to_string());
        assert_eq!(key("0x00FF"), Some("00ff".into()));
        assert_eq!(key("0sAP8="), Some("00ff".into()));
        assert_eq!(key("AB"), Some("4142".into()));
        assert_eq!((key("0xzz"), key("")), (None, None));
    }
}
