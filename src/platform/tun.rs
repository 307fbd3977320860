//! The TUN device: one packet a read, no packet information in front, IPv4 and IPv6.
//!
//! It lives as long as its descriptor. Leaves out the kernel's offloads (`IFF_VNET_HDR`): a batch knows trains of segments,
//! this edge does not make them yet.
#![allow(unsafe_code, reason = "the `tun` crate gives its descriptor away as a number")]

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};

use tun::AbstractDevice;

use super::namespace::{set_sysctl, sysctl};
use super::netlink::Netlink;
use crate::dataplane::buffer::Batch;

/// The kernel's word for a descriptor whose device was deleted.
const EBADFD: i32 = libc::EBADFD;

/// An open TUN device.
pub struct Tun {
    file: File,
    name: String,
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
    pub fn open(name: &str, mtu: u16) -> io::Result<Self> {
        available()?;
        let mut configuration = tun::Configuration::default();
        configuration.tun_name(name).layer(tun::Layer::L3).mtu(mtu);
        let device = tun::create(&configuration).map_err(|error| match error {
            tun::Error::Io(error) => error,
            other => io::Error::other(other),
        })?;
        let name = device.tun_name().map_err(io::Error::other)?;
        device.set_nonblock()?;
        // SAFETY: `into_raw_fd` gives up the device's only descriptor, so this is its one owner.
        let descriptor = unsafe { OwnedFd::from_raw_fd(device.into_raw_fd()) };
        let mut netlink = Netlink::open()?;
        let index = netlink.index_of(&name)?;
        quieten(&mut netlink, &name, index)?;
        netlink.set_up(index, true)?;
        Ok(Self { file: File::from(descriptor), name })
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

    /// Reads packets into the vacant slots of `batch` until there is none left to read or no slot; says how many.
    /// An error that [`is_gone`] means that the device must be made anew.
    pub fn read_batch(&mut self, batch: &mut Batch) -> io::Result<usize> {
        let mut count = 0;
        while let Some(slot) = batch.vacant() {
            match self.file.read(slot) {
                Ok(0) => break,
                Ok(len) => batch.push(len, 0, None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // What was read before comes first; the error comes again.
                Err(error) => return if count > 0 { Ok(count) } else { Err(error) },
            }
            count += 1;
        }
        Ok(count)
    }

    /// Writes every packet of `batch` that is not done. One that the kernel refuses is counted and passed over.
    pub fn write_batch(&mut self, batch: &Batch) -> io::Result<Written> {
        let mut written = Written::default();
        for (index, packet) in batch.packets().iter().enumerate() {
            if packet.done {
                continue;
            }
            loop {
                match self.file.write(batch.bytes(index)) {
                    Ok(_) => written.written += 1,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) if is_gone(&error) => return Err(error),
                    // EIO: the device is down; EINVAL: not an IP packet; ENOBUFS, EAGAIN: no room.
                    Err(_) => written.refused += 1,
                }
                break;
            }
        }
        Ok(written)
    }
}

/// How the packets of a batch fared at the TUN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Taken by the kernel.
    pub written: usize,
    /// Refused by the kernel.
    pub refused: usize,
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
