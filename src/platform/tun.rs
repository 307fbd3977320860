//! The TUN device: IPv4 and IPv6, a header of VIRTIO in front of each packet (`IFF_VNET_HDR`), and behind it one packet or,
//! where the kernel has the offloads, up to 64 KiB that are to be cut or were tied together.
//!
//! It lives as long as its descriptor. A kernel that refuses an offload, or a train, gets packets one by one. One that refuses the
//! header is refused itself, in words: Linux has had it since 2.6.27, and no kernel without it knows the barrier (`inet` tables,
//! 3.14).
//!
//! A device of several queues (`IFF_MULTI_QUEUE`) has a descriptor for each. The kernel gives a flow's packets to the queue
//! that wrote to that flow last, and before that to any; it keeps their order as long as the queue stays the same.
#![allow(unsafe_code, reason = "the `tun` crate gives its descriptor away as a number and does not know TUNSETOFFLOAD")]

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use tun::AbstractDevice;

use super::namespace::{set_sysctl, sysctl};
use super::netlink::Netlink;
use crate::dataplane::buffer::{Batch, Role};
use crate::dataplane::coalesce::MAX_PACKETS;
use crate::dataplane::offload::TunOffload;
use crate::wire::vnet::{self, VnetHeader};

/// The kernel's word for a descriptor whose device was deleted.
const EBADFD: i32 = libc::EBADFD;

/// Packets that may wait for a queue to be read; the kernel would have 500. A worker whose processor is taken away for the
/// 3 or 4 ms that another process may have it finds so many at a million a second.
const QUEUE: u32 = 4096;

/// A head and the payloads of a train.
const PIECES: usize = MAX_PACKETS + 1;

/// `TUN_F_*` of linux/if_tun.h.
mod offload {
    pub(super) const CSUM: u32 = 0x01;
    pub(super) const TSO4: u32 = 0x02;
    pub(super) const TSO6: u32 = 0x04;
    pub(super) const USO4: u32 = 0x20;
    pub(super) const USO6: u32 = 0x40;
}

mod ioctl {
    // Its argument is an `ifreq`, whatever the size in its number says.
    nix::ioctl_write_ptr_bad!(
        set_interface,
        nix::request_code_write!(b'T', 202, size_of::<libc::c_int>()),
        libc::ifreq
    );
    // TUNSETOFFLOAD takes its flags as the argument itself.
    nix::ioctl_write_int_bad!(set_offload, nix::request_code_write!(b'T', 208, size_of::<libc::c_uint>()));
}

/// An open TUN device.
pub struct Tun {
    file: File,
    name: String,
    offload: TunOffload,
}

/// Whether this process may make TUN devices at all; the error says how to mend it.
pub fn available() -> io::Result<()> {
    match File::options().read(true).write(true).open("/dev/net/tun") {
        Ok(_) => Ok(()),
        Err(error) => {
            let mend = match error.kind() {
                io::ErrorKind::PermissionDenied => "let everybody open it, as udev does: chmod 666 /dev/net/tun",
                _ => "load the module tun",
            };
            Err(io::Error::new(error.kind(), format!("/dev/net/tun cannot be opened ({error}): {mend}")))
        }
    }
}

impl Tun {
    /// Makes the device `name` (or takes up a persistent one of that name), gives it `mtu` and brings it up, silent: with
    /// no generated IPv6 address, so that the kernel sends nothing on it of its own accord.
    ///
    /// It is given as many of the kernel's offloads as there are, up to `offload`.
    pub fn open(name: &str, mtu: u16, offload: TunOffload) -> io::Result<Self> {
        available()?;
        let mut configuration = tun::Configuration::default();
        configuration.tun_name(name).layer(tun::Layer::L3).mtu(mtu);
        configuration.platform_config(|platform| {
            platform.vnet_hdr(true);
        });
        let device = tun::create(&configuration).map_err(|error| match error {
            tun::Error::Io(error) => not_made(name, error),
            other => io::Error::other(other),
        })?;
        let name = device.tun_name().map_err(io::Error::other)?;
        device.set_nonblock()?;
        // SAFETY: `into_raw_fd` gives up the device's only descriptor, so this is its one owner.
        let descriptor = unsafe { OwnedFd::from_raw_fd(device.into_raw_fd()) };
        let offload = set_offload(&descriptor, offload);
        let mut netlink = Netlink::open()?;
        let index = netlink.index_of(&name)?;
        netlink.set_queue_len(index, QUEUE)?;
        quieten(&mut netlink, &name, index)?;
        netlink.set_up(index, true)?;
        Ok(Self { file: File::from(descriptor), name, offload })
    }

