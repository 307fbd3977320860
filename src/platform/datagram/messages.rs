//! Many datagrams in one system call: `recvmmsg` into the slots of a batch, `sendmmsg` out of them; and many of those in one
//! message, which the kernel cuts again (`UDP_SEGMENT`), gathered from where they lie.
//!
//! All headers are allocated once. The pointers in them are set right before a call, when nothing else is written any more,
//! and mean nothing after it.
#![allow(unsafe_code, reason = "neither nix nor socket2 sends many messages with control data of their own each")]

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::{address, control};
use crate::dataplane::buffer::{Batch, Path};
use crate::dataplane::offload::Sending;

/// How many messages one call moves at most.
pub(super) const AT_ONCE: usize = 64;
/// How many datagrams one call sends at most.
pub(super) const DATAGRAMS: usize = 512;
/// Datagrams in one message: what every kernel with `UDP_SEGMENT` takes (`UDP_MAX_SEGMENTS` before Linux 6.9).
const SEGMENTS: usize = 64;
/// Bytes in one message: what is left of an IPv4 packet behind its UDP header.
const BYTES: usize = 65_507;

#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; control::ROOM]);

/// Headers, addresses and control data for [`AT_ONCE`] datagrams.
pub(super) struct Messages {
    headers: Box<[libc::mmsghdr]>,
    vectors: Box<[libc::iovec]>,
    names: Box<[[u8; address::ROOM]]>,
    controls: Box<[Control]>,
    /// How many datagrams there are in each message that is sent.
    sizes: Box<[usize]>,
}

// SAFETY: the pointers in `headers` and `vectors` are written and used within one call of a method that holds `&mut self`;
// between calls nobody follows them, so it does not matter which thread the boxes belong to.
unsafe impl Send for Messages {}

/// A datagram to be sent.
#[derive(Clone, Copy)]
pub(super) struct Outgoing<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) path: Path,
    /// Length of each but the last of those that lie here one behind the other.
    pub(super) segment: u16,
    /// Its lane: others neither share its message nor have its hop limit.
    pub(super) lane: u8,
    /// Whether it may share a message with the one before it.
    pub(super) joins: bool,
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
            vectors: vec![none; DATAGRAMS].into(),
            names: vec![[0; address::ROOM]; AT_ONCE].into(),
            controls: vec![Control([0; control::ROOM]); AT_ONCE].into(),
            sizes: vec![0; AT_ONCE].into(),
        }
    }

    /// Receives into the first vacant slots of `batch`, no more than `most`, without waiting; says how many came. The
    /// caller pushes each of them.
    pub(super) fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        batch: &mut Batch,
        most: usize,
        flags: i32,
    ) -> io::Result<usize> {
        let count = self.offer(batch, most);
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

    /// Lets the first headers point at vacant slots of `batch`; says how many.
    fn offer(&mut self, batch: &mut Batch, most: usize) -> usize {
        let mut count = 0;
        for slot in batch.vacant_slots().take(most.min(AT_ONCE)) {
            self.vectors[count] = libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: slot.len() };
            self.measure(count, 1, address::ROOM, control::ROOM);
            count += 1;
        }
        self.point(count);
        count
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

    /// Sends the first of `datagrams`, as many as go in one call, without waiting; says how many the kernel took. An error
    /// is the first message's, of which [`first`](Self::first) says how many datagrams it had.
    pub(super) fn send<'a>(
        &mut self,
        socket: BorrowedFd<'_>,
        how: Sending,
        datagrams: impl Iterator<Item = Outgoing<'a>>,
    ) -> io::Result<usize> {
        let messages = self.gather(how, datagrams);
        if messages == 0 {
            return Ok(0);
        }
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY (both calls): the first `messages` headers point at vectors, names and controls of `self`, all with their true
        // lengths, and the vectors at bytes that `'a` keeps borrowed; the kernel writes nothing but `msg_len`.
        let sent = if how == Sending::Single {
            let header = &raw const self.headers[0].msg_hdr;
            unsafe { libc::sendmsg(socket.as_raw_fd(), header, flags) }.min(1)
        } else {
            let headers = self.headers.as_mut_ptr();
            (unsafe { libc::sendmmsg(socket.as_raw_fd(), headers, messages as u32, flags as _) }) as isize
        };
        match usize::try_from(sent) {
            // A message without a byte is one, too.
            Ok(0) if how == Sending::Single => Ok(1),
            Ok(sent) => Ok(self.sizes.iter().take(sent).sum()),
            Err(_) => Err(io::Error::last_os_error()),
        }
    }

    /// Lets the first headers point at the first of `datagrams`, tied together as they may be; says how many headers.
    fn gather<'a>(&mut self, how: Sending, datagrams: impl Iterator<Item = Outgoing<'a>>) -> usize {
        let most = if how == Sending::Single { 1 } else { AT_ONCE };
        let (mut messages, mut vectors) = (0, 0);
        let mut open: Option<Group> = None;
        for datagram in datagrams.take(DATAGRAMS) {
            let joins = how == Sending::Segments && datagram.joins;
            let begins = !(joins && open.as_mut().is_some_and(|group| group.take(&datagram)));
            if begins {
                self.close(open.take(), messages, vectors);
                if messages == most {
                    break;
                }
                messages += 1;
                open = Some(Group::of(&datagram, vectors));
            }
            // The kernel only reads what a sent vector points at.
            let base = datagram.bytes.as_ptr().cast_mut().cast();
            self.vectors[vectors] = libc::iovec { iov_base: base, iov_len: datagram.bytes.len() };
            vectors += 1;
        }
        self.close(open.take(), messages, vectors);
        self.point(messages);
        messages
    }

    /// How many datagrams the first message of the last [`send`](Self::send) had.
    pub(super) fn first(&self) -> usize {
        self.sizes[0]
    }

    /// Makes a group the message before number `messages`; its vectors end before `vectors`.
    fn close(&mut self, group: Option<Group>, messages: usize, vectors: usize) {
        let Some(group) = group else { return };
        let (at, count) = (messages - 1, vectors - group.first_vector);
        let segment = if count > 1 { group.len as u16 } else { group.segment };
        let name = address::encode(group.path.remote, &mut self.names[at]);
        let control =
            control::write(&mut self.controls[at].0, group.path.local.ip(), group.path.tos, group.lane, segment);
        self.sizes[at] = count;
        self.measure(at, count, name, control);
    }

    /// How much there is behind each pointer of header `index`.
    fn measure(&mut self, index: usize, vectors: usize, name: usize, control: usize) {
        let header = &mut self.headers[index];
        header.msg_len = 0;
        header.msg_hdr.msg_flags = 0;
        header.msg_hdr.msg_namelen = name as u32;
        header.msg_hdr.msg_iovlen = vectors as _;
        header.msg_hdr.msg_controllen = control as _;
    }

    /// Sets the pointers of the first `count` headers: their vectors lie one behind the other.
    fn point(&mut self, count: usize) {
        let (names, controls) = (self.names.as_mut_ptr(), self.controls.as_mut_ptr());
        let mut vectors = self.vectors.as_mut_ptr();
        for (index, header) in self.headers.iter_mut().take(count).enumerate() {
            let header = &mut header.msg_hdr;
            header.msg_name = names.wrapping_add(index).cast();
            header.msg_control = controls.wrapping_add(index).cast();
            header.msg_iov = vectors;
            vectors = vectors.wrapping_add(header.msg_iovlen);
        }
    }
}

