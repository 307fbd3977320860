//! Our own nftables table, spoken to over netlink: written whole, replaced without a gap, read back, deleted.
//!
//! Leaves out every other table: nothing here reads or changes what is not ours, but for the policy of the host's own
//! forward chain, which `check` reads.

mod attribute;
mod exchange;
mod expression;
mod forward;
mod table;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use self::attribute::{Attributes, Message};
use self::exchange::{ACK, DUMP, Exchange, INET};
use self::expression::Expression;
use self::table::{CHAINS, INTERIM, SET_V4, SET_V6, TABLE, rules, tun_of};
use crate::guard::barrier::Barrier;

pub use self::forward::{ForwardChain, dropping_forward_chains};

const NEW_TABLE: u16 = 0;
const GET_TABLE: u16 = 1;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const GET_CHAIN: u16 = 4;
const NEW_RULE: u16 = 6;
const GET_RULE: u16 = 7;
const NEW_SET: u16 = 9;
const NEW_ELEMENTS: u16 = 12;
const GET_ELEMENTS: u16 = 13;

const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;

const INTERVALS: u32 = 4;
const INTERVAL_END: u32 = 1;
/// Ranges in one message, so that its list stays below 64 KiB.
const RANGES_AT_ONCE: usize = 400;

/// What the barrier has dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Packets from protected addresses that did not come by the TUN.
    pub inbound: u64,
    /// Packets to protected addresses, made here or forwarded, that would not have left by the TUN.
    pub outbound: u64,
}

/// The table as it stands in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What it guards.
    pub barrier: Barrier,
    /// Whether chains and rules are all there, exactly as we write them. A table that is not whole may not hold.
    pub whole: bool,
    /// What it has dropped.
    pub dropped: Dropped,
    counters: Vec<(String, Vec<(u64, u64)>)>,
}

/// The packet filter of a network namespace.
pub struct Nft {
    exchange: Exchange,
}

impl Nft {
    /// Opens a socket in the calling thread's network namespace.
    pub fn open() -> io::Result<Self> {
        Ok(Self { exchange: Exchange::open()? })
    }

    /// Writes the table anew, in place of the one that stands. Its counters go on from where they are.
    ///
    /// One transaction is not enough: the kernel shows a new set's elements a moment after the rules that ask for them. So a
    /// second table stands guard meanwhile; tables only drop, and what either drops is dropped.
    pub fn replace(&mut self, barrier: &Barrier) -> io::Result<()> {
        let counters = self.read()?.map(|standing| standing.counters);
        if counters.is_some() {
            self.write(INTERIM, barrier, &[])?;
            // Whoever still walks the chains of before knows nothing of the interim table.
            wait_for_readers();
        }
        self.write(TABLE, barrier, &counters.unwrap_or_default())?;
        wait_for_readers();
        self.delete_table(INTERIM)?;
        Ok(())
    }