    /// The same with `queues` queues, each of them a [`Tun`]; the `tun` crate knows one alone, so that more are opened here.
    pub fn open_queues(name: &str, mtu: u16, offload: TunOffload, queues: u16) -> io::Result<Vec<Self>> {
        if queues <= 1 {
            return Ok(vec![Self::open(name, mtu, offload)?]);
        }
        available()?;
        let descriptors = (0..queues).map(|_| open_queue(name)).collect::<io::Result<Vec<_>>>()?;
        let mut in_use = offload;
        for descriptor in &descriptors {
            in_use = set_offload(descriptor, in_use);
        }
        let mut netlink = Netlink::open()?;
        let index = netlink.index_of(name)?;
        netlink.set_mtu(index, u32::from(mtu))?;
        netlink.set_queue_len(index, QUEUE)?;
        quieten(&mut netlink, name, index)?;
        netlink.set_up(index, true)?;
        let queue = |descriptor| Self { file: File::from(descriptor), name: name.to_owned(), offload: in_use };
        Ok(descriptors.into_iter().map(queue).collect())
    }

    /// What the kernel does for many packets at once.
    #[must_use]
    pub fn offload(&self) -> TunOffload {
        self.offload
    }

    /// The device's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Gives the device another MTU.
    pub fn set_mtu(&self, mtu: u16) -> io::Result<()> {
        let mut netlink = Netlink::open()?;
        let index = netlink.index_of(&self.name)?;
        netlink.set_mtu(index, u32::from(mtu))
    }

    /// Reads packets into `batch` until there is none left to read, no room, or one that is to be cut; says how many.
    /// An error that [`is_gone`] means that the device must be made anew.
    pub fn read_batch(&mut self, batch: &mut Batch) -> io::Result<usize> {
        let mut count = 0;
        while !batch.is_full() {
            match self.read_one(batch) {
                Ok(None) => break,
                Ok(Some((len, offload))) => batch.push_from_tun(len, offload),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // What was read before comes first; the error comes again.
                Err(error) => return if count > 0 { Ok(count) } else { Err(error) },
            }
            count += 1;
        }
        Ok(count)
    }

    /// Reads one packet into the room that `batch` offers: how long it is, and what the kernel says of it.
    fn read_one(&mut self, batch: &mut Batch) -> io::Result<Option<(usize, VnetHeader)>> {
        let mut header = [0; vnet::LEN];
        let Some(room) = batch.vacant_for_train() else { return Ok(None) };
        let len = self.file.read_vectored(&mut [IoSliceMut::new(&mut header), IoSliceMut::new(room)])?;
        let len = len.checked_sub(vnet::LEN).filter(|len| *len > 0);
        Ok(len.map(|len| (len, VnetHeader::parse(&header))))
    }

