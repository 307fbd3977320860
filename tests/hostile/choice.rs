//! Which datagram next? What the peers that hold the keys seal, and what strangers make up.

use std::net::IpAddr;

use super::packets::{self, Content};
use super::wire::{Datagram, Way};
use super::world::{DOWN, HOSTILE, STEADY, STRANGER, World};

impl World {
    /// The next datagram, `sealed` or not by a peer that holds the keys.
    pub fn datagram(&mut self, sealed: bool) -> Datagram {
        if !sealed {
            return self.stranger();
        }
        let kind = self.dice.below(64);
        let hostile = match kind {
            0 => self.garbage(),
            1..8 => self.sealed_by_the_hostile_peer(),
            _ => None,
        };
        // Between two negotiations the hostile peer has no keys; a tunnel that is lost is found out at the end.
        match hostile.or_else(|| self.sealed_by_the_steady_peer(kind < 20)) {
            Some(datagram) => {
                self.sealed += 1;
                datagram
            }
            None => self.stranger(),
        }
    }

    /// IKE that is none.
    fn garbage(&mut self) -> Option<Datagram> {
        let message = self.hostile.seal_garbage(&mut self.dice)?;
        let nat_t = self.dice.one_in(2);
        let bytes = if nat_t { [&[0; 4][..], &message].concat() } else { message };
        let (way, to_port) = if nat_t { (Way::NatT, 4500) } else { (Way::Ike, 500) };
        Some(Datagram { way, from: HOSTILE, to_port, tos: 0, bytes })
    }

    fn sealed_by_the_hostile_peer(&mut self) -> Option<Datagram> {
        let sealer = self.hostile.sealer(false)?;
        let mut inner = packets::mutated(&mut self.dice, true);
        if let Some(source) = inner.get_mut(12..16).filter(|_| self.dice.one_in(2)) {
            source.copy_from_slice(&[10, 20, 0, 30]);
            packets::mend(&mut inner);
        }
        let bytes = sealer.seal(&inner.into());
        Some(Datagram { way: Way::Raw, from: HOSTILE, to_port: 0, tos: 0, bytes })
    }

    /// Mutated by chance, or with a certain reason to be refused.
    fn sealed_by_the_steady_peer(&mut self, for_a_reason: bool) -> Option<Datagram> {
        let dice = &mut self.dice;
        let (v6, content) = if for_a_reason {
            self.turn += 1;
            (false, packets::sealed_for_a_reason(dice, self.turn))
        } else {
            let inner = packets::mutated(dice, true);
            let v6 = inner.first().is_some_and(|first| first >> 4 == 6) != dice.one_in(32);
            let next_header = dice.one_in(32).then(|| dice.byte());
            (v6, Content { next_header, bad_padding: dice.one_in(64), tos: dice.byte() & 3, inner })
        };
        let bytes = self.steady.sealer(v6)?.seal(&content);
        if !v6 {
            self.old.clone_from(&bytes);
        }
        Some(Datagram { way: Way::NatT, from: STEADY, to_port: 4500, tos: content.tos, bytes })
    }

    /// A datagram that nobody has sealed, or not for this time, place or SA.
    fn stranger(&mut self) -> Datagram {
        let dice = &mut self.dice;
        let known = self.steady.sealer(false).map(|sealer| (sealer.spi().to_be_bytes(), sealer.last()));
        let (spi, last) = known.unwrap_or(([0x55; 4], 1));
        let from = dice.pick(&[STEADY, HOSTILE, DOWN, STRANGER]);
        let way = if from == STRANGER { Way::Stranger } else { Way::NatT };
        let esp = |bytes| Datagram { way, from, to_port: 4500, tos: 0, bytes };
        let len = dice.below(200);
        let esp_with = |sequence: u32, rest: Vec<u8>| [&spi[..], &sequence.to_be_bytes(), &rest].concat();
        match dice.below(32) {
            // Neither IKE nor ESP.
            0 => esp(vec![7; dice.below(4)]),
            1 => esp(vec![0xff]),
            2 => esp(vec![9; 4 + dice.below(4)]),
            3 => esp(esp_with(last as u32 + 1, dice.bytes(len % 20))),
            4 => esp([&[0, 0, 0, dice.byte() | 1][..], &dice.bytes(len)].concat()),
            5 => esp([&[0x80 | dice.byte()][..], &dice.bytes(40 + len)].concat()),
            // A known SPI.
            6 => Datagram { way: Way::Raw, from, to_port: 0, tos: 0, bytes: esp_with(last as u32 + 1, dice.bytes(64)) },
            7 | 8 if !self.old.is_empty() => esp(self.old.clone()),
            9 => esp(esp_with((last as u32).saturating_sub(5000).max(1), dice.bytes(64))),
            10 => esp(esp_with(0, dice.bytes(64))),
            11 | 12 => esp(esp_with(last as u32 + 1 + u32::from(dice.word()), dice.bytes(24 + len))),
            13 => {
                let mut bytes = self.old.clone();
                if let Some(sequence) = bytes.get_mut(4..8) {
                    sequence.copy_from_slice(&(last as u32 + 7).to_be_bytes());
                }
                esp(bytes)
            }
            14 => Datagram { way: Way::Raw, from, to_port: 0, tos: 0, bytes: dice.bytes(len) },
            // Longer than anything that could be ours: few, for each comes in fragments.
            15 if dice.one_in(8) => {
                let len = if dice.one_in(2) { 12_000 } else { 9_000 };
                let start = dice.pick(&[[0, 0, 0, 0], spi, [0x55; 4]]);
                let mut bytes = vec![0x5a; len];
                bytes[..4].copy_from_slice(&start);
                Datagram { way: Way::Stranger, from: STRANGER, to_port: 4500, tos: 0, bytes }
            }
            // IKE of somebody who knows the format.
            16..=25 => self.unsealed_ike(from),
            // Noise.
            26 | 27 => Datagram { way, from, to_port: 500, tos: 0, bytes: dice.bytes(len) },
            _ => esp(dice.bytes(len)),
        }
    }

    /// A first message of IKE, more or less.
    fn unsealed_ike(&mut self, from: IpAddr) -> Datagram {
        let dice = &mut self.dice;
        let mut message = self.init.clone();
        if dice.one_in(2) {
            // Another negotiation, and an address that may have one.
            let spi = dice.roll().to_be_bytes();
            message[..8].copy_from_slice(&spi);
        }
        for _ in 0..dice.below(5) {
            let at = if dice.one_in(2) { dice.below(message.len()) } else { dice.below(40) };
            message[at] = dice.byte();
        }
        if dice.one_in(6) {
            message.truncate(dice.below(message.len()));
        } else if dice.one_in(3) {
            let len = (message.len() as u32).to_be_bytes();
            message[24..28].copy_from_slice(&len);
        }
        // The steady peer's true messages share its address; the others have none to lose.
        let from = if from == STEADY { DOWN } else { from };
        let nat_t = dice.one_in(2);
        let bytes = if nat_t { [&[0; 4][..], &message].concat() } else { message };
        let way = match (from == STRANGER, nat_t) {
            (true, _) => Way::Stranger,
            (_, true) => Way::NatT,
            _ => Way::Ike,
        };
        Datagram { way, from, to_port: if nat_t { 4500 } else { 500 }, tos: 0, bytes }
    }
}
