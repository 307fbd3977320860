//! ESP and datagrams by hand: packets are under way while messages arrive, and none may be without an SA.

use std::time::Duration;

use super::pair::*;
use crate::ike::api::Input;
use crate::sa::event::SadEvent;
use crate::sa::spi::Spi;

impl Pair {
    /// A packet of each shape is sent from each side, by the SA that its data path uses now.
    pub(super) fn send_esp(&mut self) {
        for side in [A, B] {
            let from = &self.sides[side];
            let newest = from.ways.values().filter_map(|ways| from.outbound.get(ways.last()?));
            self.esp.extend(newest.map(|out| (1 - side, out.spi)));
        }
    }

    /// What was sent arrives.
    pub(super) fn deliver_esp(&mut self) {
        for (to, spi) in std::mem::take(&mut self.esp) {
            self.arrive(to, spi);
        }
    }

    fn arrive(&mut self, to: usize, spi: Spi) {
        let side = &mut self.sides[to];
        if side.inbound.contains_key(&spi) {
            side.received += 1;
            if side.seen.insert(spi) {
                self.input(to, Input::Sad(SadEvent::FirstInbound { inbound: spi }));
            }
        } else if side.expected.contains(&spi) {
            side.held.push(spi);
        } else {
            side.lost.push(spi);
        }
    }

    /// What was held for an SA that is there now.
    pub(super) fn release_held(&mut self, side: usize) {
        let this = &mut self.sides[side];
        let inbound = &this.inbound;
        let ready: Vec<Spi> = this.held.extract_if(.., |spi| inbound.contains_key(spi)).collect();
        for spi in ready {
            self.arrive(side, spi);
        }
    }

    /// Lets `time` pass with a packet each way and shape every five milliseconds, each of which takes as long.
    pub(super) fn talk(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.send_esp();
            self.run(Duration::from_millis(5));
            self.deliver_esp();
        }
    }

    /// Takes the first datagram to `to` off the line.
    pub(super) fn take(&mut self, to: usize) -> Datagram {
        let index = self.line.iter().position(|datagram| datagram.to == to).expect("something is on its way");
        self.line.remove(index).unwrap()
    }

    /// Hands a datagram over, with ESP on its way before and after.
    pub(super) fn pass(&mut self, datagram: &Datagram) {
        self.send_esp();
        self.deliver(datagram);
        self.deliver_esp();
    }

    /// The next datagram to `to` is handed over.
    pub(super) fn pass_next(&mut self, to: usize) {
        let datagram = self.take(to);
        self.pass(&datagram);
    }

    /// The operator of one side wants new keys.
    pub(super) fn rekey(&mut self, side: usize, children: bool, ike: bool) {
        self.input(side, Input::Rekey { tunnel: TUNNEL, children, ike });
    }

    /// No packet was lost, and some have come.
    pub(super) fn assert_no_loss(&self) {
        for side in &self.sides {
            assert!(side.lost.is_empty() && side.held.is_empty(), "{:?} {:?}", side.lost, side.held);
            assert!(side.received > 0);
        }
    }
}
