//! Whether first requests (RFC 7296 §1.2) flood us, and which of them are not worth being brought here: what somebody nearer
//! to the network (the kernel's filter, by `runtime::flood`) is to refuse.
//!
//! A first request from no peer's address is refused anyway. In a peer's name there may be a million forged ones a second and
//! one honest one among them, which nobody can tell apart: so many are let through as are worth an answer, by chance, and an
//! honest peer sends again. Names that nobody floods are not touched, and a request that begins with a Notify, as one with a
//! cookie does, is counted and thinned apart from those that do not: who has got a cookie is not one of a million any more.
//!
//! What is left out: messages that name a responder's SPI. They may belong to an IKE SA whose peer has moved.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::limits;
use crate::time::Instant;
use crate::wire::ike::header::Header;
use crate::wire::ike::numbers::PayloadType;

/// What a first request begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// With anything else than a Notify.
    Bare,
    /// With a Notify. RFC 7296 §2.6 lets a returned cookie stand nowhere but first.
    Notified,
}

impl Kind {
    /// By the header.
    pub(super) fn of(header: &Header) -> Self {
        if header.next_payload == PayloadType::NOTIFY { Self::Notified } else { Self::Bare }
    }
}

/// Whether a message may open an IKE SA: it knows no SPI of ours, and is no response.
pub(super) fn is_first(header: &Header) -> bool {
    header.responder_spi == 0 && !header.flags.response
}

/// How scarce first requests get through, by [`Kind`]: one in two to this power.
pub type Scarcity = [u8; 2];

/// Which first requests are to be let through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sieve {
    /// From each peer's address so many; from all others none.
    pub peers: BTreeMap<IpAddr, Scarcity>,
    /// From addresses between peers that the filter cannot tell from them.
    pub between: Scarcity,
}

/// What is to be done with the filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing.
    Stay,
    /// It is made, or made anew, from the endpoint's sieve. At its making: how many first requests came a second.
    Sift {
        /// See there.
        began: Option<u64>,
    },
    /// It goes.
    Open,
}

/// First requests by whom they name, in one window of time, and what follows from them.
#[derive(Debug, Default)]
pub(super) struct Flood {
    since: Option<Instant>,
    strangers: [u64; 2],
    /// By peer. Not longer than the configuration.
    named: BTreeMap<IpAddr, [u64; 2]>,
    /// Those that did not come here.
    missing: u64,
    sieve: Option<Sieve>,
    /// How many are believed to be sent a second, in each peer's name and by strangers: all that were counted in the last
    /// windows weigh in, so that a flood in bursts is one as well.
    sent: BTreeMap<Option<IpAddr>, [u64; 2]>,
    calm_since: Option<Instant>,
}

impl Flood {
    /// One has come, in the name of a peer or of nobody.
    pub(super) fn count(&mut self, now: Instant, peer: Option<IpAddr>, kind: Kind) {
        self.since.get_or_insert(now);
        let counts = match peer {
            Some(peer) => self.named.entry(peer).or_default(),
            None => &mut self.strangers,
        };
        counts[kind as usize] = counts[kind as usize].saturating_add(1);
    }

    /// So many have not come here since the last time. What was lost in peace may have been anything.
    pub(super) fn miss(&mut self, refused: u64, lost: u64) {
        let lost = if self.sieve.is_some() { lost } else { 0 };
        self.missing = self.missing.saturating_add(refused).saturating_add(lost);
    }

    /// Whether a window is over.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.since.is_some_and(|since| now.since(since) >= limits::FLOOD_WINDOW)
    }

    /// What is to be let through, while there is a flood.
    pub(super) fn sieve(&self) -> Option<&Sieve> {
        self.sieve.as_ref()
    }

    /// Nobody holds what is to be let through.
    pub(super) fn drop_sieve(&mut self) {
        self.sieve = None;
        self.since = None;
    }

    /// Draws the consequences when a window is over; `peers`: every address from which a first request may come.
    pub(super) fn judge(&mut self, now: Instant, peers: impl Iterator<Item = IpAddr>) -> Turn {
        if !self.is_due(now) {
            return Turn::Stay;
        }
        let window = now.since(self.since.unwrap_or(now));
        // Without a sieve the next window begins with the next request.
        self.since = self.sieve.is_some().then_some(now);
        let strangers = std::mem::take(&mut self.strangers);
        let named = std::mem::take(&mut self.named);
        let missing = std::mem::take(&mut self.missing);
        let rate = |count: u64| {
            let rate = u128::from(count) * 1_000_000_000 / window.as_nanos().max(1);
            u64::try_from(rate).unwrap_or(u64::MAX)
        };
        let came = named.values().chain([&strangers]).flatten().fold(missing, |sum, count| sum.saturating_add(*count));
        let arriving = rate(came);
        let Some(before) = &self.sieve else {
            if arriving < limits::FLOOD_BEGINS {
                return Turn::Stay;
            }
            self.sent.clear();
            self.sieve = Some(thinned(&Sieve::default(), &mut self.sent, strangers, &named, rate, peers));
            (self.since, self.calm_since) = (Some(now), None);
            return Turn::Sift { began: Some(arriving) };
        };
        if arriving >= limits::FLOOD_ENDS {
            self.calm_since = None;
        } else if now.since(*self.calm_since.get_or_insert(now)) >= limits::FLOOD_CALM {
            (self.sieve, self.since) = (None, None);
            return Turn::Open;
        }
        let next = thinned(before, &mut self.sent, strangers, &named, rate, peers);
        if next == *before {
            return Turn::Stay;
        }
        self.sieve = Some(next);
        Turn::Sift { began: None }
    }
}

