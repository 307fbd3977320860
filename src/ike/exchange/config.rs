//! Configuration payloads of IKE_AUTH (RFC 7296 §2.19, §3.15): an inner address and name servers, asked for or given.
//!
//! ```text
//! Initiator                                         Responder
//! HDR, SK {IDi, AUTH, CP(CFG_REQUEST), SA, ..}  -->
//!                                               <-- HDR, SK {IDr, AUTH, CP(CFG_REPLY), SA, ..}
//!                                           or  <-- HDR, SK {IDr, AUTH, N(INTERNAL_ADDRESS_FAILURE)}
//! ```
//! A tunnel has one peer, so that its pool has one lease: the first address of each network, or another one that the peer
//! asks for. Selectors of the peer's side that hold addresses of the pool are narrowed to the lease.
//!
//! Left out: subnets, net masks, DHCP and application versions (passed over), CFG_SET, and CP outside IKE_AUTH: a rekeying
//! with CP, as some peers send it, is answered as if it had none.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::event::IkeReason;
use crate::ike::child::Declined;
use crate::ike::config::{ChildConfig, TunnelConfig};
use crate::ike::ike_sa::Core;
use crate::ike::limits;
use crate::ike::payloads::Sorted;
use crate::ike::terms::Terms;
use crate::policy::selector::TrafficSelector;
use crate::wire::ike::numbers::{CfgType, NotifyType};
use crate::wire::ike::payload::{Attribute, Configuration, Payload};

// RFC 7296 §3.15.1.
const INTERNAL_IP4_ADDRESS: u16 = 1;
const INTERNAL_IP4_DNS: u16 = 3;
const INTERNAL_IP6_ADDRESS: u16 = 8;
const INTERNAL_IP6_DNS: u16 = 10;

// Initiator.

/// What is asked for: an address and name servers of each family that the rules need. RFC 7296 §2.19: it stands before the SA
/// payload.
pub fn request(core: &Core) -> Option<Payload> {
    if !core.tunnel.peering.request_address {
        return None;
    }
    let needs = |v4: bool| core.tunnel.children.iter().any(|child| child.local.start.is_ipv4() == v4);
    let v4 = [INTERNAL_IP4_ADDRESS, INTERNAL_IP4_DNS].into_iter().filter(|_| needs(true));
    let v6 = [INTERNAL_IP6_ADDRESS, INTERNAL_IP6_DNS].into_iter().filter(|_| needs(false));
    // "the length of the value is zero" asks for any.
    let attributes = v4.chain(v6).map(|kind| Attribute { kind, value: Vec::new() }).collect();
    Some(Payload::Cp(Configuration { kind: CfgType::REQUEST, attributes }))
}

/// What the peer gives. Nothing that was not asked for.
pub fn accept(core: &mut Core, answer: &Sorted) {
    if !core.tunnel.peering.request_address {
        return;
    }
    let Some(reply) = answer.cp.as_ref().filter(|cp| cp.kind == CfgType::REPLY) else { return };
    let of = |kinds: [u16; 2], most: usize| -> Vec<IpAddr> {
        let wanted = reply.attributes.iter().filter(|attribute| kinds.contains(&attribute.kind));
        wanted.filter_map(|attribute| address(&attribute.value)).filter(is_usable).take(most).collect()
    };
    core.terms.assigned = of([INTERNAL_IP4_ADDRESS, INTERNAL_IP6_ADDRESS], limits::MAX_INNER_ADDRESSES);
    core.terms.dns = of([INTERNAL_IP4_DNS, INTERNAL_IP6_DNS], limits::MAX_DNS);
}

/// An address, with or without the prefix length that goes with INTERNAL_IP6_ADDRESS.
fn address(value: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(value) {
        return Some(v4.into());
    }
    let v6: &[u8; 16] = value.first_chunk().filter(|_| value.len() <= 17)?;
    Some((*v6).into())
}

#[allow(clippy::trivially_copy_pass_by_ref)] // a filter gives references
fn is_usable(address: &IpAddr) -> bool {
    !(address.is_unspecified() || address.is_loopback() || address.is_multicast())
}

// Responder.

