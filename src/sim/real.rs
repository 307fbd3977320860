//! The real `esp` beside the model of the data path: the same packets, as bytes, under the same SAs. What the model delivers has to
//! open to what was sealed, what the model refuses must not open.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::ledger::{Checked, broken};
use super::path::{Esp, Opened, Packet};
use crate::esp::inbound_sa::InboundSa;
use crate::esp::outbound_sa::OutboundSa;
use crate::sa::child::{EspKeys, InboundSpec, OutboundSpec};
use crate::sa::command::SadCommand;
use crate::sa::lifetime::Lifetime;
use crate::sa::spi::Spi;
use crate::secret::Secret;
use crate::time::Instant;

/// In front of an inner packet there is room for the header and the IV, behind it for padding, trailer and ICV.
const ROOM: usize = 64;

/// The SAs of one gateway.
#[derive(Default)]
pub struct Real {
    inbound: BTreeMap<Spi, InboundSa>,
    outbound: BTreeMap<Spi, OutboundSa>,
}

/// Sealed packets on their way, by what names each packet.
#[derive(Default)]
pub struct OnTheLine(HashMap<Name, (Esp, Vec<u8>)>);

/// Tunnel, shape, sender, number.
type Name = (u16, u16, usize, u32);

fn name(packet: &Packet) -> Name {
    (packet.tunnel.0, packet.shape.0, packet.sender, packet.number)
}

/// The inner packet as bytes: headers, and a payload that is like no other.
fn inner(packet: &Packet) -> Vec<u8> {
    let mut bytes = vec![0; usize::from(packet.len)];
    bytes[0] = 0x45;
    bytes[2..4].copy_from_slice(&packet.len.to_be_bytes());
    bytes[9] = 17;
    for (at, address) in [(12, packet.source), (16, packet.destination)] {
        if let IpAddr::V4(v4) = address {
            bytes[at..at + 4].copy_from_slice(&v4.octets());
        }
    }
    let mut dice = super::dice::Dice::new(u64::from(packet.number), packet.sender as u64);
    for chunk in bytes[20..].chunks_mut(8) {
        let word = dice.next().to_le_bytes();
        chunk.copy_from_slice(&word[..chunk.len()]);
    }
    bytes
}

fn keys(of: &EspKeys) -> EspKeys {
    EspKeys { cipher: Secret::copy_of(of.cipher.expose()), mac: Secret::copy_of(of.mac.expose()) }
}

/// Limits are the model's affair.
fn without_limits(lifetime: &mut Lifetime) {
    lifetime.hard_packets = u64::MAX;
    lifetime.hard_bytes = u64::MAX;
    (lifetime.soft_packets, lifetime.soft_bytes) = (u64::MAX, u64::MAX);
}

impl Real {
    /// The same change of the SAD.
    pub fn apply(&mut self, command: &SadCommand) {
        let now = Instant::ZERO;
        match command {
            SadCommand::InstallInbound(spec) => {
                let InboundSpec { spi, replay_window, .. } = **spec;
                let mut child = spec.child.clone();
                without_limits(&mut child.lifetime);
                let spec = InboundSpec { spi, keys: keys(&spec.keys), child, replay_window };
                self.inbound.insert(spi, InboundSa::new(spec, now));
            }
            SadCommand::InstallOutbound(spec) => {
                let OutboundSpec { spi, inbound, .. } = **spec;
                let mut child = spec.child.clone();
                without_limits(&mut child.lifetime);
                let spec = OutboundSpec { spi, inbound, keys: keys(&spec.keys), child };
                self.outbound.insert(inbound, OutboundSa::new(spec, now));
            }
            SadCommand::RemoveInbound(spi) => {
                self.inbound.remove(spi);
            }
            SadCommand::RemoveOutbound { inbound } => {
                self.outbound.remove(inbound);
            }
            SadCommand::ExpectInbound(_) | SadCommand::Redirect { .. } => {}
        }
    }

    /// Seals what the model has just sealed as `esp`.
    ///
    /// S6: the number is the next one. S9: nothing of what is inside is seen outside.
    pub fn seal(&mut self, esp: &Esp, line: &mut OnTheLine) -> Checked {
        let found = self.outbound.values_mut().find(|sa| sa.spi().get() == esp.spi);
        let Some(sa) = found else { return broken("S3", format!("no real SA sends to {:08x}", esp.spi)) };
        let plain = inner(&esp.packet);
        let number = sa.reserve(Instant::ZERO, 1, plain.len() as u64);
        if number != Ok(esp.sequence) {
            return broken("S6", format!("SA {:08x} gives the number {number:?} after {}", esp.spi, esp.sequence - 1));
        }
        let mut slab = vec![0; ROOM + plain.len() + ROOM];
        slab[ROOM..ROOM + plain.len()].copy_from_slice(&plain);
        let place = sa.seal(esp.sequence, &mut slab, ROOM..ROOM + plain.len());
        let sealed = slab[place].to_vec();
        if sealed.windows(16).any(|seen| seen == &plain[20..36]) {
            return broken("S9", format!("packet {:?} leaves in the clear", esp.packet));
        }
        line.0.insert(name(&esp.packet), (*esp, sealed));
        Ok(())
    }

    /// Opens what the model has just opened with this result.
    pub fn open(&mut self, esp: &Esp, opened: Opened, line: &OnTheLine) -> Checked {
        let there = Spi::new(esp.spi).and_then(|spi| self.inbound.get_mut(&spi));
        let Some(sa) = there else {
            let differs = !matches!(opened, Opened::UnknownSpi | Opened::Held);
            return if differs { broken("S3", format!("no real SA has {:08x}", esp.spi)) } else { Ok(()) };
        };
        if opened == Opened::WrongEncapsulation {
            return Ok(());
        }
        let Some((original, sealed)) = line.0.get(&name(&esp.packet)) else { return Ok(()) };
        let mut bytes = sealed.clone();
        let sound = matches!(opened, Opened::Delivered(_) | Opened::OutsideSelectors);
        if original != esp {
            // As something else was changed of the model's packet, so it is of this one.
            let at = 4 + usize::try_from(esp.tag % (bytes.len() as u64 - 4)).unwrap_or(0);
            bytes[at] ^= 1 << ((esp.tag >> 32) & 7);
        }
        let low = bytes.get(4..8).and_then(|low| low.try_into().ok()).map_or(0, u32::from_be_bytes);
        match sa.receive(Instant::ZERO, low, &mut bytes) {
            Ok(received) if sound => {
                let plain = received.inner.ok().and_then(|place| bytes.get(place).map(<[u8]>::to_vec));
                if plain.as_deref() == Some(&inner(&esp.packet)[..]) {
                    return Ok(());
                }
                broken("S3", format!("packet {:?} comes out as something else", esp.packet))
            }
            Ok(_) => broken("S7", format!("the model says {opened:?} of {esp:?}, and the real SA takes it")),
            Err(reason) if sound => {
                broken("S3", format!("the model says {opened:?} of {esp:?}, the real SA {reason:?}"))
            }
            Err(_) => Ok(()),
        }
    }
}
