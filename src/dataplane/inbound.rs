//! The way in: a datagram from the underlay becomes an inner packet for the TUN device, where it lies (RFC 4301 §5.2).

use super::buffer::{Batch, Packet};
use super::held::Holding;
use super::mtu;
use super::outbound::Refusal;
use super::pipeline::{Pipeline, notice_event};
use super::sad::carries;
use super::tunnel;
use crate::event::DropReason;
use crate::inspect::{Origin, Verdict};
use crate::sa::event::SadEvent;
use crate::sa::spi::Spi;
use crate::time::Instant;
use crate::wire::esp::EspHeader;
use crate::wire::ip::{self, Inner};
use crate::wire::natt::{self, Natt};
use crate::wire::tcp;

impl Pipeline {
    /// Opens what came to UDP port 4500 and as raw ESP; each packet's `path` says which (port 0 is raw ESP). Afterwards
    /// every packet that is not `done` is an inner packet for the TUN device.
    pub fn inbound(&mut self, now: Instant, batch: &mut Batch) {
        self.tick_if_due(now);
        batch.split_trains();
        let (packets, slab) = batch.parts_mut();
        for packet in packets.iter_mut().filter(|packet| !packet.done) {
            if let Err(refusal) = self.receive(now, packet, slab) {
                packet.done = true;
                self.refuse(now, false, refusal);
            }
        }
    }

    fn receive(&mut self, now: Instant, packet: &mut Packet, slab: &mut [u8]) -> Result<(), Refusal> {
        let Some(path) = packet.path else { return Err(DropReason::NotIke.into()) };
        let udp = path.local.port() != 0;
        let datagram = &mut slab[packet.start..packet.start + packet.len];

        // IKE, keepalive or ESP?
        if udp {
            match natt::demultiplex(datagram)? {
                Natt::Esp => {}
                Natt::Ike(message) => {
                    packet.done = true;
                    let kept = self.ike.push(path, message);
                    return if kept { Ok(()) } else { Err(DropReason::QueueFull.into()) };
                }
                Natt::Keepalive => {
                    packet.done = true;
                    self.counters.shared().keepalives.add(1);
                    return Ok(());
                }
            }
        }

        // Which SA? One that IKE is about to install is waited for.
        let header = EspHeader::parse(datagram)?;
        let spi = Spi::new(header.spi).ok_or(DropReason::ReservedSpi)?;
        let Some(place) = self.sad.find_inbound(spi) else {
            packet.done = true;
            return match self.held.hold(now, spi, path, datagram) {
                Holding::Held => Ok(()),
                Holding::Full => Err(DropReason::QueueFull.into()),
                Holding::Stranger => Err(DropReason::UnknownSpi.into()),
            };
        };
        let sa = self.sad.inbound(place).expect("its place was just found");
        let tunnel = sa.child().tunnel;
        let refusal = |reason: DropReason| Refusal { tunnel: Some(tunnel), ..reason.into() };
        if sa.expects_udp() != udp {
            return Err(refusal(DropReason::WrongEncapsulation));
        }

        // Is it new, and from the peer? From here on it is.
        let received = sa.receive(now, header.sequence, datagram);
        while let Some(notice) = sa.poll_notice() {
            self.events.push(notice_event(notice, spi));
        }
        let received = received.map_err(refusal)?;
        self.counters.tunnel(tunnel).last_inbound.set(now.as_nanos());
        // RFC 7296 §2.23: the peer's address follows only what it has authenticated, and no packet older than the last.
        if received.newest && udp && sa.follow(path.remote, path.local) {
            self.events.push(SadEvent::PeerMoved { inbound: spi, remote: path.remote, local: path.local });
        }
        let place = received.inner.map_err(refusal)?;

        // What is inside, and does it belong to this SA?
        let bytes = &mut datagram[place.clone()];
        let inner = Inner::parse(bytes).map_err(refusal)?;
        let flow = inner.flow();
        let refusal = |reason| Refusal { flow: Some(flow), ..refusal(reason) };
        if !carries(sa.child(), false, &inner) {
            return Err(refusal(DropReason::Selector));
        }
        if inner.ttl() == 0 {
            return Err(refusal(DropReason::TtlExpired));
        }

        // May it go? The peer is never answered: what it sends is its own affair.
        let pass = match self.flows.judge(now, Origin::Tunnel(tunnel), &inner, &self.policy) {
            Verdict::Pass(pass) => pass,
            Verdict::Drop { reason, rule, .. } => return Err(Refusal { rule, ..refusal(reason) }),
        };
        let refusal = |reason| Refusal { rule: Some(pass.rule), ..refusal(reason) };

        // What the way has done to it.
        let Ok(tos) = tunnel::decapsulate(inner.tos(), path.tos) else { return Err(refusal(DropReason::EcnDrop)) };
        let syn = inner.tcp().is_some_and(|segment| segment.flags() & tcp::SYN != 0);
        let (old_tos, v6) = (inner.tos(), inner.is_v6());
        if tos != old_tos {
            ip::set_tos(bytes, tos);
        }
        if syn {
            tcp::clamp_mss(bytes, mtu::max_segment(self.tunnels.inner_mtu(tunnel), v6));
        }

        self.counters.rule(pass.rule).count_in(place.len());
        self.counters.tunnel(tunnel).count_in(place.len());
        if pass.opened {
            self.opened(tunnel, pass.rule, flow);
        }
        packet.start += place.start;
        packet.len = place.len();
        Ok(())
    }
}
