//! Which first requests of IKE a socket takes during a flood: a program for the kernel's classic packet filter (BPF), which runs
//! before a datagram is queued and anybody is woken.
//!
//! The program sees a datagram from its UDP header on, and its IP header through `SKF_NET_OFF`. All addresses become numbers of 32
//! bits (IPv6 addresses by XOR of their words, so that strangers who work for it can be taken for a peer) and these ranges, in
//! which it searches by halves. More peers than [`RANGES`] are brought into as many by closing the smallest gaps between them.
//!
//! Messages that name a responder's SPI, responses, ESP and keepalives pass. What the socket has lost is told apart from what
//! the program has refused by how full the queue was: the kernel has one counter for both.
#![allow(unsafe_code, reason = "neither nix nor socket2 asks for SO_MEMINFO")]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use socket2::SockFilter;

/// Ranges of addresses in one program. Two such programs, compiled, fit into what Linux before 6.8 lets a socket have
/// (`net.core.optmem_max`, 20 KiB): one is in force while the next is attached.
pub(super) const RANGES: usize = 96;

/// Which first requests pass: from each of these addresses one in two to the power of the number, and from addresses that
/// cannot be told from them one in two to the power of `between`. First those that do not begin with a Notify, then those that do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sieve {
    /// By address.
    pub peers: BTreeMap<IpAddr, [u8; 2]>,
    /// For all others within a range.
    pub between: [u8; 2],
}

/// Where the datagram's own bytes begin.
const UDP: u32 = 8;
/// RFC 7296 §3.1, offsets in the header, and its length.
const RESPONDER_SPI: u32 = 8;
const NEXT_PAYLOAD: u32 = 16;
const FLAGS: u32 = 19;
const RESPONSE: u32 = 0x20;
const HEADER: u32 = 28;
/// RFC 7296 §3.2.
const NOTIFY: u32 = 41;
/// Of the source in an IP header.
const SOURCE_V4: u32 = 12;
const SOURCE_V6: u32 = 8;
/// Most that a request can be made scarce by: the random number has 32 bits.
const SCARCEST: u8 = 31;

const NETWORK: u32 = libc::SKF_NET_OFF.cast_unsigned();
const RANDOM: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_RANDOM).cast_unsigned();

const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
const LOAD_LENGTH: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_LEN) as u16;
const KEEP: u16 = (libc::BPF_MISC | libc::BPF_TAX) as u16;
const XOR_KEPT: u16 = (libc::BPF_ALU | libc::BPF_XOR | libc::BPF_X) as u16;
const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const IF_NOT_LESS: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const IF_ANY_BIT: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const GO_ON_AT: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
const ANSWER: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
/// Answers: this much of the datagram.
const ALL: u32 = u32::MAX;
const NOTHING: u32 = 0;

/// One step: its code, how many steps to skip if so and if not, its operand.
type Step = (u16, u8, u8, u32);

/// What becomes of the addresses of one range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Refused,
    Scarce([u8; 2]),
}

/// The number of an address.
fn number(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(v4) => v4.to_bits(),
        IpAddr::V6(v6) => {
            let bits = v6.to_bits();
            [0, 32, 64, 96].into_iter().fold(0, |number, shift| number ^ (bits >> shift) as u32)
        }
    }
}

