//! The result: a line for every kind of trouble, family and origin, and whether all of them are as promised.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use portcullis::lab::capture::Sightings;
use portcullis::lab::topology::{V4, V6, inner_networks};

use crate::traffic::{Four, Tally};

/// What must be true of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Promise {
    /// Everything is seen and everything arrives.
    Control,
    /// Nothing is.
    Silence,
}

/// One kind of trouble.
pub struct Row {
    what: &'static str,
    cycles: u32,
    promise: Promise,
    tally: Tally,
    /// Packets in clear on the underlay.
    clear: Four,
    /// Who talks to whom in those, by IP protocol.
    whose: BTreeSet<(IpAddr, IpAddr, u8)>,
    lost: u64,
}

impl Row {
    /// A kind of trouble that is counted bit by bit.
    pub fn empty(what: &'static str, cycles: u32) -> Self {
        let (tally, clear) = (Tally::default(), Four::default());
        Self { what, cycles, promise: Promise::Silence, tally, clear, whose: BTreeSet::new(), lost: 0 }
    }

    /// Adds what happened in one cycle.
    pub fn count(&mut self, tally: &Tally, seen: &Sightings) {
        let add = |sum: &mut Four, more: Four| {
            sum.iter_mut().flatten().zip(more.iter().flatten()).for_each(|(sum, more)| *sum += more);
        };
        add(&mut self.tally.offered, tally.offered);
        add(&mut self.tally.carried, tally.carried);
        add(&mut self.tally.injected, tally.injected);
        add(&mut self.tally.arrived, tally.arrived);
        add(&mut self.clear, clear(seen));
        self.whose.extend(seen.flows.keys().filter(|(source, destination, _)| is_clear(*source, *destination)));
        self.lost += seen.lost;
    }

    /// A kind of trouble that was watched in one piece.
    pub fn of(what: &'static str, cycles: u32, tally: &Tally, seen: &Sightings) -> Self {
        let mut row = Self::empty(what, cycles);
        row.count(tally, seen);
        row
    }

    /// The same packets without Portcullis.
    pub fn control(what: &'static str, tally: &Tally, seen: &Sightings) -> Self {
        Self { promise: Promise::Control, ..Self::of(what, 1, tally, seen) }
    }

    fn holds_at(&self, v6: usize, local: usize) -> bool {
        let (clear, arrived) = (self.clear[v6][local], self.tally.arrived[v6][local]);
        let offered = self.tally.offered[v6][local] > 0 && self.tally.injected[v6][local] > 0;
        offered
            && match self.promise {
                Promise::Control => clear > 0 && arrived > 0,
                Promise::Silence => clear == 0 && arrived == 0,
            }
    }

    fn holds(&self) -> bool {
        self.lost == 0 && [0, 1].iter().all(|v6| [0, 1].iter().all(|local| self.holds_at(*v6, *local)))
    }
}

/// Packets in clear by family, and by whether a host or a gateway itself had sent them.
fn clear(seen: &Sightings) -> Four {
    let hosts = [V4.host_a, V4.host_b, V6.host_a, V6.host_b];
    let mut clear = Four::default();
    for ((source, destination, _), count) in &seen.flows {
        if is_clear(*source, *destination) {
            clear[usize::from(source.is_ipv6())][usize::from(!hosts.contains(source))] += count.packets;
        }
    }
    clear
}

/// An inner address on the underlay.
fn is_clear(source: IpAddr, destination: IpAddr) -> bool {
    inner_networks().iter().any(|net| net.contains(&source) || net.contains(&destination))
}

/// All rows.
#[derive(Default)]
pub struct Table {
    rows: Vec<Row>,
    dropped: (u64, u64),
}

impl Table {
    /// Adds a row.
    pub fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// What the barriers have dropped, inwards and outwards.
    pub fn note_dropped(&mut self, inbound: u64, outbound: u64) {
        self.dropped = (inbound, outbound);
    }

    /// Whether everything is as promised: silence where Portcullis is or was, the controls loud, the tunnel at work.
    pub fn holds(&self) -> bool {
        let carried = self.rows.iter().filter(|row| row.what == "tunnel up");
        let works = carried.flat_map(|row| row.tally.carried.iter().flatten()).all(|count| *count > 0);
        works && self.dropped.0 > 0 && self.rows.iter().all(Row::holds)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:30} {:>6} {:4} {:9} {:>8} {:>8} {:>9} {:>8} {:>9}",
            "", "cycles", "", "", "offered", "carried", "clear out", "injected", "clear in"
        )?;
        for row in &self.rows {
            for v6 in [0, 1] {
                for local in [0, 1] {
                    let first = v6 + local == 0;
                    let (what, cycles) = if first { (row.what, row.cycles.to_string()) } else { ("", String::new()) };
                    let tally = &row.tally;
                    writeln!(
                        f,
                        "{what:30} {cycles:>6} {:4} {:9} {:>8} {:>8} {:>9} {:>8} {:>9}{}",
                        ["IPv4", "IPv6"][v6],
                        ["forwarded", "local"][local],
                        tally.offered[v6][local],
                        tally.carried[v6][local],
                        row.clear[v6][local],
                        tally.injected[v6][local],
                        tally.arrived[v6][local],
                        if row.holds_at(v6, local) { "" } else { "  <-- not as promised" },
                    )?;
                }
            }
            if row.promise == Promise::Silence {
                for (source, destination, protocol) in &row.whose {
                    writeln!(f, "{:30} in clear: {source} to {destination}, protocol {protocol}", "")?;
                }
            }
            if row.lost > 0 {
                writeln!(f, "{:30} the capture missed {} frames", "", row.lost)?;
            }
        }
        writeln!(f, "the barriers dropped {} packets inwards and {} outwards", self.dropped.0, self.dropped.1)?;
        let silent = self.rows.iter().filter(|row| row.promise == Promise::Silence);
        let (mut out, mut inwards) = (0, 0);
        for row in silent {
            out += row.clear.iter().flatten().sum::<u64>();
            inwards += row.tally.arrived.iter().flatten().sum::<u64>();
        }
        writeln!(f, "leaks: {out} out, {inwards} in: {}", if self.holds() { "as promised" } else { "NOT AS PROMISED" })
    }
}
