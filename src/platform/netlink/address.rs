//! Addresses of links.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};

use super::Netlink;

/// An address with its prefix on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The link's number.
    pub link: u32,
    /// Address and prefix length.
    pub network: IpNet,
}

impl Netlink {
    /// All addresses of the namespace.
    pub fn addresses(&mut self) -> io::Result<Vec<Address>> {
        let answers = self.request(Message::GetAddress(AddressMessage::default()), NLM_F_DUMP)?;
        Ok(answers.iter().filter_map(Address::of).collect())
    }

    /// Gives a link an address; one that is there already is left as it is. IPv6 addresses can be used at once.
    pub fn add_address(&mut self, link: u32, network: IpNet) -> io::Result<()> {
        self.request(Message::NewAddress(message(link, network)), NLM_F_CREATE | NLM_F_REPLACE).map(drop)
    }

    /// Takes an address from a link.
    pub fn delete_address(&mut self, link: u32, network: IpNet) -> io::Result<()> {
        self.request(Message::DelAddress(message(link, network)), 0).map(drop)
    }
}

fn message(link: u32, network: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = link;
    message.header.prefix_len = network.prefix_len();
    message.header.scope = AddressScope::Universe;
    message.attributes.push(AddressAttribute::Address(network.addr()));
    match network {
        IpNet::V4(v4) => {
            message.header.family = AddressFamily::Inet;
            message.attributes.push(AddressAttribute::Local(network.addr()));
            if v4.prefix_len() < 31 {
                message.attributes.push(AddressAttribute::Broadcast(v4.broadcast()));
            }
        }
        // Duplicate address detection would leave the address unusable for a second.
        IpNet::V6(_) => {
            message.header.family = AddressFamily::Inet6;
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
    }
    message
}

impl Address {
    fn of(message: &Message) -> Option<Self> {
        let Message::NewAddress(message) = message else { return None };
        let (mut local, mut address) = (None, None);
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Local(ip) => local = Some(*ip),
                AddressAttribute::Address(ip) => address = Some(*ip),
                _ => {}
            }
        }
        // On a point-to-point link `Address` is the far end.
        let ip = local.or(address).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let network = IpNet::new(ip, message.header.prefix_len).ok()?;
        Some(Self { link: message.header.index, network })
    }
}
