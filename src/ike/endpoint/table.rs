//! The IKE SAs of an endpoint by our SPI and by tunnel, and the tunnels by the addresses that they join: what concerns one
//! tunnel looks at its own, however many others there are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::ids::TunnelId;
use crate::ike::connection::Connection;
use crate::ike::ike_sa::IkeSa;
use crate::ike::path::Path;
use crate::wire::ike::header::IkeSpi;

/// All IKE SAs. Every order is that of the SPIs.
#[derive(Default)]
pub(super) struct Table {
    by_spi: BTreeMap<IkeSpi, IkeSa>,
    of_tunnel: BTreeSet<(TunnelId, IkeSpi)>,
    /// How many a walk through the table has looked at: what must not grow with the number of tunnels.
    #[cfg(test)]
    pub(super) looked: std::cell::Cell<usize>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the words of a map")]
impl Table {
    pub(super) fn get(&self, spi: &IkeSpi) -> Option<&IkeSa> {
        self.by_spi.get(spi)
    }

    pub(super) fn contains_key(&self, spi: &IkeSpi) -> bool {
        self.by_spi.contains_key(spi)
    }

    pub(super) fn insert(&mut self, spi: IkeSpi, sa: IkeSa) {
        self.of_tunnel.insert((sa.core.tunnel.id, spi));
        self.by_spi.insert(spi, sa);
    }

    pub(super) fn remove(&mut self, spi: &IkeSpi) -> Option<IkeSa> {
        let sa = self.by_spi.remove(spi)?;
        self.of_tunnel.remove(&(sa.core.tunnel.id, *spi));
        Some(sa)
    }

    /// Those of one tunnel.
    pub(super) fn of(&self, tunnel: TunnelId) -> impl Iterator<Item = (IkeSpi, &IkeSa)> {
        let own = self.of_tunnel.range((tunnel, IkeSpi::MIN)..=(tunnel, IkeSpi::MAX));
        own.filter_map(|(_, spi)| {
            self.look();
            Some((*spi, self.by_spi.get(spi)?))
        })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&IkeSpi, &IkeSa)> {
        self.by_spi.iter().inspect(|_| self.look())
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &IkeSa> {
        self.iter().map(|(_, sa)| sa)
    }

    pub(super) fn len(&self) -> usize {
        self.by_spi.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_spi.is_empty()
    }

    #[allow(clippy::unused_self, reason = "only tests count")]
    fn look(&self) {
        #[cfg(test)]
        self.looked.set(self.looked.get() + 1);
    }

    #[cfg(test)]
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut IkeSa> {
        self.by_spi.values_mut()
    }
}

/// Which tunnel joins two addresses.
#[derive(Default)]
pub(super) struct Ends(BTreeMap<(IpAddr, IpAddr), TunnelId>);

impl Ends {
    /// Of several tunnels between the same two addresses the first one has it, as in the configuration's order of numbers.
    pub(super) fn of(connections: &BTreeMap<TunnelId, Connection>) -> Self {
        let mut ends = BTreeMap::new();
        for (id, connection) in connections {
            for peer in connection.config.peers() {
                ends.entry((connection.config.local, peer)).or_insert(*id);
            }
        }
        Self(ends)
    }

    /// Every address that is a peer's; some more than once.
    pub(super) fn peers(&self) -> impl Iterator<Item = IpAddr> {
        self.0.keys().map(|(_, peer)| *peer)
    }

    pub(super) fn tunnel(&self, path: Path) -> Option<TunnelId> {
        self.0.get(&(path.local.ip(), path.remote.ip())).copied()
    }
}
