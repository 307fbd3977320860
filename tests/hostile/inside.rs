//! The inside: packets put onto the TUN device past the kernel's own checks, as no honest host could send them.
#![allow(
    unsafe_code,
    reason = "no crate makes the address of a device that has no hardware address, or sets PACKET_VNET_HDR"
)]

use std::io;
use std::os::fd::AsRawFd;

use nix::sys::socket::{LinkAddr, MsgFlags, SockaddrLike, sendto};
use portcullis::platform::namespace::Namespace;
use portcullis::platform::netlink::Netlink;
use portcullis::wire::vnet::VnetHeader;
use socket2::{Domain, Protocol, Socket, Type};

/// A packet socket on the daemon's TUN device.
pub struct Inside {
    socket: Socket,
    device: LinkAddr,
    pub sent: u64,
    pub refused: u64,
}

impl Inside {
    pub fn open(place: &Namespace, tun: &str) -> io::Result<Self> {
        place.run(|| {
            // Protocol 0: it only sends.
            let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))?;
            socket.set_nonblocking(true)?;
            expect_headers(&socket)?;
            let index = Netlink::open()?.index_of(tun)?;
            let device = device(index).ok_or_else(|| io::Error::other("no address of a device"))?;
            Ok(Self { socket, device, sent: 0, refused: 0 })
        })?
    }

    /// Puts a packet onto the device.
    pub fn send(&mut self, packet: &[u8]) {
        self.send_as(VnetHeader::default(), packet);
    }

    /// Puts a packet onto the device, with something to say about it.
    pub fn send_as(&mut self, header: VnetHeader, packet: &[u8]) {
        let bytes = [&header.encode(), packet].concat();
        match sendto(self.socket.as_raw_fd(), &bytes, &self.device, MsgFlags::MSG_DONTWAIT) {
            Ok(_) => self.sent += 1,
            Err(_) => self.refused += 1,
        }
    }
}

/// Each packet has the kernel's header of offloads in front from now on.
fn expect_headers(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel reads one `c_int` where there is one.
    let set = unsafe {
        let value = (&raw const on).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, libc::PACKET_VNET_HDR, value, len)
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The address that means a device and nothing behind it.
fn device(index: u32) -> Option<LinkAddr> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: 0,
        sll_ifindex: i32::try_from(index).ok()?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: it is a whole `sockaddr_ll`, its family says so, and it is copied before this returns.
    unsafe { LinkAddr::from_raw((&raw const address).cast(), Some(len)) }
}

/// Gives a link another MTU.
pub fn set_mtu(place: &Namespace, link: &str, mtu: u32) -> io::Result<()> {
    place.run(|| {
        let mut netlink = Netlink::open()?;
        let index = netlink.index_of(link)?;
        netlink.set_mtu(index, mtu)
    })?
}
