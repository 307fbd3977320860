//! Requests to the kernel's packet filter and what it answers: single ones, dumps, and transactions that it takes all or none.

use std::io;
use std::os::fd::AsFd;

use netlink_sys::{Socket, protocols::NETLINK_NETFILTER};
use nix::sys::socket::{setsockopt, sockopt};

use super::attribute::Message;
use crate::platform::netlink::{messages, open};

const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;

const REQUEST: u16 = 0x01;
pub(super) const ACK: u16 = 0x04;
pub(super) const DUMP: u16 = 0x300;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// Tables of both IP versions.
pub(super) const INET: u8 = libc::NFPROTO_INET as u8;

/// A socket of the packet filter, and the number of the last request.
pub(super) struct Exchange {
    socket: Socket,
    sequence: u32,
}

impl Exchange {
    /// Opens a socket in the calling thread's network namespace.
    pub(super) fn open() -> io::Result<Self> {
        let socket = open(NETLINK_NETFILTER)?;
        // A transaction is one datagram.
        let size = 4 << 20;
        if setsockopt(&socket.as_fd(), sockopt::SndBufForce, &size).is_err() {
            setsockopt(&socket.as_fd(), sockopt::SndBuf, &size)?;
        }
        Ok(Self { socket, sequence: 0 })
    }

    /// A transaction without requests.
    pub(super) fn batch(&self) -> Batch {
        Batch::new(self.sequence)
    }

    /// Sends one request and gathers the answers.
    pub(super) fn dump(
        &mut self,
        kind: u16,
        family: u8,
        flags: u16,
        fill: impl FnOnce(&mut Message),
    ) -> io::Result<Vec<Vec<u8>>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = Message::new(SUBSYSTEM << 8 | kind, REQUEST | flags, self.sequence, family, 0);
        fill(&mut message);
        self.socket.send(&message.finish(), 0)?;
        self.answers(self.sequence..=self.sequence)
    }

    /// Sends a transaction and waits until the kernel has taken it, or says why not.
    pub(super) fn commit(&mut self, batch: Batch) -> io::Result<()> {
        let first = self.sequence.wrapping_add(1);
        let (bytes, last) = batch.finish();
        self.sequence = last;
        self.socket.send(&bytes, 0)?;
        self.answers(first..=last).map(drop)
    }

    /// What the kernel answers to requests numbered so, until it acknowledges, ends a dump or refuses.
    fn answers(&mut self, sequences: std::ops::RangeInclusive<u32>) -> io::Result<Vec<Vec<u8>>> {
        let mut answers = Vec::new();
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            for message in messages(&datagram) {
                let Some((kind, sequence)) = header(message) else { continue };
                if !sequences.contains(&sequence) {
                    continue; // the late answer to a request that was given up
                }
                let code =
                    || message.get(16..).and_then(<[u8]>::first_chunk).map_or(0, |code| i32::from_ne_bytes(*code));
                match kind {
                    NLMSG_DONE => return Ok(answers),
                    NLMSG_ERROR if code() == 0 => return Ok(answers),
                    NLMSG_ERROR => return Err(io::Error::from_raw_os_error(code().saturating_neg())),
                    _ => answers.push(message.to_vec()),
                }
            }
        }
    }
}

/// Type and sequence number of a netlink message.
fn header(message: &[u8]) -> Option<(u16, u32)> {
    let kind = u16::from_ne_bytes(*message.get(4..)?.first_chunk()?);
    let sequence = u32::from_ne_bytes(*message.get(8..)?.first_chunk()?);
    Some((kind, sequence))
}

/// A transaction: messages that the kernel takes all or none.
pub(super) struct Batch {
    messages: Vec<Vec<u8>>,
    sequence: u32,
}

impl Batch {
    fn new(sequence: u32) -> Self {
        let mut batch = Self { messages: Vec::new(), sequence };
        batch.bound(BATCH_BEGIN);
        batch
    }

    fn bound(&mut self, kind: u16) {
        self.sequence = self.sequence.wrapping_add(1);
        self.messages.push(Message::new(kind, REQUEST, self.sequence, libc::AF_UNSPEC as u8, SUBSYSTEM).finish());
    }

    /// One more request, which `fill` completes.
    pub(super) fn add(&mut self, kind: u16, flags: u16, fill: impl FnOnce(&mut Message)) {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = Message::new(SUBSYSTEM << 8 | kind, REQUEST | flags, self.sequence, INET, 0);
        fill(&mut message);
        self.messages.push(message.finish());
    }

    /// The bytes of the transaction and its last sequence number. Its last request asks for an answer.
    fn finish(mut self) -> (Vec<u8>, u32) {
        if let Some(flags) = self.messages.last_mut().and_then(|message| message.get_mut(6..8)) {
            let with = u16::from_ne_bytes([flags[0], flags[1]]) | ACK;
            flags.copy_from_slice(&with.to_ne_bytes());
        }
        self.bound(BATCH_END);
        (self.messages.concat(), self.sequence)
    }
}
