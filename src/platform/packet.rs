//! A packet socket that sees every frame that enters a network namespace, through a ring shared with the kernel.
//!
//! The ring (`PACKET_RX_RING`, version 2) holds what a busy reader cannot take at once, and the kernel counts what it had to
//! drop, so that "nothing was seen" can be told from "nobody looked". Frames longer than a slot are cut; their length is kept.
//! Leaves out sending.
#![allow(unsafe_code, reason = "a ring shared with the kernel is mapped memory, and its options are raw structures")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Protocol, Socket, Type};

const BLOCK: usize = 64 << 10;
const SLOT: usize = 2048;

/// One frame as it lies in the ring.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Its bytes from the Ethernet header on, cut to the slot.
    pub bytes: &'a [u8],
    /// Its length on the wire.
    pub length: usize,
    /// When the kernel took it, since the epoch.
    pub at: Duration,
}

/// The socket and its ring.
pub struct PacketRing {
    socket: OwnedFd,
    ring: NonNull<u8>,
    slots: usize,
    next: usize,
    lost: u64,
}

// SAFETY: the mapping belongs to this value alone and is not tied to the thread that made it.
unsafe impl Send for PacketRing {}

impl PacketRing {
    /// Opens a ring of `mebibytes` in the namespace of the calling thread, for what comes in on any of its interfaces.
    pub fn open(mebibytes: usize) -> io::Result<Self> {
        // Protocol 0: nothing is taken until the ring stands and `bind` names the protocol.
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))?;
        let socket = OwnedFd::from(socket);
        let version = libc::tpacket_versions::TPACKET_V2 as libc::c_int;
        set_option(&socket, libc::PACKET_VERSION, &version)?;
        // Each frame of a forwarding namespace comes in once and leaves once: only the first counts.
        set_option(&socket, libc::PACKET_IGNORE_OUTGOING, &libc::c_int::from(true))?;
        let bytes = mebibytes << 20;
        let slots = bytes / SLOT;
        let number =
            |value: usize| libc::c_uint::try_from(value).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
        let request = libc::tpacket_req {
            tp_block_size: number(BLOCK)?,
            tp_block_nr: number(bytes / BLOCK)?,
            tp_frame_size: number(SLOT)?,
            tp_frame_nr: number(slots)?,
        };
        set_option(&socket, libc::PACKET_RX_RING, &request)?;
        // SAFETY: a new mapping of a descriptor that we own; the result is checked.
        let ring = unsafe {
            libc::mmap(
                ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                socket.as_raw_fd(),
                0,
            )
        };
        if ring == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let ring = NonNull::new(ring.cast()).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let ring = Self { socket, ring, slots, next: 0, lost: 0 };
        ring.bind()?;
        Ok(ring)
    }

    fn bind(&self) -> io::Result<()> {
        // SAFETY: all zeroes is a valid `sockaddr_ll`.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        // SAFETY: the address lives through the call and its true size is given.
        let result = unsafe {
            libc::bind(
                self.socket.as_raw_fd(),
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Hands the next frame to `look`, waiting at most `patience` for one. `None`: none came.
    pub fn next<R>(&mut self, patience: Duration, look: impl FnOnce(Frame<'_>) -> R) -> io::Result<Option<R>> {
        // SAFETY: `next` is below `slots`, so the slot lies within the mapping, aligned to its own size.
        let slot = unsafe { self.ring.add(self.next * SLOT) };
        let header: NonNull<libc::tpacket2_hdr> = slot.cast();
        // SAFETY: the slot begins with its header; its status word is the one place that both sides write, so it is atomic.
        let status = unsafe { AtomicU32::from_ptr(&raw mut (*header.as_ptr()).tp_status) };
        if status.load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
            let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
            let mut waiting = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            match poll(&mut waiting, timeout) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            if status.load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
                return Ok(None);
            }
        }
        // SAFETY: the status says that the slot is ours until we give it back; nobody writes it meanwhile.
        let header = unsafe { header.as_ref() };
        let start = usize::from(header.tp_mac).min(SLOT);
        let length = (header.tp_snaplen as usize).min(SLOT - start);
        // SAFETY: as above; start and length were cut to the slot.
        let bytes = unsafe { std::slice::from_raw_parts(slot.add(start).as_ptr(), length) };
        let at = Duration::new(u64::from(header.tp_sec), header.tp_nsec.min(999_999_999));
        let seen = look(Frame { bytes, length: header.tp_len as usize, at });
        status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
        self.next = (self.next + 1) % self.slots;
        Ok(Some(seen))
    }

    /// How many frames found the ring full since it was opened.
    pub fn lost(&mut self) -> io::Result<u64> {
        let mut counts = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        let mut size = size_of::<libc::tpacket_stats>() as libc::socklen_t;
        // SAFETY: the structure lives through the call and its true size is given.
        let result = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut counts).cast(),
                &raw mut size,
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        // Reading the counter clears it.
        self.lost += u64::from(counts.tp_drops);
        Ok(self.lost)
    }
}

impl Drop for PacketRing {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `open` with this length, and no frame is borrowed any more.
        unsafe { libc::munmap(self.ring.as_ptr().cast(), self.slots * SLOT) };
    }
}

fn set_option<T>(socket: &OwnedFd, name: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: the value lives through the call and its true size is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            name,
            ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