/// The next sieve, from what came through the last one.
fn thinned(
    before: &Sieve,
    sent: &mut BTreeMap<Option<IpAddr>, [u64; 2]>,
    strangers: [u64; 2],
    named: &BTreeMap<IpAddr, [u64; 2]>,
    rate: impl Fn(u64) -> u64,
    peers: impl Iterator<Item = IpAddr>,
) -> Sieve {
    let peers: BTreeSet<IpAddr> = peers.collect();
    // How many were sent a second, if so many came through so small a hole.
    let believe = |counts: [u64; 2], was: Scarcity, sent: [u64; 2]| {
        [0, 1].map(|kind| {
            let now = rate(counts[kind]).saturating_mul(1 << was[kind].min(limits::FLOOD_SCARCEST));
            if sent[kind] == 0 { now } else { (sent[kind] / 4).saturating_mul(3).saturating_add(now / 4) }
        })
    };
    let earlier = std::mem::take(sent);
    let earlier = |name: Option<IpAddr>| earlier.get(&name).copied().unwrap_or_default();
    sent.insert(None, believe(strangers, before.between, earlier(None)));
    for peer in &peers {
        let was = before.peers.get(peer).copied().unwrap_or_default();
        let believed = believe(named.get(peer).copied().unwrap_or_default(), was, earlier(Some(*peer)));
        if believed != [0, 0] {
            sent.insert(Some(*peer), believed);
        }
    }
    // What all flooded names may have is divided by how many they are.
    let flooded = [0, 1].map(|kind| {
        let names = sent.iter().filter(|(name, sent)| name.is_some() && sent[kind] >= limits::FLOOD_OF_ONE);
        names.count() as u64
    });
    let scarcity = |name: Option<IpAddr>| {
        let sent = sent.get(&name).copied().unwrap_or_default();
        [0, 1].map(|kind| {
            let names = if name.is_some() { flooded[kind].max(1) } else { 1 };
            scarcer(sent[kind], (limits::FLOOD_ADMITTED / names).max(1))
        })
    };
    Sieve { peers: peers.iter().map(|peer| (*peer, scarcity(Some(*peer)))).collect(), between: scarcity(None) }
}

