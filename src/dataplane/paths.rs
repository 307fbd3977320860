//! What is known of the way to each tunnel's peer, and the inner MTU that follows from it.

use super::mtu::{Outer, PathMtu, inner_mtu};
use crate::crypto::suite::Cipher;
use crate::esp::transform::PacketShape;
use crate::ids::TunnelId;
use crate::sa::child::{ChildSpec, Encapsulation};
use crate::time::Instant;

#[derive(Clone, Copy, Debug)]
struct Way {
    path: PathMtu,
    outer: Outer,
    shape: PacketShape,
    inner: u16,
    changed: bool,
}

impl Default for Way {
    /// Before the first SA: what most of them will be, AES-GCM in UDP over IPv4.
    fn default() -> Self {
        let mut way = Self {
            path: PathMtu::default(),
            outer: Outer { v6: false, udp: true },
            shape: PacketShape::of(Cipher::Aes256Gcm16, None),
            inner: 0,
            changed: false,
        };
        way.update();
        way.changed = false;
        way
    }
}

impl Way {
    /// Whether there is something new to tell.
    fn update(&mut self) -> bool {
        let inner = inner_mtu(self.path.get(), self.outer, self.shape);
        let news = inner != self.inner && !self.changed;
        self.changed |= inner != self.inner;
        self.inner = inner;
        news
    }
}

/// The ways to all peers.
#[derive(Debug, Default)]
pub struct Tunnels {
    ways: Vec<Way>,
    /// How many have changed and were not named yet.
    changed: usize,
}

impl Tunnels {
    fn way(&mut self, tunnel: TunnelId) -> &mut Way {
        let at = usize::from(tunnel.0);
        if at >= self.ways.len() {
            self.ways.resize_with(at + 1, Way::default);
        }
        &mut self.ways[at]
    }

    /// The MTU of the path to a tunnel's peer.
    #[must_use]
    pub fn path(&self, tunnel: TunnelId) -> PathMtu {
        self.ways.get(usize::from(tunnel.0)).map_or_else(PathMtu::default, |way| way.path)
    }

    /// The longest inner packet for a tunnel, by its newest SA.
    #[must_use]
    pub fn inner_mtu(&self, tunnel: TunnelId) -> u16 {
        self.ways.get(usize::from(tunnel.0)).map_or_else(|| Way::default().inner, |way| way.inner)
    }

    /// A tunnel has a new outbound SA.
    pub fn installed(&mut self, child: &ChildSpec) {
        let way = self.way(child.tunnel);
        way.outer = Outer::of(&child.encapsulation);
        way.shape = PacketShape::of(child.cipher, child.mac);
        self.changed += usize::from(way.update());
    }

    /// A tunnel's peer is elsewhere: what was learned of the old path is void.
    pub fn redirected(&mut self, tunnel: TunnelId, encapsulation: &Encapsulation) {
        let way = self.way(tunnel);
        way.path.forget();
        way.outer = Outer::of(encapsulation);
        self.changed += usize::from(way.update());
    }

    /// The MTU of our own link.
    pub fn set_link(&mut self, tunnel: TunnelId, mtu: u16) {
        let way = self.way(tunnel);
        way.path.set_link(mtu);
        self.changed += usize::from(way.update());
    }

    /// A believable report.
    pub fn learn(&mut self, now: Instant, tunnel: TunnelId, mtu: u32, outer: Outer) {
        let way = self.way(tunnel);
        way.path.learn(now, mtu, outer);
        self.changed += usize::from(way.update());
    }

    /// Forgets old reports.
    pub fn tick(&mut self, now: Instant) {
        for way in &mut self.ways {
            if way.path.tick(now) {
                self.changed += usize::from(way.update());
            }
        }
    }

    /// A tunnel whose inner MTU has changed since it was last named.
    pub fn poll_change(&mut self) -> Option<TunnelId> {
        if self.changed == 0 {
            return None;
        }
        let at = self.ways.iter().position(|way| way.changed)?;
        self.changed -= 1;
        self.ways[at].changed = false;
        u16::try_from(at).ok().map(TunnelId)
    }
}
