//! One line of a Cisco access list. IOS XE and ASA write it alike but for the mask of a network, which IOS XE turns round, and
//! for their words for a protocol.

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};

use super::network;
use crate::policy::selector::TrafficSelector;

/// `permit` for what goes from `near` to `far`. `None` if a selector is no network.
pub(super) fn permit(
    protocol: &str,
    near: &TrafficSelector,
    far: &TrafficSelector,
    mask: fn(&Ipv4Net) -> Ipv4Addr,
) -> Option<String> {
    Some(format!("permit {protocol} {} {}", side(near, mask)?, side(far, mask)?))
}

fn side(selector: &TrafficSelector, mask: fn(&Ipv4Net) -> Ipv4Addr) -> Option<String> {
    let place = match network(selector)? {
        net if net.prefix_len() == net.max_prefix_len() => format!("host {}", net.addr()),
        IpNet::V4(net) => format!("{} {}", net.addr(), mask(&net)),
        IpNet::V6(net) => net.to_string(),
    };
    match (selector.any_port(), selector.first_port == selector.last_port) {
        (true, _) => Some(place),
        (false, true) => Some(format!("{place} eq {}", selector.first_port)),
        (false, false) => Some(format!("{place} range {} {}", selector.first_port, selector.last_port)),
    }
}