    /// Writes every packet of `batch` that is not done, trains in one call each. What the kernel refuses is counted and
    /// passed over; a train that it refuses goes packet by packet.
    pub fn write_batch(&mut self, batch: &Batch) -> io::Result<Written> {
        let mut written = Written::default();
        for (index, packet) in batch.packets().iter().enumerate() {
            if packet.done || packet.role == Role::Follows {
                continue;
            }
            let Some((head, payloads)) = batch.train(index) else {
                self.write_one(batch.bytes(index), &mut written)?;
                continue;
            };
            let mut pieces = [IoSlice::new(&[]); PIECES];
            pieces[0] = IoSlice::new(head.bytes());
            let mut count = 1;
            for (piece, payload) in pieces[1..].iter_mut().zip(payloads) {
                *piece = IoSlice::new(payload);
                count += 1;
            }
            match self.write(&pieces[..count]) {
                Ok(()) => written.written += count - 1,
                Err(error) if is_gone(&error) => return Err(error),
                Err(error) => {
                    let before = written.written;
                    let mut at = index;
                    while let Some(packet) = batch.packets().get(at) {
                        self.write_one(batch.bytes(at), &mut written)?;
                        if (packet.next as usize) <= at {
                            break;
                        }
                        at = packet.next as usize;
                    }
                    // Packets go, their train does not: then it is the offload that the kernel does not have.
                    if error.raw_os_error() == Some(libc::EINVAL) && written.written > before {
                        written.trains_refused += 1;
                    }
                }
            }
        }
        Ok(written)
    }

    fn write_one(&mut self, packet: &[u8], written: &mut Written) -> io::Result<()> {
        match self.write(&[IoSlice::new(&[0; vnet::LEN]), IoSlice::new(packet)]) {
            Ok(()) => written.written += 1,
            Err(error) if is_gone(&error) => return Err(error),
            // EIO: the device is down; EINVAL: not an IP packet; ENOBUFS, EAGAIN: no room.
            Err(_) => written.refused += 1,
        }
        Ok(())
    }

