//! Many datagrams in one system call: `recvmmsg` into the slots of a batch, `sendmmsg` out of them.
//!
//! All headers are allocated once. The pointers in them are set right before a call and mean nothing after it.
#![allow(unsafe_code, reason = "neither nix nor socket2 sends many messages with control data of their own each")]

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::{address, control};
use crate::dataplane::buffer::Batch;

/// How many datagrams one call moves at most.
pub(super) const AT_ONCE: usize = 64;

#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; control::ROOM]);

/// Headers, addresses and control data for [`AT_ONCE`] datagrams.
pub(super) struct Messages {
    headers: Box<[libc::mmsghdr]>,
    vectors: Box<[libc::iovec]>,
    names: Box<[[u8; address::ROOM]]>,
    controls: Box<[Control]>,
}

// SAFETY: the pointers in `headers` and `vectors` are written and used within one call of a method that holds `&mut self`;
// between calls nobody follows them, so it does not matter which thread the boxes belong to.
unsafe impl Send for Messages {}

/// A datagram to be sent.
pub(super) struct Outgoing<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) to: SocketAddr,
    pub(super) from: IpAddr,
    pub(super) tos: u8,
    pub(super) segment: u16,
}

/// What is known about a received datagram beside its bytes.
pub(super) struct Incoming<'a> {
    pub(super) len: usize,
    pub(super) truncated: bool,
    pub(super) from: Option<SocketAddr>,
    pub(super) control: &'a [u8],
}

impl Messages {
    pub(super) fn new() -> Self {
        let none = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        // SAFETY: an `mmsghdr` is numbers and pointers; all zero is a value of it.
        let header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        Self {
            headers: vec![header; AT_ONCE].into(),
            vectors: vec![none; AT_ONCE].into(),
            names: vec![[0; address::ROOM]; AT_ONCE].into(),
            controls: vec![Control([0; control::ROOM]); AT_ONCE].into(),
        }
    }

    /// Receives into the first vacant slots of `batch`, without waiting; says how many came. The caller pushes each of them.
    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>, batch: &mut Batch, flags: i32) -> io::Result<usize> {
        let mut count = 0;
        for slot in batch.vacant_slots().take(AT_ONCE) {
            self.vectors[count] = libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: slot.len() };
            self.prepare(count, address::ROOM, control::ROOM);
            count += 1;
        }
        if count == 0 {
            return Ok(0);
        }
        let flags = (libc::MSG_DONTWAIT | flags) as _;
        // SAFETY: the first `count` headers point at slots of `batch`, which is borrowed mutably until this returns, and at
        // names and controls of `self`, all with their true lengths; no two headers share memory.
        let received = unsafe {
            libc::recvmmsg(socket.as_raw_fd(), self.headers.as_mut_ptr(), count as u32, flags, ptr::null_mut())
        };
        usize::try_from(received).map_err(|_| io::Error::last_os_error())
    }

    /// The datagram `index` of the last [`receive`](Self::receive).
    pub(super) fn received(&self, index: usize) -> Incoming<'_> {
        let header = &self.headers[index];
        let name = self.names[index].get(..header.msg_hdr.msg_namelen as usize).unwrap_or_default();
        Incoming {
            len: header.msg_len as usize,
            truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            from: address::decode(name),
            control: self.controls[index].0.get(..header.msg_hdr.msg_controllen as _).unwrap_or_default(),
        }
    }

    /// Sends up to [`AT_ONCE`] datagrams without waiting; says how many the kernel took. An error is the first one's.
    pub(super) fn send<'a>(
        &mut self,
        socket: BorrowedFd<'_>,
        datagrams: impl Iterator<Item = Outgoing<'a>>,
    ) -> io::Result<usize> {
        let mut count = 0;
        for datagram in datagrams.take(AT_ONCE) {
            // The kernel only reads what a sent vector points at.
            let base = datagram.bytes.as_ptr().cast_mut().cast();
            self.vectors[count] = libc::iovec { iov_base: base, iov_len: datagram.bytes.len() };
            let name = address::encode(datagram.to, &mut self.names[count]);
            let control = control::write(&mut self.controls[count].0, datagram.from, datagram.tos, datagram.segment);
            self.prepare(count, name, control);
            count += 1;
        }
        if count == 0 {
            return Ok(0);
        }
        let flags = (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _;
        // SAFETY: the first `count` headers point at bytes that `'a` keeps borrowed, and at names and controls of `self`, all
        // with their true lengths; the kernel writes nothing but `msg_len`.
        let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), self.headers.as_mut_ptr(), count as u32, flags) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    fn prepare(&mut self, index: usize, name: usize, control: usize) {
        let header = &mut self.headers[index].msg_hdr;
        header.msg_name = self.names[index].as_mut_ptr().cast();
        header.msg_namelen = name as u32;
        header.msg_iov = &raw mut self.vectors[index];
        header.msg_iovlen = 1;
        header.msg_control = self.controls[index].0.as_mut_ptr().cast();
        header.msg_controllen = control as _;
        header.msg_flags = 0;
        self.headers[index].msg_len = 0;
    }
}

/// Sets a socket option that is a number.
pub(super) fn set_option(socket: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: the kernel reads four bytes at the address of `value`, which lives until the call returns.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), size_of::<i32>() as u32)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
