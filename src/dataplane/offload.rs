//! What the kernel does for many packets at once: what is wanted of it, and what is in use.
//!
//! Each way of sending is a step of a ladder that is only ever gone down: what the kernel has refused is not asked for
//! again. The steps are ordered from the least up.

use super::inbound::Coalescing;

/// At the TUN device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum TunOffload {
    /// One packet a system call.
    #[default]
    None,
    /// TCP segments (TSO).
    Tcp,
    /// TCP segments and UDP datagrams (USO, since Linux 6.2).
    TcpAndUdp,
}

/// How datagrams are handed to the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Sending {
    /// One datagram a call (`sendmsg`).
    #[default]
    Single,
    /// Many datagrams a call (`sendmmsg`).
    Many,
    /// Many datagrams a message, cut by the kernel or the network card (`UDP_SEGMENT`).
    Segments,
}

/// All of them: as the operator allows it, or as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// What comes out of the TUN device.
    pub tun: TunOffload,
    /// What goes into it.
    pub tun_write: TunOffload,
    /// Towards the peers, in UDP.
    pub sending: Sending,
    /// Towards the peers without UDP: the kernel cuts no message into raw ESP, so that this ladder begins a step lower.
    pub raw_sending: Sending,
    /// Whether the kernel puts together the datagrams that come from them (`UDP_GRO`).
    pub gro: bool,
}

impl Offloads {
    /// Everything that a kernel may have.
    pub const ALL: Self = Self {
        tun: TunOffload::TcpAndUdp,
        tun_write: TunOffload::TcpAndUdp,
        sending: Sending::Segments,
        raw_sending: Sending::Many,
        gro: true,
    };
}

impl TunOffload {
    /// Its name in configuration and status.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "off",
            Self::Tcp => "tso",
            Self::TcpAndUdp => "tso+uso",
        }
    }

    /// The next step down: a train that was refused may have been of the kind that this one does without.
    #[must_use]
    pub const fn down(self) -> Self {
        match self {
            Self::TcpAndUdp => Self::Tcp,
            Self::Tcp | Self::None => Self::None,
        }
    }

    /// Which packets it takes as trains.
    #[must_use]
    pub const fn coalescing(self) -> Coalescing {
        Coalescing { tcp: !matches!(self, Self::None), udp: matches!(self, Self::TcpAndUdp) }
    }
}

impl Sending {
    /// Its name in configuration and status.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Single => "sendto",
            Self::Many => "sendmmsg",
            Self::Segments => "gso",
        }
    }
}

impl Offloads {
    /// As one number, for a reader in another thread.
    pub(super) fn pack(self) -> u64 {
        u64::from(self.tun as u8)
            | u64::from(self.sending as u8) << 8
            | u64::from(self.gro) << 16
            | u64::from(self.tun_write as u8) << 24
            | u64::from(self.raw_sending as u8) << 32
    }

    pub(super) fn unpack(number: u64) -> Self {
        let tun = |number| match number {
            0 => TunOffload::None,
            1 => TunOffload::Tcp,
            _ => TunOffload::TcpAndUdp,
        };
        let sending = |number| match number {
            0 => Sending::Single,
            1 => Sending::Many,
            _ => Sending::Segments,
        };
        Self {
            tun: tun(number & 0xff),
            tun_write: tun(number >> 24 & 0xff),
            sending: sending(number >> 8 & 0xff),
            raw_sending: sending(number >> 32 & 0xff),
            gro: number >> 16 & 0xff != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_use_reaches_another_thread_whole() {
        let steps = [TunOffload::None, TunOffload::Tcp, TunOffload::TcpAndUdp];
        let ways = [Sending::Single, Sending::Many, Sending::Segments];
        for (tun, tun_write) in steps.into_iter().flat_map(|tun| steps.map(|tun_write| (tun, tun_write))) {
            for (sending, raw_sending) in ways.into_iter().flat_map(|way| ways.map(|raw| (way, raw))) {
                for gro in [false, true] {
                    let offloads = Offloads { tun, tun_write, sending, raw_sending, gro };
                    assert_eq!(Offloads::unpack(offloads.pack()), offloads);
                }
            }
        }
    }
}
