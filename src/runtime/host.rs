//! The host as the gateway needs it: the TUN device, the routes into it, and the barrier that outlives us.

use std::collections::BTreeMap;
use std::io;

use crate::config::Loaded;
use crate::guard::desired::{Desired, Protected};
use crate::ids::TunnelId;
use crate::platform::guard;
use crate::platform::tun::Tun;

/// Inner MTU before any path is known: AES-256-GCM in UDP over an IPv4 path of 1,500 bytes.
const FIRST_MTU: u16 = 1438;

/// What stands on the host on our behalf.
pub(super) struct Host {
    tun_name: String,
    device_mtu: u16,
    mtu: BTreeMap<TunnelId, u16>,
    /// Whether the device has to be made anew.
    tun_missing: bool,
    dirty: bool,
}

impl Host {
    /// Raises the barrier before anything else, then makes the TUN and routes into it.
    pub(super) fn prepare(loaded: &Loaded) -> io::Result<(Self, Tun)> {
        let mut host = Self {
            tun_name: loaded.gateway.tun.clone(),
            device_mtu: loaded.gateway.mtu.and_then(|mtu| u16::try_from(mtu).ok()).unwrap_or(FIRST_MTU),
            mtu: BTreeMap::new(),
            tun_missing: true,
            dirty: false,
        };
        host.protect(loaded)?;
        let tun = Tun::open(&host.tun_name, host.device_mtu)?;
        host.tun_missing = false;
        host.protect(loaded)?;
        Ok((host, tun))
    }

    /// Makes the kernel hold what the configuration asks for.
    pub(super) fn protect(&mut self, loaded: &Loaded) -> io::Result<()> {
        guard::apply(&self.desired(loaded))
    }

    fn desired(&self, loaded: &Loaded) -> Desired {
        let mtu = |tunnel: TunnelId| self.mtu.get(&tunnel).map(|&mtu| u32::from(mtu));
        Desired {
            tun: self.tun_name.clone(),
            mtu: u32::from(self.device_mtu),
            protected: loaded
                .protected
                .iter()
                .map(|(tunnel, protected)| Protected { mtu: mtu(*tunnel).or(protected.mtu), ..protected.clone() })
                .collect(),
        }
    }

    /// The device was deleted under us.
    pub(super) fn tun_gone(&mut self) {
        self.tun_missing = true;
    }

    /// A tunnel's path takes packets of another size now.
    pub(super) fn set_mtu(&mut self, loaded: &Loaded, tunnel: TunnelId, mtu: u16) {
        tracing::info!(?tunnel, mtu, "inner MTU");
        self.mtu.insert(tunnel, mtu);
        if let Err(error) = self.protect(loaded) {
            tracing::error!(%error, "routes do not take the new MTU; trying again");
            self.dirty = true;
        }
    }

    /// Makes a lost TUN anew and retries what failed; gives the new device.
    pub(super) fn look_after(&mut self, loaded: &Loaded) -> io::Result<Option<Tun>> {
        if !self.tun_missing && !self.dirty {
            return Ok(None);
        }
        let tun = if self.tun_missing { Some(Tun::open(&self.tun_name, self.device_mtu)?) } else { None };
        self.tun_missing = false;
        self.dirty = true;
        self.protect(loaded)?;
        self.dirty = false;
        Ok(tun)
    }
}
