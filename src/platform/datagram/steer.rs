//! Which of several sockets gets a packet: programs for the kernel's classic packet filter (BPF), by the SPI that the data path
//! has given its SAs (`dataplane::steer`).
//!
//! A program that reads beyond a packet's end gives 0: keepalives and stubs go to the first worker, as IKE does, whose marker
//! is an SPI of zero.

#![allow(unsafe_code, reason = "socket2 attaches filters to sockets, not to groups of them")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use socket2::SockFilter;

/// `SO_ATTACH_REUSEPORT_CBPF` of asm-generic/socket.h.
const ATTACH_TO_GROUP: libc::c_int = libc::SO_ATTACH_REUSEPORT_CBPF;
/// A filter's answer: this much of the packet.
const ALL: u32 = u32::MAX;

const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const LOAD_WORD_BEHIND: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_IND) as u16;
/// The length of an IPv4 header, from its first byte.
const LOAD_HEADER_LENGTH: u16 = (libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH) as u16;
const MODULO: u16 = (libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K) as u16;
const SKIP_UNLESS: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const ANSWER: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
const ANSWER_RESULT: u16 = (libc::BPF_RET | libc::BPF_A) as u16;

const fn step(code: u16, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt: 0, jf, k }
}

/// For a group of UDP sockets: the number of the one that gets the datagram, which begins with the SPI.
fn among(count: u16) -> [libc::sock_filter; 3] {
    [step(LOAD_WORD, 0, 0), step(MODULO, 0, count.into()), step(ANSWER_RESULT, 0, 0)]
}

/// For a raw socket: whether a packet is `worker`'s. IPv4 begins with its header, IPv6 with what follows.
pub(super) fn only_of(worker: u16, count: u16, v4: bool) -> Vec<SockFilter> {
    let load = if v4 { LOAD_WORD_BEHIND } else { LOAD_WORD };
    let spi = [
        step(load, 0, 0),
        step(MODULO, 0, count.into()),
        step(SKIP_UNLESS, 1, worker.into()),
        step(ANSWER, 0, ALL),
        step(ANSWER, 0, 0),
    ];
    let steps = v4.then(|| step(LOAD_HEADER_LENGTH, 0, 0)).into_iter().chain(spi);
    steps.map(|step| SockFilter::new(step.code, step.jt, step.jf, step.k)).collect()
}

/// Lets the kernel choose among `count` sockets that share one port.
pub(super) fn attach_to_group(socket: BorrowedFd<'_>, count: u16) -> io::Result<()> {
    let mut program = among(count);
    let program = libc::sock_fprog { len: program.len() as libc::c_ushort, filter: program.as_mut_ptr() };
    // SAFETY: the program and its steps live through the call, which copies them, and their true lengths are given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            ATTACH_TO_GROUP,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