/// From which number on which fate; the first is from 0.
fn ranges(sieve: &Sieve, v4: bool) -> Vec<(u32, Fate)> {
    let own = sieve.peers.iter().filter(|(peer, _)| peer.is_ipv4() == v4);
    let mut singles: BTreeMap<u32, [u8; 2]> = BTreeMap::new();
    for (peer, scarcity) in own {
        // Of two that have the same number neither suffers by the other.
        let known = singles.entry(number(*peer)).or_insert(*scarcity);
        *known = [known[0].min(scarcity[0]), known[1].min(scarcity[1])];
    }
    // The widest gaps stay: those behind these numbers.
    let numbers: Vec<u32> = singles.keys().copied().collect();
    let mut gaps: Vec<(u32, u32)> = numbers.windows(2).map(|pair| (pair[1] - pair[0], pair[0])).collect();
    gaps.sort_unstable();
    let kept = gaps.split_off(gaps.len().saturating_sub(RANGES - 1));
    let ends: BTreeSet<u32> = kept.into_iter().map(|(_, last)| last).collect();

    let mut found: Vec<(u32, Fate)> = vec![(0, Fate::Refused)];
    let mut add = |from: u32, fate: Fate| {
        if found.last().is_some_and(|(last, _)| *last == from) {
            found.pop();
        }
        found.push((from, fate));
    };
    let mut begun: Option<(u32, [u8; 2])> = None;
    for (at, (number, scarcity)) in singles.iter().enumerate() {
        let (first, scarcest) = match begun {
            // Others are in between, and whoever is scarce makes all of them so.
            Some((first, [a, b])) => {
                let [c, d] = [0, 1].map(|kind| scarcity[kind].max(sieve.between[kind]));
                (first, [a.max(c), b.max(d)])
            }
            None => (*number, *scarcity),
        };
        let goes_on = at + 1 < singles.len() && !ends.contains(number);
        if goes_on {
            begun = Some((first, scarcest));
            continue;
        }
        begun = None;
        add(first, Fate::Scarce(scarcest));
        if let Some(next) = number.checked_add(1) {
            add(next, Fate::Refused);
        }
    }
    found
}

/// The program for a socket of one IP version, with or without the marker that tells IKE from ESP (RFC 3948 §2.2).
fn program(sieve: &Sieve, v4: bool, marker: bool) -> Vec<Step> {
    let ike = UDP + if marker { 4 } else { 0 };
    // What is too short for IKE is a keepalive there, or anything, and nothing here.
    let stub = if marker { ALL } else { NOTHING };
    let mut steps: Vec<Step> = vec![(LOAD_LENGTH, 0, 0, 0), (IF_NOT_LESS, 1, 0, ike + HEADER), (ANSWER, 0, 0, stub)];
    let words = marker.then_some(UDP).into_iter().chain([ike + RESPONDER_SPI, ike + RESPONDER_SPI + 4]);
    for word in words {
        steps.extend([(LOAD_WORD, 0, 0, word), (IF_EQUAL, 1, 0, 0), (ANSWER, 0, 0, ALL)]);
    }
    steps.extend([(LOAD_BYTE, 0, 0, ike + FLAGS), (IF_ANY_BIT, 0, 1, RESPONSE), (ANSWER, 0, 0, ALL)]);
    if v4 {
        steps.push((LOAD_WORD, 0, 0, NETWORK.wrapping_add(SOURCE_V4)));
    } else {
        steps.push((LOAD_WORD, 0, 0, NETWORK.wrapping_add(SOURCE_V6)));
        for word in [4, 8, 12] {
            let next = NETWORK.wrapping_add(SOURCE_V6 + word);
            steps.extend([(KEEP, 0, 0, 0), (LOAD_WORD, 0, 0, next), (XOR_KEPT, 0, 0, 0)]);
        }
    }
    let mut open = Vec::new();
    search(&mut steps, &ranges(sieve, v4), &mut open);
    // Behind the search: what the ranges go on at, once for each scarcity.
    open.sort_unstable();
    let mut last = None;
    for (scarcity, from) in open {
        let at = match last {
            Some((of, at)) if of == scarcity => at,
            _ => {
                let at = steps.len();
                choose(&mut steps, ike + NEXT_PAYLOAD, scarcity);
                at
            }
        };
        last = Some((scarcity, at));
        steps[from].3 = (at - from - 1) as u32;
    }
    steps
}

