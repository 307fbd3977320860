//! Links, addresses and routes over rtnetlink: one blocking request at a time on a socket of its own.
//!
//! A [`Netlink`] belongs to the network namespace of the thread that opened it. Leaves out multicast notifications, traffic
//! control and rules.

mod address;
mod link;
mod route;

use std::io;
use std::os::fd::AsFd;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};

pub use address::Address;
pub use link::Link;
pub use route::{PROTOCOL, Route, RouteKind};

/// The kernel answers at once; a socket that stays silent this long never will.
const PATIENCE_SECONDS: i64 = 5;

/// A socket to the kernel's routing tables and links.
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens a socket in the calling thread's network namespace.
    pub fn open() -> io::Result<Self> {
        Ok(Self { socket: open(NETLINK_ROUTE)?, sequence: 0 })
    }

    /// Sends `message` and gathers what comes back until the kernel acknowledges or ends the dump.
    fn request(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags | if flags & NLM_F_DUMP == NLM_F_DUMP { 0 } else { NLM_F_ACK };
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let mut answers = Vec::new();
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            for bytes in messages(&datagram) {
                let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes).map_err(io::Error::other)?;
                if message.header.sequence_number != self.sequence {
                    continue; // the late answer to a request that was given up
                }
                match message.payload {
                    NetlinkPayload::Done(_) => return Ok(answers),
                    NetlinkPayload::Error(error) if error.code.is_none() => return Ok(answers),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    NetlinkPayload::InnerMessage(inner) => answers.push(inner),
                    _ => {}
                }
            }
        }
    }
}

/// A bound netlink socket that does not wait for ever.
pub(super) fn open(protocol: isize) -> io::Result<Socket> {
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    let patience = TimeVal::seconds(PATIENCE_SECONDS);
    setsockopt(&socket.as_fd(), sockopt::ReceiveTimeout, &patience)?;
    Ok(socket)
}

/// The netlink messages in one datagram of the kernel, each with its header and without its padding.
pub(super) fn messages(datagram: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(*rest.first_chunk()?) as usize;
        if length < 16 {
            return None;
        }
        let (message, _) = rest.split_at_checked(length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_is_cut_into_its_messages_and_junk_ends_it() {
        let mut datagram = vec![0_u8; 20 + 16];
        datagram[0] = 18; // padded to 20
        datagram[20] = 16;
        let lengths: Vec<usize> = messages(&datagram).map(<[u8]>::len).collect();
        assert_eq!(lengths, [18, 16]);
        datagram[0] = 200;
        assert_eq!(messages(&datagram).count(), 0);
        datagram[0] = 3;
        assert_eq!(messages(&datagram).count(), 0);
        assert_eq!(messages(&[1, 2]).count(), 0);
    }

    #[test]
    fn the_loopback_is_found_and_an_unknown_link_is_not() {
        let mut netlink = Netlink::open().unwrap();
        let lo = netlink.link("lo").unwrap().unwrap();
        assert_eq!(lo.name, "lo");
        assert!(lo.index > 0);
        assert!(netlink.link("no-such-link").unwrap().is_none());
        assert!(netlink.links().unwrap().contains(&lo));
    }
}
