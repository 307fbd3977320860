//! The host as the gateway needs it: the TUN device, the routes into it, and the barrier that outlives us.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::Loaded;
use crate::guard::desired::Desired;
use crate::ids::TunnelId;
use crate::platform::guard;
use crate::platform::netlink::Netlink;
use crate::platform::tun::Tun;

/// The device takes whatever a slot of the worker holds; what a tunnel's path takes stands in its routes.
const DEVICE_MTU: u16 = 9216;
/// Inner MTU before any path is known: AES-256-GCM in UDP over an IPv4 path of 1,500 bytes.
const FIRST_MTU: u16 = 1438;

/// What stands on the host on our behalf.
pub(super) struct Host {
    tun_name: String,
    first_mtu: u16,
    mtu: BTreeMap<TunnelId, u16>,
    /// Inner addresses that peers have given us, on the TUN device.
    addresses: BTreeMap<TunnelId, Vec<IpAddr>>,
    /// Whether the device has to be made anew.
    tun_missing: bool,
    dirty: bool,
}

impl Host {
    /// Raises the barrier before anything else, then makes the TUN and routes into it.
    pub(super) fn prepare(loaded: &Loaded) -> io::Result<(Self, Vec<Tun>)> {
        let mut host = Self {
            tun_name: loaded.gateway.tun.clone(),
            first_mtu: loaded.gateway.mtu.and_then(|mtu| u16::try_from(mtu).ok()).unwrap_or(FIRST_MTU),
            mtu: BTreeMap::new(),
            addresses: BTreeMap::new(),
            tun_missing: true,
            dirty: false,
        };
        host.protect(loaded)?;
        let tun = host.open(loaded)?;
        host.tun_missing = false;
        host.protect(loaded)?;
        Ok((host, tun))
    }

    /// The TUN device, with a queue for each worker.
    fn open(&self, loaded: &Loaded) -> io::Result<Vec<Tun>> {
        Tun::open_queues(&self.tun_name, DEVICE_MTU, loaded.gateway.offloads.tun, loaded.gateway.workers)
    }

    /// Makes the kernel hold what the configuration asks for.
    pub(super) fn protect(&mut self, loaded: &Loaded) -> io::Result<()> {
        let applied = guard::apply(&self.desired(loaded)?).map_err(io::Error::other)?;
        if applied.barrier || applied.routes > 0 {
            tracing::info!(barrier = applied.barrier, routes = applied.routes, "the kernel's side was changed");
            if applied.retained {
                tracing::warn!("hosts that no rule names any more stay refused until `portcullis release`");
            }
        }
        Ok(())
    }

    /// The remote side of every rule, each with the MTU of the narrowest tunnel that leads there.
    fn desired(&self, loaded: &Loaded) -> io::Result<Desired> {
        let own: Vec<_> = Netlink::open()?.addresses()?.into_iter().map(|address| address.network.addr()).collect();
        let mut protected = loaded.protected(&own);
        let mut narrowest: BTreeMap<IpNet, u16> = BTreeMap::new();
        for rule in loaded.policy.rules() {
            let Some(mtu) = self.mtu.get(&rule.tunnel) else { continue };
            for network in rule.remote() {
                narrowest.entry(*network).and_modify(|least| *least = (*least).min(*mtu)).or_insert(*mtu);
            }
        }
        for entry in &mut protected {
            entry.mtu = narrowest.get(&entry.network).map(|&mtu| u32::from(mtu));
        }
        Ok(Desired { tun: self.tun_name.clone(), mtu: u32::from(self.first_mtu), protected })
    }

    /// The device was deleted under us.
    pub(super) fn tun_gone(&mut self) {
        self.tun_missing = true;
    }

    /// The paths of tunnels take packets of another size now. The kernel's routes are read and written once for all of them:
    /// many tunnels may come up at a time.
    pub(super) fn set_mtus(&mut self, loaded: &Loaded, changed: &BTreeMap<TunnelId, u16>) {
        if changed.is_empty() {
            return;
        }
        for (tunnel, mtu) in changed {
            tracing::info!(?tunnel, mtu, "inner MTU");
            self.mtu.insert(*tunnel, *mtu);
        }
        if let Err(error) = self.protect(loaded) {
            tracing::error!(%error, "routes do not take the new MTU; trying again");
            self.dirty = true;
        }
    }