/// What the peer gets, with the payload that says so; nothing where the tunnel hands out nothing.
pub fn grant(core: &mut Core, request: &Sorted) -> Result<Option<Payload>, Declined> {
    let tunnel = core.tunnel.clone();
    let pool = &tunnel.peering.pool;
    if pool.is_empty() {
        // RFC 7296 §2.19: whoever does not want to give any says nothing of it; Cisco peers ask everybody.
        return Ok(None);
    }
    let Some(asked) = request.cp.as_ref().filter(|cp| cp.kind == CfgType::REQUEST) else {
        // §2.19: "the responder MUST fail the request [...] FAILED_CP_REQUIRED", if it demands that addresses are asked for.
        let detail = "the peer asks for no inner address";
        return Err(Declined::new(IkeReason::AddressFailure, NotifyType::FAILED_CP_REQUIRED, detail));
    };
    let asks = |kind: u16| asked.attributes.iter().filter(move |attribute| attribute.kind == kind);
    let leased: Vec<IpAddr> = pool
        .iter()
        .filter_map(|net| {
            let kind = if net.addr().is_ipv4() { INTERNAL_IP4_ADDRESS } else { INTERNAL_IP6_ADDRESS };
            let wish = asks(kind).next()?;
            // §3.15.1: a value in the request is "a hint"; one that is not of the pool is not taken.
            let hosts = |wish: &IpAddr| net.contains(wish) && is_host(*net, *wish);
            address(&wish.value).filter(hosts).or_else(|| net.hosts().next())
        })
        .collect();
    if leased.is_empty() {
        // §3.15.4: "If the responder encounters an error while attempting to assign an IP address".
        let detail = "the pool has no address of the family that the peer asks for";
        return Err(Declined::new(IkeReason::AddressFailure, NotifyType::INTERNAL_ADDRESS_FAILURE, detail));
    }
    let mut attributes: Vec<Attribute> = leased.iter().map(|address| given(*address)).collect();
    let dns = tunnel.peering.dns.iter().copied();
    attributes.extend(dns.filter_map(|server| {
        let (kind, value) = match server {
            IpAddr::V4(v4) => (INTERNAL_IP4_DNS, v4.octets().to_vec()),
            IpAddr::V6(v6) => (INTERNAL_IP6_DNS, v6.octets().to_vec()),
        };
        asks(kind).next().map(|_| Attribute { kind, value })
    }));
    core.terms.leased = leased;
    Ok(Some(Payload::Cp(Configuration { kind: CfgType::REPLY, attributes })))
}

fn given(address: IpAddr) -> Attribute {
    match address {
        IpAddr::V4(v4) => Attribute { kind: INTERNAL_IP4_ADDRESS, value: v4.octets().to_vec() },
        // §3.15.1: 16 octets of address and one of prefix length.
        IpAddr::V6(v6) => Attribute { kind: INTERNAL_IP6_ADDRESS, value: [&v6.octets()[..], &[128]].concat() },
    }
}

/// Whether it is neither the network's own address nor its broadcast address.
fn is_host(net: IpNet, address: IpAddr) -> bool {
    net.max_prefix_len() - net.prefix_len() < 2 || (address != net.network() && address != net.broadcast())
}

// Selectors.

/// A configured child SA as it stands with inner addresses given; `None` if nothing of it is the peer's.
pub fn narrowed(terms: &Terms, tunnel: &TunnelConfig, child: ChildConfig) -> Option<ChildConfig> {
    let held = |side: &TrafficSelector, addresses: &[IpAddr]| {
        addresses.iter().find_map(|address| side.intersect(&TrafficSelector::any(IpNet::from(*address))))
    };
    let local = held(&child.local, &terms.assigned).unwrap_or(child.local);
    let of_pool = |net: &IpNet| child.remote.intersect(&TrafficSelector::any(*net)).is_some();
    let remote = if tunnel.peering.pool.iter().any(of_pool) {
        // Of a pool the peer has what it was given, and nothing else.
        held(&child.remote, &terms.leased)?
    } else {
        child.remote
    };
    Some(ChildConfig { local, remote, ..child })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_four_or_sixteen_bytes_and_perhaps_a_prefix_length() {
        assert_eq!(address(&[10, 9, 0, 1]), Some(IpAddr::from([10, 9, 0, 1])));
        let v6 = [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[5]].concat();
        assert_eq!(address(&v6), "2001:db8::5".parse().ok());
        assert_eq!(address(&[&v6[..], &[64]].concat()), "2001:db8::5".parse().ok());
        for odd in [0, 3, 5, 8, 15, 18, 300] {
            assert_eq!(address(&vec![7; odd]), None, "{odd}");
        }
    }

    #[test]
    fn a_network_and_its_broadcast_address_are_no_hosts() {
        let net: IpNet = "10.9.0.0/24".parse().unwrap();
        let is = |text: &str| is_host(net, text.parse().unwrap());
        assert_eq!((is("10.9.0.0"), is("10.9.0.1"), is("10.9.0.254"), is("10.9.0.255")), (false, true, true, false));
        let one: IpNet = "10.9.0.7/32".parse().unwrap();
        assert!(is_host(one, one.addr()));
    }
}
