//! A flood of first requests: IKE says what is to be let through (`ike::flood`), the filter of the port's sockets holds it. In peace
//! there is none, so that every message is seen, counted by its reason and shown by `explain`. Each port has its own: a flood at
//! port 500 puts nothing in the way of ESP at port 4500.

use std::time::Duration;

use super::control_loop::ControlLoop;
use crate::event::Event;
use crate::ike::flood::Turn;
use crate::platform::clock;
use crate::platform::udp::Sieve;
use crate::time::Instant;

/// How often a sieve is looked after: what it refuses wakes nobody.
const LOOK: Duration = Duration::from_millis(250);
/// How long port 500 is left alone once it was read to its end, while it is flooded: what is let through comes a thousand
/// times a second and more, and to be woken for each of them costs more than its answer. No honest peer notices so short a wait.
const REST: Duration = Duration::from_millis(5);

/// Whether the kernel refuses first requests now, at port 500 and at port 4500.
#[derive(Debug, Default)]
pub(super) struct FloodWatch {
    ports: [Watch; 2],
    /// Until when port 500 is left alone.
    rests_until: Instant,
    /// The kernel did not take a sieve, and the log says so.
    told: bool,
}

#[derive(Debug, Default)]
struct Watch {
    sifted: bool,
    /// Since the sieve is there.
    refused: u64,
}

impl FloodWatch {
    /// How long nothing has to be done about a flood.
    pub(super) fn pause(&self, now: Instant) -> Duration {
        if self.rests(now) {
            self.rests_until - now
        } else if self.ports.iter().any(|watch| watch.sifted) {
            LOOK
        } else {
            Duration::MAX
        }
    }

    /// Whether port 500 is left alone.
    pub(super) fn rests(&self, now: Instant) -> bool {
        now < self.rests_until
    }

    /// Port 500 was read to its end.
    pub(super) fn heard(&mut self, now: Instant) {
        if self.ports[0].sifted {
            self.rests_until = now + REST;
        }
    }
}

impl ControlLoop {
    /// Counts what did not come to us.
    pub(super) fn count_missed(&mut self) {
        for nat_t in [false, true] {
            let watch = &mut self.flood.ports[usize::from(nat_t)];
            let missed = self.sockets.missed(nat_t, watch.sifted);
            watch.refused += missed.refused;
            self.endpoint.missed(nat_t, missed.refused, missed.lost);
        }
    }

    /// Does what IKE says about first requests, a few times a second at most.
    pub(super) fn watch_floods(&mut self) {
        let now = clock::now();
        for nat_t in [false, true] {
            if !self.endpoint.is_flood_due(now, nat_t) {
                continue;
            }
            self.count_missed();
            match self.endpoint.judge_flood(now, nat_t) {
                Turn::Stay => {}
                Turn::Sift { began } => self.sift(nat_t, began),
                Turn::Open => {
                    self.sockets.open_up(nat_t);
                    self.lifted(nat_t);
                }
            }
        }
    }

    fn sift(&mut self, nat_t: bool, began: Option<u64>) {
        let Some(wanted) = self.endpoint.sieve(nat_t) else { return };
        let sieve = Sieve { peers: wanted.peers.clone(), between: wanted.between };
        match self.sockets.sift(nat_t, &sieve) {
            Ok(()) => {
                self.flood.ports[usize::from(nat_t)].sifted = true;
                if let Some(arriving) = began {
                    self.journal.publish(&Event::FloodFilterOn { port: port(nat_t), arriving });
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.flood.told, true) {
                    tracing::warn!(%error, "the kernel takes no filter against a flood; every first request is looked at here");
                }
                self.endpoint.drop_sieve(nat_t);
                if self.flood.ports[usize::from(nat_t)].sifted {
                    self.lifted(nat_t);
                }
            }
        }
    }

    /// The sieve is gone: what it has refused until then is counted and told.
    fn lifted(&mut self, nat_t: bool) {
        self.count_missed();
        let watch = std::mem::take(&mut self.flood.ports[usize::from(nat_t)]);
        self.journal.publish(&Event::FloodFilterOff { port: port(nat_t), refused: watch.refused });
    }
}

fn port(nat_t: bool) -> u16 {
    if nat_t { super::sockets::NAT_T } else { super::sockets::IKE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_500_is_left_alone_for_a_moment_and_only_while_it_is_sifted() {
        let mut watch = FloodWatch::default();
        let now = Instant::from_nanos(1_000_000_000);
        watch.heard(now);
        assert!(!watch.rests(now));
        assert_eq!(watch.pause(now), Duration::MAX);
        watch.ports[1].sifted = true;
        watch.heard(now);
        assert!(!watch.rests(now));
        watch.ports[0].sifted = true;
        watch.heard(now);
        assert!(watch.rests(now));
        assert_eq!(watch.pause(now), REST);
        let later = now + REST;
        assert!(!watch.rests(later));
        assert_eq!(watch.pause(later), LOOK);
    }
}