    fn write(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<()> {
        loop {
            match self.file.write_vectored(pieces) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Opens one more queue of the device `name`, which the first one makes.
fn open_queue(name: &str) -> io::Result<OwnedFd> {
    let file = File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    let descriptor = OwnedFd::from(file);
    // SAFETY: all zeroes is an `ifreq`: an empty name, which the kernel reads up to its first zero, and no flags.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let last = request.ifr_name.len() - 1;
    for (to, byte) in request.ifr_name[..last].iter_mut().zip(name.bytes()) {
        *to = byte.cast_signed();
    }
    request.ifr_ifru.ifru_flags =
        (libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR | libc::IFF_MULTI_QUEUE) as libc::c_short;
    // SAFETY: the structure lives through the call and is what the number asks for.
    unsafe { ioctl::set_interface(descriptor.as_raw_fd(), &raw const request) }
        .map_err(|error| not_made(name, error.into()))?;
    Ok(descriptor)
}

/// What it means that the kernel does not make the device `name` as it is asked to.
fn not_made(name: &str, error: io::Error) -> io::Error {
    if error.raw_os_error() != Some(libc::EINVAL) {
        return error;
    }
    let asked = "a header in front of each packet (IFF_VNET_HDR, in Linux since 2.6.27; with several workers IFF_MULTI_QUEUE, since 3.8)";
    let words = format!("{error}: the kernel has no TUN device with {asked}, or {name} is a device of another kind");
    io::Error::new(error.kind(), words)
}

/// Asks for offloads, and for fewer when they are refused. They belong to the device, not to the descriptor, and outlive
/// it where the device does: so "none" is asked for, too. Where even that is refused a new device has none, and an old one may
/// go on handing over trains, which are cut as always.
fn set_offload(descriptor: &OwnedFd, wanted: TunOffload) -> TunOffload {
    let tcp = offload::CSUM | offload::TSO4 | offload::TSO6;
    let steps =
        [(TunOffload::TcpAndUdp, tcp | offload::USO4 | offload::USO6), (TunOffload::Tcp, tcp), (TunOffload::None, 0)];
    let mut steps = steps.into_iter().filter(|(step, _)| *step <= wanted);
    // SAFETY: the call passes a number and touches no memory of ours.
    let takes = |flags: u32| unsafe { ioctl::set_offload(descriptor.as_raw_fd(), flags.cast_signed()) }.is_ok();
    steps.find(|(_, flags)| takes(*flags)).map_or(TunOffload::None, |(step, _)| step)
}

/// How the packets of a batch fared at the TUN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Taken by the kernel.
    pub written: usize,
    /// Refused by the kernel.
    pub refused: usize,
    /// Trains that were refused as such, while their packets were not.
    pub trains_refused: usize,
}

/// Whether an error of [`Tun::read_batch`] or [`Tun::write_batch`] says that the device was deleted.
#[must_use]
pub fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(EBADFD | libc::ENODEV | libc::ENXIO))
}

/// A router joins the groups of routers on every link that knows multicast and reports them by MLD, even on a link without
/// an address. It leaves them when the link stops forwarding, says so only in MLD version 2, and joins none again on a link
/// without the multicast flag.
fn quieten(netlink: &mut Netlink, name: &str, index: u32) -> io::Result<()> {
    let forwarding = format!("net/ipv6/conf/{name}/forwarding");
    let router = sysctl(&forwarding).is_ok_and(|value| value != "0");
    if router {
        // Where `/proc/sys` may not be written the reports go out, and the packet path drops them by name.
        let _ = set_sysctl(&format!("net/ipv6/conf/{name}/force_mld_version"), "1");
        let _ = set_sysctl(&forwarding, "0");
    }
    netlink.without_multicast(index)?;
    if router {
        let _ = set_sysctl(&forwarding, "1");
    }
    match netlink.without_generated_addresses(index) {
        // A kernel without IPv6 has nothing to be quiet about.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EOPNOTSUPP)) => Ok(()),
        other => other,
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::namespace::Namespace;
    use crate::wire::vnet::Segments;
    use std::net::UdpSocket;
    use std::time::Duration;

    #[test]
    fn a_train_that_the_kernel_refuses_goes_packet_by_packet() {
        let Ok(place) = Namespace::new() else {
            println!("NOT RUN: a_train_that_the_kernel_refuses_goes_packet_by_packet: no network namespaces");
            return;
        };
        place
            .run(|| {
                let mut tun = Tun::open("pc0", 1438, TunOffload::TcpAndUdp).unwrap();
                let mut netlink = Netlink::open().unwrap();
                let index = netlink.index_of("pc0").unwrap();
                netlink.add_address(index, "192.0.2.1/24".parse().unwrap()).unwrap();
                let socket = UdpSocket::bind("192.0.2.1:7000").unwrap();
                socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
                let mut batch = Batch::new(4, 1500);
                for number in 0..3_u8 {
                    let builder = etherparse::PacketBuilder::ipv4([192, 0, 2, 2], [192, 0, 2, 1], 64).udp(9000, 7000);
                    let mut packet = Vec::new();
                    builder.write(&mut packet, &[number; 100]).unwrap();
                    batch.vacant().unwrap()[..packet.len()].copy_from_slice(&packet);
                    batch.push(packet.len(), 0, None);
                }
                // No kernel knows what this is to be cut into.
                let lie = VnetHeader { segments: Segments::Unknown(2), segment_len: 100, ..VnetHeader::default() };
                let head = [&lie.encode()[..], &batch.bytes(0)[..28]].concat();
                batch.tie(&head);
                let written = tun.write_batch(&batch).unwrap();
                assert_eq!(written, Written { written: 3, refused: 0, trains_refused: 1 });
                for number in 0..3_u8 {
                    let mut bytes = [0; 200];
                    assert_eq!(socket.recv(&mut bytes).unwrap(), 100);
                    assert_eq!(bytes[..100], [number; 100]);
                }
                // A device that is down refuses all of it: that is not the train's fault.
                netlink.set_up(index, false).unwrap();
                let written = tun.write_batch(&batch).unwrap();
                assert_eq!(written, Written { written: 0, refused: 3, trains_refused: 0 });
            })
            .unwrap();
    }
}
