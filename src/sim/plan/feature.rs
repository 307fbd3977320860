//! What a seed may turn on: faults, and choices of the configuration.

/// Something that may go wrong, or a choice of the configuration. Each can be turned off, to find the smallest failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feature {
    /// Datagrams are lost.
    Loss,
    /// Datagrams come twice.
    Duplicate,
    /// Datagrams overtake each other.
    Reorder,
    /// Bits flip.
    Corrupt,
    /// Long datagrams are lost.
    Mtu,
    /// Nothing passes for a while, one way or both.
    Partition,
    /// A gateway stands behind a NAT, whose mappings change.
    Nat,
    /// A gateway loses its memory and starts again.
    Crash,
    /// A gateway stands still for a while.
    Suspend,
    /// A gateway's clock jumps ahead.
    Jump,
    /// The configuration is loaded again, the same or another one.
    Reload,
    /// The operator takes tunnels down and up.
    Operator,
    /// The operator wants new keys, often on both sides at once.
    Renewal,
    /// Somebody without keys records, replays, reflects, spoofs and mutates.
    Attacker,
    /// A peer that holds the keys says what it should not.
    Hostile,
    /// The data path takes a while to confirm what IKE asks of it.
    Lag,
    /// SAs live for seconds.
    ShortLife,
    /// SAs live for some packets.
    FewPackets,
    /// Cookies are asked for from the first request on.
    Cookies,
    /// Both sides have several suites in different orders.
    Suites,
    /// There is a third gateway.
    Third,
    /// Tunnels have several pairs of selectors.
    Shapes,
    /// One side asks for more than the other allows.
    Wide,
    /// Underlay addresses are IPv6.
    V6,
    /// Pre-shared keys are being replaced by others.
    Keys,
    /// ML-KEM beside X25519.
    Quantum,
    /// One side proves itself by user and password.
    Eap,
    /// Who proves itself by a pre-shared key elsewhere has a certificate.
    Certificates,
    /// A postquantum preshared key is mixed into the keys, if both sides have it.
    Ppk,
    /// IKE SAs are made without a child SA, or must not be.
    Childless,
    /// Gateways tell each other how they will prove that they have restarted.
    Tokens,
    /// Gateways move to other addresses and back.
    Mobike,
    /// The peer of the first tunnel has a second head-end, and the first one is out of order now and then.
    Heads,
}

impl Feature {
    /// All of them.
    pub const ALL: [Self; 33] = [
        Self::Loss,
        Self::Duplicate,
        Self::Reorder,
        Self::Corrupt,
        Self::Mtu,
        Self::Partition,
        Self::Nat,
        Self::Crash,
        Self::Suspend,
        Self::Jump,
        Self::Reload,
        Self::Operator,
        Self::Renewal,
        Self::Attacker,
        Self::Hostile,
        Self::Lag,
        Self::ShortLife,
        Self::FewPackets,
        Self::Cookies,
        Self::Suites,
        Self::Third,
        Self::Shapes,
        Self::Wide,
        Self::V6,
        Self::Keys,
        Self::Quantum,
        Self::Eap,
        Self::Certificates,
        Self::Ppk,
        Self::Childless,
        Self::Tokens,
        Self::Mobike,
        Self::Heads,
    ];

    /// So many of them were there first: what they draw does not change with what came later.
    pub(super) const FIRST: usize = 27;

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Duplicate => "duplicate",
            Self::Reorder => "reorder",
            Self::Corrupt => "corrupt",
            Self::Mtu => "mtu",
            Self::Partition => "partition",
            Self::Nat => "nat",
            Self::Crash => "crash",
            Self::Suspend => "suspend",
            Self::Jump => "jump",
            Self::Reload => "reload",
            Self::Operator => "operator",
            Self::Renewal => "renewal",
            Self::Attacker => "attacker",
            Self::Hostile => "hostile",
            Self::Lag => "lag",
            Self::ShortLife => "short-life",
            Self::FewPackets => "few-packets",
            Self::Cookies => "cookies",
            Self::Suites => "suites",
            Self::Third => "third",
            Self::Shapes => "shapes",
            Self::Wide => "wide",
            Self::V6 => "v6",
            Self::Keys => "keys",
            Self::Quantum => "quantum",
            Self::Eap => "eap",
            Self::Certificates => "certificates",
            Self::Ppk => "ppk",
            Self::Childless => "childless",
            Self::Tokens => "tokens",
            Self::Mobike => "mobike",
            Self::Heads => "heads",
        }
    }

    /// Those that make packets get lost, or tunnels go down. Without them nothing may be lost.
    pub(super) const HARMFUL: [Self; 14] = [
        Self::Loss,
        Self::Duplicate,
        Self::Corrupt,
        Self::Mtu,
        Self::Partition,
        Self::Crash,
        Self::Suspend,
        Self::Jump,
        Self::Reload,
        Self::Operator,
        Self::Attacker,
        Self::Hostile,
        Self::Mobike,
        Self::Heads,
    ];
}
