//! Our table: chains and rules. What comes from a protected address by any way but the TUN is dropped before routing, what
//! goes there by any way but the TUN is dropped when it is made here and again when it leaves.
//!
//! Devices are matched by name, so the rules hold while the TUN does not exist.

use super::expression::{Expression, Meta};

/// The table's name, in family `inet`.
pub(super) const TABLE: &str = "portcullis";
/// The table that stands guard while ours is written anew.
pub(super) const INTERIM: &str = "portcullis-interim";
/// The set of protected IPv4 addresses.
pub(super) const SET_V4: &str = "protected4";
/// The set of protected IPv6 addresses.
pub(super) const SET_V6: &str = "protected6";

/// IP versions as the packet filter numbers them.
const IPV4: u8 = libc::NFPROTO_IPV4 as u8;
const IPV6: u8 = libc::NFPROTO_IPV6 as u8;

/// A chain of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) name: &'static str,
    /// Number of the hook among those of IP.
    pub(super) hook: u32,
    pub(super) priority: i32,
    side: Side,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    From,
    To,
}

/// All chains.
pub(super) const CHAINS: [Chain; 3] = [
    // Prerouting, before connection tracking and address translation see the packet.
    Chain { name: "from-protected", hook: 0, priority: -300, side: Side::From },
    // Output and postrouting, after everybody who might still send the packet another way.
    Chain { name: "made-here", hook: 3, priority: 300, side: Side::To },
    Chain { name: "to-protected", hook: 4, priority: 300, side: Side::To },
];

/// The rules of a chain: one for each IP version. Counters are zero.
pub(super) fn rules(chain: Chain, tun: &str) -> [Vec<Expression>; 2] {
    let device = match chain.side {
        Side::From => Meta::InputName,
        Side::To => Meta::OutputName,
    };
    // Where the address stands: RFC 791 §3.1 and RFC 8200 §3.
    let (v4, v6) = match chain.side {
        Side::From => (12, 8),
        Side::To => (16, 24),
    };
    [(IPV4, v4, 4, SET_V4), (IPV6, v6, 16, SET_V6)].map(|(family, offset, length, set)| {
        vec![
            Expression::Load(Meta::Family),
            Expression::Equals(vec![family]),
            Expression::Header { offset, length },
            Expression::InSet(set.to_owned()),
            Expression::Load(device),
            Expression::Differs(device_name(tun)),
            Expression::Count { packets: 0, bytes: 0 },
            Expression::Drop,
        ]
    })
}

/// A device's name as the kernel compares it: 16 bytes, the rest zero.
fn device_name(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(16, 0);
    bytes
}

/// The device's name in one of our rules.
pub(super) fn tun_of(rule: &[Expression]) -> Option<String> {
    let name = rule.iter().find_map(|expression| match expression {
        Expression::Differs(name) if name.len() == 16 => Some(name),
        _ => None,
    })?;
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    String::from_utf8(name.get(..end)?.to_vec()).ok()
}