/// How scarce requests must become, so that of `sent` a second no more than `share` come through.
fn scarcer(sent: u64, share: u64) -> u8 {
    if sent < limits::FLOOD_OF_ONE {
        return 0;
    }
    (0..limits::FLOOD_SCARCEST).find(|scarcity| sent >> scarcity <= share).unwrap_or(limits::FLOOD_SCARCEST)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const PEERS: [&str; 3] = ["192.0.2.1", "192.0.2.2", "2001:db8::1"];

    fn peer(number: usize) -> IpAddr {
        PEERS[number].parse().unwrap()
    }

    /// A world in which so many are sent a second, and the sieve does what it says.
    #[derive(Default)]
    struct World {
        flood: Flood,
        now: Instant,
        refused: u64,
        came: u64,
    }

    impl World {
        /// One window: from strangers, and of each kind in each peer's name.
        fn window(&mut self, strangers: u64, named: [[u64; 2]; 3]) -> Turn {
            let windows = 4;
            let mut missing = 0;
            self.came = 0;
            for (number, counts) in named.into_iter().enumerate() {
                for (kind, count) in [Kind::Bare, Kind::Notified].into_iter().zip(counts) {
                    let sieve = self.flood.sieve();
                    let scarcity = sieve.map_or(0, |sieve| sieve.peers[&peer(number)][kind as usize]);
                    let through = (count / windows) >> scarcity;
                    missing += count / windows - through;
                    self.came += through;
                    (0..through).for_each(|_| self.flood.count(self.now, Some(peer(number)), kind));
                }
            }
            if self.flood.sieve().is_some() {
                missing += strangers / windows;
            } else {
                (0..strangers / windows).for_each(|_| self.flood.count(self.now, None, Kind::Bare));
            }
            self.refused += missing;
            self.now = self.now + limits::FLOOD_WINDOW;
            self.flood.miss(missing, 0);
            self.flood.judge(self.now, PEERS.iter().map(|text| text.parse().unwrap()))
        }
    }

    const NOBODY: [[u64; 2]; 3] = [[0; 2]; 3];

    #[test]
    fn an_honest_crowd_is_no_flood_and_strangers_are_one_until_they_have_been_quiet_for_a_while() {
        let mut world = World::default();
        for _ in 0..20 {
            assert_eq!(world.window(0, [[900, 0], [0; 2], [0; 2]]), Turn::Stay);
        }
        assert_eq!(world.window(100_000, NOBODY), Turn::Sift { began: Some(100_000) });
        let sieve = world.flood.sieve().unwrap();
        assert_eq!(sieve.peers.len(), 3);
        assert!(sieve.peers.values().all(|scarcity| *scarcity == [0, 0]), "nobody floods a peer's name");
        // Now they are refused elsewhere, and counted.
        for _ in 0..20 {
            let turn = world.window(100_000, NOBODY);
            assert!(matches!(turn, Turn::Stay | Turn::Sift { began: None }), "{turn:?}");
        }
        // What is heard of it a last time does not begin it anew.
        let calm = limits::FLOOD_CALM.as_millis() / limits::FLOOD_WINDOW.as_millis();
        for _ in 0..calm {
            assert_ne!(world.window(400, NOBODY), Turn::Open);
        }
        assert_eq!(world.window(600, NOBODY), Turn::Stay, "it is not over");
        for _ in 0..calm {
            assert_ne!(world.window(400, NOBODY), Turn::Open);
        }
        assert_eq!(world.window(400, NOBODY), Turn::Open);
        assert!(world.flood.sieve().is_none() && !world.flood.is_due(world.now + Duration::from_secs(9)));
    }

    #[test]
    fn a_flooded_name_is_thinned_to_what_is_worth_an_answer_and_no_other_is() {
        let mut world = World::default();
        let flood = [[100_000, 0], [20, 4], [0; 2]];
        for _ in 0..12 {
            world.window(0, flood);
        }
        let sieve = world.flood.sieve().unwrap().clone();
        assert_eq!(sieve.peers[&peer(0)], [7, 0], "a cookie is not scarcer for it");
        assert_eq!((sieve.peers[&peer(1)], sieve.peers[&peer(2)]), ([0, 0], [0, 0]));
        assert!((limits::FLOOD_ADMITTED / 8..=limits::FLOOD_ADMITTED / 4).contains(&world.came), "{}", world.came);
        assert_eq!(world.window(0, flood), Turn::Stay, "it has found its place");
        // Two flooded names share it, and cookies that are none have a share of their own.
        for _ in 0..12 {
            world.window(0, [[100_000, 50_000], [100_000, 0], [0; 2]]);
        }
        let sieve = world.flood.sieve().unwrap().clone();
        assert_eq!((sieve.peers[&peer(0)], sieve.peers[&peer(1)]), ([8, 6], [8, 0]));
        // It opens again, step by step.
        let mut scarcities = vec![8];
        for _ in 0..24 {
            world.window(0, [[0; 2], [50_000, 0], [0; 2]]);
            scarcities.push(world.flood.sieve().unwrap().peers[&peer(0)][0]);
        }
        assert!(scarcities.windows(2).all(|pair| pair[1] <= pair[0] && pair[1] + 1 >= pair[0]), "{scarcities:?}");
        assert_eq!(scarcities.last(), Some(&0));
        assert_eq!(world.flood.sieve().unwrap().peers[&peer(1)], [6, 0]);
    }

    #[test]
    fn a_flood_in_bursts_is_not_forgotten_between_them() {
        let mut world = World::default();
        let burst = [[200_000, 0], [0; 2], [0; 2]];
        let mut scarcities = Vec::new();
        for number in 0..40 {
            world.window(2_000, if number % 2 == 0 { burst } else { NOBODY });
            scarcities.push(world.flood.sieve().unwrap().peers[&peer(0)][0]);
        }
        assert!(scarcities[20..].iter().all(|scarcity| (7..=8).contains(scarcity)), "{scarcities:?}");
    }

    #[test]
    fn strangers_that_the_filter_cannot_tell_from_peers_are_thinned_too() {
        let mut world = World::default();
        world.window(100_000, NOBODY);
        let between = world.flood.sieve().unwrap().between;
        assert_eq!(between, [7, 0]);
    }

    #[test]
    fn a_sieve_that_finds_no_place_is_wanted_again() {
        let mut world = World::default();
        assert!(matches!(world.window(2_000, NOBODY), Turn::Sift { began: Some(_) }));
        world.flood.drop_sieve();
        assert!(matches!(world.window(2_000, NOBODY), Turn::Sift { began: Some(_) }));
        world.flood.drop_sieve();
        assert_eq!(world.window(500, NOBODY), Turn::Stay);
    }

    #[test]
    fn junk_counts_no_more_than_there_are_peers_and_nothing_overflows() {
        for (sent, share, scarcity) in [(u64::MAX, 1, 16), (0, 1, 0), (u64::MAX, u64::MAX, 0), (99, 1, 0)] {
            assert_eq!(scarcer(sent, share), scarcity);
        }
        let mut flood = Flood::default();
        flood.count(Instant::ZERO, None, Kind::Notified);
        let late = Instant::from_nanos(u64::MAX);
        flood.miss(u64::MAX, 1);
        flood.miss(1, 1);
        assert!(matches!(flood.judge(late, std::iter::empty()), Turn::Sift { .. }));
        flood.count(late, None, Kind::Bare);
        assert!(!flood.is_due(late), "the clock has come to its end");
    }
}