    fn write(&mut self, table: &str, barrier: &Barrier, counters: &[(String, Vec<(u64, u64)>)]) -> io::Result<()> {
        let mut batch = self.exchange.batch();
        // Made before it is deleted, since what does not exist cannot be.
        for (kind, flags) in [(NEW_TABLE, CREATE), (DELETE_TABLE, 0), (NEW_TABLE, CREATE)] {
            batch.add(kind, flags, |message| {
                message.text(1, table);
            });
        }
        for (id, name, key_type, length) in [(1, SET_V4, 7, 4), (2, SET_V6, 8, 16)] {
            batch.add(NEW_SET, CREATE, |set| {
                set.text(1, table)
                    .text(2, name)
                    .number(3, INTERVALS)
                    .number(4, key_type)
                    .number(5, length)
                    .number(10, id);
            });
        }
        let v4: Vec<_> = barrier.v4.iter().map(|(first, last)| (IpAddr::V4(*first), IpAddr::V4(*last))).collect();
        let v6: Vec<_> = barrier.v6.iter().map(|(first, last)| (IpAddr::V6(*first), IpAddr::V6(*last))).collect();
        for (name, ranges) in [(SET_V4, v4), (SET_V6, v6)] {
            for ranges in ranges.chunks(RANGES_AT_ONCE) {
                batch.add(NEW_ELEMENTS, CREATE, |message| {
                    message.text(1, table).text(2, name);
                    message.nested(3, |list| ranges.iter().for_each(|(first, last)| write_range(list, *first, *last)));
                });
            }
        }
        for chain in CHAINS {
            batch.add(NEW_CHAIN, CREATE, |message| {
                message.text(1, table).text(3, chain.name);
                message.nested(4, |hook| {
                    hook.number(1, chain.hook).number(2, chain.priority.cast_unsigned());
                });
                message.number(5, 1).text(7, "filter");
            });
            let before = counters.iter().find(|(name, _)| name == chain.name).map(|(_, counted)| counted);
            for (index, mut rule) in rules(chain, &barrier.tun).into_iter().enumerate() {
                if let Some((packets, bytes)) = before.and_then(|counted| counted.get(index)).copied() {
                    rule.iter_mut().filter(|e| matches!(e, Expression::Count { .. })).for_each(|counter| {
                        *counter = Expression::Count { packets, bytes };
                    });
                }
                batch.add(NEW_RULE, CREATE | APPEND, |message| {
                    message.text(1, table).text(2, chain.name);
                    message.nested(4, |list| rule.iter().for_each(|expression| expression.write(list)));
                });
            }
        }
        self.exchange.commit(batch)
    }

    /// Deletes the table; says whether there was one.
    pub fn delete(&mut self) -> io::Result<bool> {
        let interim = self.delete_table(INTERIM)?;
        Ok(self.delete_table(TABLE)? || interim)
    }