    /// A peer has given us other inner addresses: they are those of the TUN device, and of what the gateway itself sends.
    pub(super) fn set_addresses(&mut self, loaded: &Loaded, tunnel: TunnelId, addresses: Vec<IpAddr>) {
        tracing::info!(?tunnel, ?addresses, "inner addresses");
        let old = self.addresses.insert(tunnel, addresses).unwrap_or_default();
        let held = |address: &IpAddr| self.addresses.values().flatten().any(|held| held == address);
        let gone: Vec<_> = old.into_iter().filter(|address| !held(address)).collect();
        if let Err(error) = self.address_tun(&gone).and_then(|()| self.protect(loaded)) {
            tracing::error!(%error, "the TUN device does not take the inner addresses; trying again");
            self.dirty = true;
        }
    }

    /// Makes the TUN device have the inner addresses, and those that are `gone` no more.
    fn address_tun(&self, gone: &[IpAddr]) -> io::Result<()> {
        if self.tun_missing || (gone.is_empty() && self.addresses.values().all(Vec::is_empty)) {
            return Ok(());
        }
        let mut netlink = Netlink::open()?;
        let tun = netlink.index_of(&self.tun_name)?;
        for address in gone {
            // It may be gone with a device that was made anew.
            let _ = netlink.delete_address(tun, IpNet::from(*address));
        }
        for address in self.addresses.values().flatten() {
            netlink.add_address(tun, IpNet::from(*address))?;
        }
        Ok(())
    }

    /// Makes a lost TUN anew and retries what failed; gives the queues of the new device.
    pub(super) fn look_after(&mut self, loaded: &Loaded) -> io::Result<Option<Vec<Tun>>> {
        if !self.tun_missing && !self.dirty {
            return Ok(None);
        }
        let tun = if self.tun_missing { Some(self.open(loaded)?) } else { None };
        self.tun_missing = false;
        // A refusal must not cost the device that was just made: the routes are tried again at the next look.
        let refused = self
            .address_tun(&[])
            .and_then(|()| self.protect(loaded))
            .inspect_err(|error| tracing::error!(%error, "routes into the TUN are refused"));
        self.dirty = refused.is_err();
        Ok(tun)
    }
}

/// Tunnels that may move (RFC 4555) and whose own address has left the host, each with the address that the kernel would use
/// instead. `in_use` are the ends of every tunnel that is up.
pub(super) fn moved(loaded: &Loaded, in_use: &[(TunnelId, IpAddr, IpAddr)]) -> Vec<(TunnelId, IpAddr)> {
    let mobile = |id: TunnelId| loaded.ike.tunnels.iter().any(|tunnel| tunnel.id == id && tunnel.peering.mobike);
    let in_use: Vec<_> = in_use.iter().filter(|(id, _, _)| mobile(*id)).collect();
    if in_use.is_empty() {
        return Vec::new();
    }
    let Ok(mut netlink) = Netlink::open() else { return Vec::new() };
    let Ok(addresses) = netlink.addresses() else { return Vec::new() };
    let gone = in_use.into_iter().filter(|(_, local, _)| !addresses.iter().any(|own| own.network.addr() == *local));
    let instead = |netlink: &mut Netlink, remote: IpAddr| netlink.lookup(remote).ok()??.source;
    gone.filter_map(|(id, _, remote)| Some((*id, instead(&mut netlink, *remote)?))).collect()
}

/// The MTU of the link by which each tunnel's peer is reached now.
pub(super) fn link_mtus(loaded: &Loaded) -> Vec<(TunnelId, u16)> {
    let Ok(mut netlink) = Netlink::open() else { return Vec::new() };
    let Ok(links) = netlink.links() else { return Vec::new() };
    let found = loaded.tunnels.iter().filter_map(|info| {
        // Of several head-ends the narrowest way: which one is in use changes without a word to the host.
        let mtus = info.peers().filter_map(|peer| {
            let route = netlink.lookup(peer).ok()??;
            links.iter().find(|link| Some(link.index) == route.device).map(|link| link.mtu)
        });
        Some((info.id, u16::try_from(mtus.min()?).unwrap_or(u16::MAX)))
    });
    found.collect()
}