/// Finds the range of the number that was loaded. What is scarce is to be gone on with elsewhere: noted in `open`.
fn search(steps: &mut Vec<Step>, ranges: &[(u32, Fate)], open: &mut Vec<([u8; 2], usize)>) {
    let (below, above) = ranges.split_at(ranges.len() / 2);
    match (below, above) {
        (_, []) => {}
        ([], [(_, Fate::Refused), ..]) => steps.push((ANSWER, 0, 0, NOTHING)),
        ([], [(_, Fate::Scarce([0, 0])), ..]) => steps.push((ANSWER, 0, 0, ALL)),
        ([], [(_, Fate::Scarce(scarcity)), ..]) => {
            open.push((*scarcity, steps.len()));
            steps.push((GO_ON_AT, 0, 0, 0));
        }
        (below, above) => {
            steps.push((IF_NOT_LESS, 0, 1, above[0].0));
            let over = steps.len();
            steps.push((GO_ON_AT, 0, 0, 0));
            search(steps, below, open);
            steps[over].3 = (steps.len() - over - 1) as u32;
            search(steps, above, open);
        }
    }
}

/// Lets as many through as are to be, by what the request begins with.
fn choose(steps: &mut Vec<Step>, next_payload: u32, [bare, notified]: [u8; 2]) {
    steps.extend([(LOAD_BYTE, 0, 0, next_payload), (IF_EQUAL, CHANCE, 0, NOTIFY)]);
    for scarcity in [bare, notified] {
        let bits = (1_u32 << scarcity.min(SCARCEST)) - 1;
        steps.extend([
            (LOAD_WORD, 0, 0, RANDOM),
            (IF_ANY_BIT, 1, 0, bits),
            (ANSWER, 0, 0, ALL),
            (ANSWER, 0, 0, NOTHING),
        ]);
    }
}

/// Steps of one throw of the dice.
const CHANCE: u8 = 4;

/// The program as the kernel wants it.
pub(super) fn compile(sieve: &Sieve, v4: bool, marker: bool) -> Vec<SockFilter> {
    program(sieve, v4, marker).into_iter().map(|(code, yes, no, k)| SockFilter::new(code, yes, no, k)).collect()
}

/// What a socket did not take since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missed {
    /// Datagrams that the filter refused.
    pub refused: u64,
    /// Datagrams for which there was no room.
    pub lost: u64,
}

/// The kernel's counter of what a socket did not take, as it was last seen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gauge {
    drops: u32,
    deep: bool,
}

impl Gauge {
    /// What came since the last look, while a filter was there or not. If more than half of the room was taken at either end of
    /// that time, the queue was full in between.
    pub(super) fn look(&mut self, socket: BorrowedFd<'_>, filtered: bool) -> io::Result<Missed> {
        let info = memory(socket)?;
        let at =
            |index: libc::c_int| usize::try_from(index).ok().and_then(|index| info.get(index)).copied().unwrap_or(0);
        let deep = at(libc::SK_MEMINFO_RMEM_ALLOC) > at(libc::SK_MEMINFO_RCVBUF) / 2;
        let drops = at(libc::SK_MEMINFO_DROPS);
        let count = u64::from(drops.wrapping_sub(self.drops));
        let was_deep = std::mem::replace(self, Self { drops, deep }).deep;
        let lost = !filtered || deep || was_deep;
        Ok(if lost { Missed { refused: 0, lost: count } } else { Missed { refused: count, lost: 0 } })
    }
}

/// `SO_MEMINFO`: what the socket has in memory, and how many datagrams it did not take.
fn memory(socket: BorrowedFd<'_>) -> io::Result<[u32; WORDS]> {
    let mut words = [0_u32; WORDS];
    let mut len = size_of_val(&words) as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes, the array's true length, and the number that it wrote.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            words.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if result == 0 { Ok(words) } else { Err(io::Error::last_os_error()) }
}

/// `SK_MEMINFO_VARS` of linux/sock_diag.h.
const WORDS: usize = libc::SK_MEMINFO_DROPS as usize + 1;

#[cfg(test)]
mod tests;