    fn delete_table(&mut self, name: &str) -> io::Result<bool> {
        let mut batch = self.exchange.batch();
        batch.add(DELETE_TABLE, 0, |message| {
            message.text(1, name);
        });
        match self.exchange.commit(batch) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The table as it stands, if it does.
    pub fn read(&mut self) -> io::Result<Option<Standing>> {
        let Some(found) = self.table(TABLE)? else { return Ok(None) };
        // Left by a process that ended while it wrote.
        let interim = self.table(INTERIM)?.is_some();
        // A table with flags is dormant, or owned by a process.
        let awake = found.iter().all(|message| Attributes::of_message(message).number(2).unwrap_or(0) == 0);
        let chains = self.exchange.dump(GET_CHAIN, INET, DUMP, |_| ())?;
        let rules_found = self.exchange.dump(GET_RULE, INET, DUMP, |message| {
            message.text(1, TABLE);
        })?;
        let mut barrier = Barrier::default();
        let mut whole = awake && !interim;
        let mut counters = Vec::new();
        let mut dropped = Dropped::default();
        for chain in CHAINS {
            whole &= chains.iter().map(|message| Attributes::of_message(message)).any(|found| {
                let hook = found.nested(4);
                found.text(1) == Some(TABLE)
                    && found.text(3) == Some(chain.name)
                    && hook.and_then(|hook| hook.number(1)) == Some(chain.hook)
                    && hook.and_then(|hook| hook.number(2)) == Some(chain.priority.cast_unsigned())
            });
            let mut standing: Vec<Vec<Expression>> = rules_found
                .iter()
                .map(|message| Attributes::of_message(message))
                .filter(|rule| rule.text(1) == Some(TABLE) && rule.text(2) == Some(chain.name))
                .map(|rule| rule.nested(4).map(Expression::read_list).unwrap_or_default())
                .collect();
            let mut counted = Vec::new();
            for expression in standing.iter_mut().flatten() {
                if let Expression::Count { packets, bytes } = expression {
                    counted.push((*packets, *bytes));
                    *expression = Expression::Count { packets: 0, bytes: 0 };
                }
            }
            if let Some(tun) = standing.first().and_then(|rule| tun_of(rule)) {
                whole &= barrier.tun.is_empty() || barrier.tun == tun;
                barrier.tun = tun;
            }
            whole &= standing == rules(chain, &barrier.tun);
            let packets: u64 = counted.iter().map(|(packets, _)| packets).sum();
            let side = if chain.hook == 0 { &mut dropped.inbound } else { &mut dropped.outbound };
            *side = side.saturating_add(packets);
            counters.push((chain.name.to_owned(), counted));
        }
        barrier.v4 = self.elements::<4, _>(SET_V4, &mut whole, Ipv4Addr::from, |bits| {
            Ipv4Addr::from_bits(bits.to_bits().wrapping_sub(1))
        })?;
        barrier.v6 = self.elements::<16, _>(SET_V6, &mut whole, Ipv6Addr::from, |bits| {
            Ipv6Addr::from_bits(bits.to_bits().wrapping_sub(1))
        })?;
        Ok(Some(Standing { barrier, whole, dropped, counters }))
    }

    fn table(&mut self, name: &str) -> io::Result<Option<Vec<Vec<u8>>>> {
        let answers = self.exchange.dump(GET_TABLE, INET, ACK, |message| {
            message.text(1, name);
        });
        match answers {
            Ok(answers) => Ok(Some(answers)),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The ranges of a set. The kernel tells first addresses and those after the last, in any order.
    fn elements<const N: usize, A: Copy + Ord + From<[u8; N]>>(
        &mut self,
        set: &str,
        whole: &mut bool,
        address: impl Fn([u8; N]) -> A,
        before: impl Fn(A) -> A,
    ) -> io::Result<Vec<(A, A)>> {
        let answers = match self.exchange.dump(GET_ELEMENTS, INET, DUMP, |m| {
            m.text(1, TABLE).text(2, set);
        }) {
            Ok(answers) => answers,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                *whole = false;
                return Ok(Vec::new());
            }
            Err(error) => return Err(error),
        };
        let mut marks = Vec::new();
        for message in &answers {
            for element in Attributes::of_message(message).nested(3).into_iter().flat_map(|list| list.list(1)) {
                let key = element.nested(1).and_then(|key| key.get(1)).and_then(|key| key.first_chunk::<N>());
                let ends = element.number(3).unwrap_or(0) & INTERVAL_END != 0;
                match key {
                    Some(key) => marks.push((address(*key), !ends)),
                    None => *whole = false,
                }
            }
        }
        marks.sort_unstable();
        let mut ranges = Vec::new();
        let mut first = None;
        for (mark, starts) in marks {
            if starts {
                first = first.or(Some(mark));
            } else if let Some(first) = first.take() {
                ranges.push((first, before(mark)));
            }
        }
        // A range up to the last address of all has no end.
        ranges.extend(first.map(|first| (first, address([0xff; N]))));
        Ok(ranges)
    }
}

/// Waits until no processor walks the packet filter's chains of before: `membarrier(2)` waits for an RCU grace period.
#[allow(unsafe_code, reason = "no crate of ours wraps this call")]
fn wait_for_readers() {
    // SAFETY: the call takes numbers alone and touches no memory of ours.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if result != 0 {
        // Not offered here (nohz_full): no packet stays in a chain that long.
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

fn write_range(list: &mut Message, first: IpAddr, last: IpAddr) {
    let mut element = |address: &[u8], flags: u32| {
        list.nested(1, |element| {
            element.nested(1, |key| {
                key.bytes(1, address);
            });
            if flags != 0 {
                element.number(3, flags);
            }
        });
    };
    match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            element(&first.octets(), 0);
            if let Some(after) = last.to_bits().checked_add(1) {
                element(&after.to_be_bytes(), INTERVAL_END);
            }
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            element(&first.octets(), 0);
            if let Some(after) = last.to_bits().checked_add(1) {
                element(&after.to_be_bytes(), INTERVAL_END);
            }
        }
        _ => {}
    }
}
