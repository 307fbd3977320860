//! The lines between gateways, and the NATs in front of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::dice::Dice;
use super::path::Esp;
use super::plan::{Line, NatPlan};

/// The ports at which a gateway hears IKE; ESP in UDP comes to the second one (RFC 7296 §2.23, RFC 3948 §2.1).
pub const PORTS: [u16; 2] = [500, 4500];

/// What is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// An IKE message.
    Ike(Vec<u8>),
    /// ESP.
    Esp(Esp),
    /// A NAT keepalive.
    Keepalive,
}

/// A datagram under way. ESP that is not in UDP has ports of zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// From where.
    pub source: SocketAddr,
    /// To where.
    pub destination: SocketAddr,
    /// What.
    pub body: Body,
}

impl Frame {
    /// How long it is on the line, as far as an MTU cares.
    #[must_use]
    pub fn length(&self) -> usize {
        match &self.body {
            Body::Ike(bytes) => bytes.len() + 32,
            Body::Esp(esp) => usize::from(esp.packet.len) + 60,
            Body::Keepalive => 29,
        }
    }
}

/// What a line does to one frame: the delays of its copies, none if it is lost, and which bit is flipped.
pub struct Fate {
    /// In nanoseconds.
    pub delays: [Option<u64>; 2],
    /// Number of the bit.
    pub flipped: Option<u64>,
    /// Why it is lost.
    pub lost: Option<&'static str>,
}

impl Line {
    /// Draws the fate of a frame. As many numbers for each, so that one rate does not change the luck of another.
    pub fn fate(&self, dice: &mut Dice, len: usize) -> Fate {
        let [lost, doubled, corrupt] = [(); 3].map(|()| dice.below(1000));
        let nanos = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(0);
        let mut delay = || nanos(self.delay) + dice.below(nanos(self.jitter) + 1);
        let (first, second) = (delay(), delay());
        let bit = dice.next();
        let why = if len > self.mtu {
            Some("too long")
        } else if lost < self.loss {
            Some("lost")
        } else {
            None
        };
        Fate {
            delays: if why.is_some() { [None; 2] } else { [Some(first), (doubled < self.duplicate).then_some(second)] },
            flipped: (corrupt < self.corrupt).then_some(bit),
            lost: why,
        }
    }
}

/// A NAT with endpoint-independent mapping and filtering (RFC 4787); ports 500 and 4500 are forwarded inwards.
pub struct Nat {
    plan: NatPlan,
    private: std::net::IpAddr,
    public: std::net::IpAddr,
    out: BTreeMap<u16, (u16, u64)>,
    back: BTreeMap<u16, u16>,
    next: u16,
}

impl Nat {
    /// One that knows nothing yet.
    #[must_use]
    pub fn new(plan: NatPlan, [private, public]: [std::net::IpAddr; 2]) -> Self {
        Self { plan, private, public, out: BTreeMap::new(), back: BTreeMap::new(), next: 20_000 }
    }

    /// The source under which a frame from inside leaves.
    pub fn outwards(&mut self, now: u64, source: SocketAddr) -> SocketAddr {
        if source.port() == 0 {
            return SocketAddr::new(self.public, 0);
        }
        self.forget_old(now);
        let port = match self.out.get(&source.port()) {
            Some((port, _)) => *port,
            None if self.plan.keeps_ports && self.next == 20_000 => source.port(),
            None => {
                self.next = self.next.wrapping_add(1).max(20_000);
                self.next
            }
        };
        self.out.insert(source.port(), (port, now));
        self.back.insert(port, source.port());
        SocketAddr::new(self.public, port)
    }

    /// Where a frame from outside goes.
    pub fn inwards(&mut self, now: u64, destination: SocketAddr) -> Option<SocketAddr> {
        self.forget_old(now);
        let port = match self.back.get(&destination.port()) {
            Some(inside) => *inside,
            None if destination.port() == 0 || PORTS.contains(&destination.port()) => destination.port(),
            None => return None,
        };
        if let Some((_, used)) = self.out.get_mut(&port) {
            *used = now;
        }
        Some(SocketAddr::new(self.private, port))
    }

    /// Every mapping is forgotten, and the next ones are others.
    pub fn rebind(&mut self) {
        self.out.clear();
        self.back.clear();
        self.next = self.next.wrapping_add(7).max(20_001);
    }

    fn forget_old(&mut self, now: u64) {
        let remembers = u64::try_from(self.plan.remembers.as_nanos()).unwrap_or(u64::MAX);
        let back = &mut self.back;
        self.out.retain(|_, (port, used)| {
            let stays = now.saturating_sub(*used) < remembers;
            if !stays {
                back.remove(port);
            }
            stays
        });
    }
}