/// Datagrams that go in one message: all by one path, with one TOS and in one lane, all of one length but the last.
struct Group {
    path: Path,
    lane: u8,
    /// Length of each.
    len: usize,
    /// As given with the first one.
    segment: u16,
    first_vector: usize,
    count: usize,
    bytes: usize,
    /// A shorter one ends it.
    ended: bool,
}

impl Group {
    fn of(first: &Outgoing<'_>, first_vector: usize) -> Self {
        let len = first.bytes.len();
        let ended = first.segment > 0 || len == 0;
        Self {
            path: first.path,
            lane: first.lane,
            len,
            segment: first.segment,
            first_vector,
            count: 1,
            bytes: len,
            ended,
        }
    }

    fn take(&mut self, next: &Outgoing<'_>) -> bool {
        let len = next.bytes.len();
        let fits = !self.ended
            && next.segment == 0
            && self.count < SEGMENTS
            && (1..=self.len).contains(&len)
            && self.bytes + len <= BYTES
            && (next.path, next.lane) == (self.path, self.lane);
        if fits {
            self.count += 1;
            self.bytes += len;
            self.ended = len < self.len;
        }
        fits
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::slice;

    /// Addresses, control data and bytes of a message, as the kernel reads them.
    type Read = (Option<SocketAddr>, Vec<u8>, Vec<Vec<u8>>);

    /// What the kernel would read: it follows the pointers of the first `count` headers.
    fn follow(messages: &Messages, count: usize) -> Vec<Read> {
        let read = |header: &libc::mmsghdr| {
            let header = &header.msg_hdr;
            // SAFETY: this is what is tested: each pointer leads to as much as the header says.
            unsafe {
                let name = slice::from_raw_parts(header.msg_name.cast::<u8>(), header.msg_namelen as usize);
                let control = slice::from_raw_parts(header.msg_control.cast::<u8>(), header.msg_controllen);
                let vectors = slice::from_raw_parts(header.msg_iov, header.msg_iovlen);
                let bytes = |vector: &libc::iovec| {
                    slice::from_raw_parts(vector.iov_base.cast::<u8>().cast_const(), vector.iov_len).to_vec()
                };
                (address::decode(name), control.to_vec(), vectors.iter().map(bytes).collect())
            }
        };
        messages.headers[..count].iter().map(read).collect()
    }

    fn path(remote: &str) -> Path {
        Path { local: "192.0.2.1:4500".parse().unwrap(), remote: remote.parse().unwrap(), tos: 0x28 }
    }

    #[test]
    fn every_pointer_leads_to_what_is_sent() {
        let mut messages = Messages::new();
        let near = path("192.0.2.2:4500");
        let far = path("[2001:db8::2]:4500");
        let made: Vec<(Vec<u8>, Path)> = (0..10_u8)
            .map(|index| (vec![index; if index == 4 { 30 } else { 70 }], if index < 7 { near } else { far }))
            .collect();
        // Twice, and longer the first time: nothing of it may be left in the second.
        for (how, sizes) in [(Sending::Segments, &[5, 2, 3][..]), (Sending::Many, &[1; 10]), (Sending::Single, &[1])] {
            let outgoing =
                made.iter().map(|(bytes, path)| Outgoing { bytes, path: *path, segment: 0, lane: 0, joins: true });
            let count = messages.gather(how, outgoing);
            assert_eq!(messages.sizes[..count], *sizes);
            let mut all = made.iter();
            for ((remote, control, vectors), size) in follow(&messages, count).iter().zip(sizes) {
                let (_, path) = all.clone().next().unwrap();
                assert_eq!(*remote, Some(path.remote));
                let segment = control::each(control).find(|(level, ..)| *level == libc::SOL_UDP);
                assert_eq!(segment.map(|(.., data)| data), (*size > 1).then_some(&70_u16.to_ne_bytes()[..]));
                for (vector, (bytes, _)) in vectors.iter().zip(all.by_ref().take(*size)) {
                    assert_eq!(vector, bytes);
                }
                assert_eq!(vectors.len(), *size);
            }
        }
    }

    #[test]
    fn no_more_is_gathered_than_there_is_room_for() {
        let mut messages = Messages::new();
        let bytes = [7; 10];
        let outgoing = |path| Outgoing { bytes: &bytes, path, segment: 0, lane: 0, joins: true };
        // As many as one message takes, as many messages as one call takes, as many datagrams as all of them take.
        let one = path("192.0.2.2:4500");
        let count = messages.gather(Sending::Segments, (0..2 * DATAGRAMS).map(|_| outgoing(one)));
        assert_eq!((count, messages.sizes[..count].iter().sum::<usize>()), (DATAGRAMS / SEGMENTS, DATAGRAMS));
        assert!(follow(&messages, count).iter().all(|(.., vectors)| vectors.iter().all(|vector| *vector == bytes)));
        let count = messages.gather(Sending::Many, (0..2 * DATAGRAMS).map(|_| outgoing(one)));
        assert_eq!((count, follow(&messages, count).len()), (AT_ONCE, AT_ONCE));
        assert_eq!(messages.gather(Sending::Many, std::iter::empty()), 0);
    }

    #[test]
    fn what_the_kernel_writes_comes_to_the_slots_that_were_offered() {
        let mut messages = Messages::new();
        let mut batch = Batch::new(3, 100);
        let from: SocketAddr = "192.0.2.9:4500".parse().unwrap();
        for round in 0..2_u8 {
            batch.clear();
            assert_eq!(messages.offer(&mut batch, 8), 3);
            for index in 0..3_u8 {
                let header = &mut messages.headers[usize::from(index)];
                let mut name = [0; address::ROOM];
                let length = address::encode(from, &mut name);
                let len = usize::from(index) * 50;
                // SAFETY: as the kernel does: no more is written than the header offers.
                unsafe {
                    let vector = *header.msg_hdr.msg_iov;
                    assert!(vector.iov_len == 100 && header.msg_hdr.msg_iovlen == 1);
                    vector.iov_base.cast::<u8>().write_bytes(index + round, len);
                    header.msg_hdr.msg_name.cast::<u8>().copy_from_nonoverlapping(name.as_ptr(), length);
                    header.msg_hdr.msg_control.cast::<u8>().write_bytes(0xEE, header.msg_hdr.msg_controllen);
                }
                header.msg_len = len as u32;
                (header.msg_hdr.msg_namelen, header.msg_hdr.msg_controllen) = (length as u32, usize::from(index) as _);
            }
            for index in 0..3 {
                let message = messages.received(index);
                assert_eq!((message.from, message.len, message.truncated), (Some(from), index * 50, false));
                assert_eq!(message.control, vec![0xEE; index]);
                batch.push_slot(message.len, 0, None);
                assert_eq!(batch.bytes(index), vec![index as u8 + round; index * 50]);
            }
            assert_eq!(messages.offer(&mut batch, 8), 0, "the batch is full");
        }
    }
}
