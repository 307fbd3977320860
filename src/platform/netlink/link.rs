//! Links: find, make a veth pair, bring up, rename, move to another namespace, delete.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo,
    LinkMessage,
};

use super::Netlink;

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its MTU.
    pub mtu: u32,
    /// Whether it is up by the operator's will.
    pub up: bool,
}

impl Netlink {
    /// All links of the namespace.
    pub fn links(&mut self) -> io::Result<Vec<Link>> {
        let answers = self.request(Message::GetLink(LinkMessage::default()), NLM_F_DUMP)?;
        Ok(answers.iter().filter_map(Link::of).collect())
    }

    /// The link called `name`, if there is one.
    pub fn link(&mut self, name: &str) -> io::Result<Option<Link>> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        match self.request(Message::GetLink(message), 0) {
            Ok(answers) => Ok(answers.iter().find_map(Link::of)),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The number of the link called `name`.
    pub fn index_of(&mut self, name: &str) -> io::Result<u32> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, format!("there is no network device called {name}"));
        Ok(self.link(name)?.ok_or_else(missing)?.index)
    }

    /// Makes a pair of veth devices: `name` here and `peer` in the namespace that `peer_namespace` holds (here, if none).
    pub fn add_veth(&mut self, name: &str, peer: &str, peer_namespace: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let mut other = LinkMessage::default();
        other.attributes.push(LinkAttribute::IfName(peer.to_owned()));
        if let Some(namespace) = peer_namespace {
            other.attributes.push(LinkAttribute::NetNsFd(namespace.as_raw_fd()));
        }
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        message.attributes.push(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(other))),
        ]));
        self.request(Message::NewLink(message), NLM_F_CREATE | NLM_F_EXCL).map(drop)
    }

    /// Brings a link up or down.
    pub fn set_up(&mut self, index: u32, up: bool) -> io::Result<()> {
        let mut message = change(index);
        message.header.change_mask = LinkFlags::Up;
        message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
        self.request(Message::SetLink(message), 0).map(drop)
    }

    /// Sets a link's MTU.
    pub fn set_mtu(&mut self, index: u32, mtu: u32) -> io::Result<()> {
        self.set(index, LinkAttribute::Mtu(mtu))
    }

    /// Sets how many packets may wait for a link's owner.
    pub fn set_queue_len(&mut self, index: u32, packets: u32) -> io::Result<()> {
        self.set(index, LinkAttribute::TxQueueLen(packets))
    }

    /// Gives a link another name; it must be down.
    pub fn rename(&mut self, index: u32, name: &str) -> io::Result<()> {
        self.set(index, LinkAttribute::IfName(name.to_owned()))
    }

    /// Moves a link to the namespace that `namespace` holds.
    pub fn move_link(&mut self, index: u32, namespace: BorrowedFd<'_>) -> io::Result<()> {
        self.set(index, LinkAttribute::NetNsFd(namespace.as_raw_fd()))
    }

    /// Keeps the kernel from giving the link a link-local address, which would make it speak MLD, DAD and router
    /// solicitations on its own.
    pub fn without_generated_addresses(&mut self, index: u32) -> io::Result<()> {
        let inet6 = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)]);
        self.set(index, LinkAttribute::AfSpecUnspec(vec![inet6]))
    }

    /// Takes the multicast flag from a link, so that the kernel joins no group of routers on it.
    pub fn without_multicast(&mut self, index: u32) -> io::Result<()> {
        let mut message = change(index);
        message.header.change_mask = LinkFlags::Multicast;
        self.request(Message::SetLink(message), 0).map(drop)
    }

    /// Has the kernel cut trains of segments before the link sends them, so that a capture shows packets as a real wire
    /// would carry them.
    pub fn without_segmentation_offload(&mut self, index: u32) -> io::Result<()> {
        self.set(index, LinkAttribute::GsoMaxSegs(1))
    }

    /// Deletes a link.
    pub fn delete_link(&mut self, index: u32) -> io::Result<()> {
        self.request(Message::DelLink(change(index)), 0).map(drop)
    }

    fn set(&mut self, index: u32, attribute: LinkAttribute) -> io::Result<()> {
        let mut message = change(index);
        message.attributes.push(attribute);
        self.request(Message::SetLink(message), 0).map(drop)
    }
}

fn change(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
}

impl Link {
    fn of(message: &Message) -> Option<Self> {
        let Message::NewLink(message) = message else { return None };
        let up = message.header.flags.contains(LinkFlags::Up);
        let mut link = Self { index: message.header.index, name: String::new(), mtu: 0, up };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                _ => {}
            }
        }
        Some(link)
    }
}
