//! Inner packets: numbered, sealed at one end of a tunnel and opened at the other.

use std::net::SocketAddr;

use super::{Action, Origin, SECOND, World};
use crate::ids::{ShapeId, TunnelId};
use crate::ike::api::Input;
use crate::sa::child::Encapsulation;
use crate::sim::gateway::nanos;
use crate::sim::network::{Body, Frame};
use crate::sim::path::{Opened, Packet, Sealed};
use crate::sim::plan::Feature;

impl World {
    /// A packet of each shape comes to one end of a tunnel.
    pub(super) fn talk(&mut self, tunnel: usize, gateway: usize) {
        let of = &self.plan.tunnels[tunnel];
        let (pace, shapes, wide) = (of.pace, of.shapes, of.wide);
        let Some(end) = of.end_of(gateway) else { return };
        self.at(self.now + nanos(pace), Action::Talk { tunnel, gateway });
        if !self.is_awake(gateway) {
            return;
        }
        for shape in 0..shapes {
            let id = u16::try_from(tunnel).unwrap_or(0);
            let narrow = if wide == Some(end) { 1 - end } else { end };
            let mut ends = self.plan.tunnels[tunnel].hosts(tunnel, shape, narrow);
            if narrow != end {
                ends.reverse();
            }
            let way = (id, shape, gateway);
            let number = self.ledger.sent.entry(way).or_insert(0);
            let packet = Packet {
                tunnel: TunnelId(id),
                shape: ShapeId(shape),
                sender: gateway,
                number: *number,
                source: ends[0],
                destination: ends[1],
                len: 100,
            };
            *number += 1;
            let now = self.now;
            match self.gateways[gateway].path.seal(now, packet) {
                Sealed::Sent(encapsulation, esp) => {
                    self.ways_seen.insert(way);
                    let line = &mut self.on_the_line;
                    let real = self.gateways[gateway].real.as_mut().map(|real| real.seal(&esp, line));
                    self.check(real.unwrap_or(Ok(())));
                    let (source, destination) = match encapsulation {
                        Encapsulation::Raw { local, remote } => (SocketAddr::new(local, 0), SocketAddr::new(remote, 0)),
                        Encapsulation::Udp { local, remote } => (local, remote),
                    };
                    self.settle.sealed(now, way, packet.number, self.healed);
                    self.send(gateway, Frame { source, destination, body: Body::Esp(esp) });
                }
                lacking @ (Sealed::NoSa | Sealed::Spent) => {
                    if self.ways_seen.contains(&way) {
                        let seconds = (now - 1000 * SECOND) as f64 / 1e9;
                        self.without_way.push(format!("{lacking:?} for {way:?} at {seconds:.3}"));
                    }
                }
            }
        }
        self.hear_data_path(gateway);
    }

    pub(super) fn arrive_esp(&mut self, to: usize, frame: &Frame, origin: Origin) {
        let Body::Esp(esp) = frame.body else { return };
        let now = self.now;
        let opened = self.gateways[to].path.open(now, frame.destination, frame.source, esp);
        let line = &self.on_the_line;
        let real = self.gateways[to].real.as_mut().map(|real| real.open(&esp, opened, line));
        self.check(real.unwrap_or(Ok(())));
        match opened {
            Opened::Delivered(packet) => {
                let checked = self.ledger.delivered(to, &packet, &self.plan.tunnels[usize::from(packet.tunnel.0)]);
                self.check(checked);
                self.settle.arrived.insert((packet.tunnel.0, packet.shape.0, packet.sender), now);
                let told = self.gateways[to].told.entry(packet.tunnel).or_insert(0);
                if now - *told >= SECOND {
                    *told = now;
                    self.input(to, Input::InboundSeen(packet.tunnel));
                }
            }
            Opened::Forged if origin == Origin::Gateway && !self.plan.has(Feature::Hostile) => {
                self.fail("S3", format!("gateway {to} cannot open ESP that its peer sealed under {:08x}", esp.spi));
            }
            Opened::OutsideSelectors if origin == Origin::Gateway && self.plan.is_calm() => {
                self.fail(
                    "S8",
                    format!("gateway {to} got a packet that its SA {:08x} does not carry: {esp:?}", esp.spi),
                );
            }
            _ => {}
        }
        self.hear_data_path(to);
    }
}
