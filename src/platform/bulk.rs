//! Many small datagrams in one system call, for whoever makes or counts traffic (`lab::bench`): a connected socket sends, a
//! bound one receives. The data path has its own, with paths and offloads (`datagram`); here there is neither.
#![allow(unsafe_code, reason = "sendmmsg and recvmmsg take arrays of structures with pointers in them")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// How many datagrams one call moves at most.
pub const AT_ONCE: usize = 64;

/// Headers for [`AT_ONCE`] datagrams.
pub struct Bulk {
    headers: Box<[libc::mmsghdr]>,
    vectors: Box<[libc::iovec]>,
}

// SAFETY: the pointers are written and used within one call of a method that holds `&mut self`; between calls nobody follows
// them, so it does not matter which thread the boxes belong to.
unsafe impl Send for Bulk {}

impl Default for Bulk {
    fn default() -> Self {
        let none = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        // SAFETY: an `mmsghdr` is numbers and pointers; all zero is a value of it.
        let header: libc::mmsghdr = unsafe { std::mem::zeroed() };
        Self { headers: vec![header; AT_ONCE].into(), vectors: vec![none; AT_ONCE].into() }
    }
}

impl Bulk {
    /// Sends the first [`AT_ONCE`] of `datagrams` over a connected socket, waiting as the socket does; says how many the
    /// kernel took.
    pub fn send<'a>(&mut self, socket: BorrowedFd<'_>, datagrams: impl Iterator<Item = &'a [u8]>) -> io::Result<usize> {
        let count = self.gather(datagrams);
        // SAFETY: the first `count` headers point at vectors of `self` with their true number, and those at bytes that `'a`
        // keeps borrowed, with their true lengths; the kernel writes nothing but `msg_len`.
        let sent = unsafe {
            libc::sendmmsg(socket.as_raw_fd(), self.headers.as_mut_ptr(), count as u32, libc::MSG_NOSIGNAL as _)
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    /// Waits for a datagram as the socket does, and takes what else is there; of each the first bytes go into one of `slots`,
    /// each `slot` long. Says how many came; [`length`](Self::length) tells their true lengths.
    pub fn receive(&mut self, socket: BorrowedFd<'_>, slots: &mut [u8], slot: usize) -> io::Result<usize> {
        let count = self.offer(slots, slot);
        // MSG_TRUNC as a flag of the call: a datagram's whole length is told, however little of it is copied.
        let flags = libc::MSG_WAITFORONE | libc::MSG_TRUNC;
        // SAFETY: the first `count` headers point at vectors of `self`, and those at parts of `slots` that do not overlap, which
        // is borrowed mutably until this returns, all with their true lengths.
        let received = unsafe {
            libc::recvmmsg(socket.as_raw_fd(), self.headers.as_mut_ptr(), count as u32, flags as _, ptr::null_mut())
        };
        usize::try_from(received).map_err(|_| io::Error::last_os_error())
    }

    /// How long the datagram `index` of the last [`receive`](Self::receive) was.
    #[must_use]
    pub fn length(&self, index: usize) -> usize {
        self.headers.get(index).map_or(0, |header| header.msg_len as usize)
    }

    /// Lets the first headers point at datagrams that are to be sent; says how many.
    fn gather<'a>(&mut self, datagrams: impl Iterator<Item = &'a [u8]>) -> usize {
        let mut count = 0;
        for (vector, datagram) in self.vectors.iter_mut().zip(datagrams) {
            // The kernel only reads what a sent vector points at.
            *vector = libc::iovec { iov_base: datagram.as_ptr().cast_mut().cast(), iov_len: datagram.len() };
            count += 1;
        }
        self.point(count);
        count
    }

    /// Lets the first headers point at slots; says how many.
    fn offer(&mut self, slots: &mut [u8], slot: usize) -> usize {
        let mut count = 0;
        for (vector, place) in self.vectors.iter_mut().zip(slots.chunks_exact_mut(slot.max(1))) {
            *vector = libc::iovec { iov_base: place.as_mut_ptr().cast(), iov_len: place.len() };
            count += 1;
        }
        self.point(count);
        count
    }

    /// Gives each of the first `count` headers its vector, when nothing else is written any more.
    fn point(&mut self, count: usize) {
        let vectors = self.vectors.as_mut_ptr();
        for (index, header) in self.headers.iter_mut().take(count).enumerate() {
            header.msg_len = 0;
            header.msg_hdr.msg_iov = vectors.wrapping_add(index);
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_flags = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn datagrams_arrive_in_order_with_their_lengths_however_small_the_slots() {
        let sink = UdpSocket::bind("127.0.0.1:0").unwrap();
        let source = UdpSocket::bind("127.0.0.1:0").unwrap();
        source.connect(sink.local_addr().unwrap()).unwrap();
        let made: Vec<Vec<u8>> = (1..=70_u8).map(|number| vec![number; usize::from(number) * 10]).collect();
        let mut bulk = Bulk::default();
        assert_eq!(bulk.send(source.as_fd(), made.iter().map(Vec::as_slice)).unwrap(), AT_ONCE);
        let mut slots = vec![0; 8 * 100];
        let mut seen = Vec::new();
        while seen.len() < AT_ONCE {
            let count = bulk.receive(sink.as_fd(), &mut slots, 8).unwrap();
            assert!((1..=AT_ONCE).contains(&count));
            seen.extend((0..count).map(|at| (slots[at * 8], bulk.length(at))));
        }
        let sent: Vec<_> = made.iter().take(AT_ONCE).map(|each| (each[0], each.len())).collect();
        assert_eq!(seen, sent);
    }

    #[test]
    fn every_pointer_leads_to_its_own_datagram_or_slot() {
        let mut bulk = Bulk::default();
        let made: Vec<Vec<u8>> = (0..100_u8).map(|number| vec![number; usize::from(number)]).collect();
        assert_eq!(bulk.gather(made.iter().map(Vec::as_slice)), AT_ONCE);
        for (header, made) in bulk.headers.iter().zip(&made) {
            // SAFETY: this is what is tested: the pointers lead to as much as is said beside them.
            let bytes = unsafe {
                let vector = *header.msg_hdr.msg_iov;
                std::slice::from_raw_parts(vector.iov_base.cast::<u8>().cast_const(), vector.iov_len)
            };
            assert_eq!(bytes, made);
        }
        let mut slots = vec![0; 8 * 10 + 3];
        assert_eq!(bulk.offer(&mut slots, 8), 10);
        for (index, header) in bulk.headers.iter().take(10).enumerate() {
            // SAFETY: as the kernel does: no more is written than is offered.
            unsafe {
                let vector = *header.msg_hdr.msg_iov;
                vector.iov_base.cast::<u8>().write_bytes(index as u8 + 1, vector.iov_len);
            }
        }
        let expected: Vec<u8> = (1..=10).flat_map(|number| [number; 8]).chain([0; 3]).collect();
        assert_eq!(slots, expected);
    }

    #[test]
    fn an_error_of_the_socket_is_told() {
        let nowhere = UdpSocket::bind("127.0.0.1:0").unwrap();
        let made = [1_u8];
        assert!(Bulk::default().send(nowhere.as_fd(), std::iter::once(&made[..])).is_err(), "it is not connected");
    }
}
