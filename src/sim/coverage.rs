//! What the workload has reached: how often each event met each state. A generator that never brings about a collision proves
//! nothing about collisions.

use std::collections::BTreeMap;
use std::fmt;

use crate::ike::endpoint::probe::Phase;
use crate::sa::event::SadEvent;
use crate::wire::ike::header::Header;
use crate::wire::ike::numbers::ExchangeType;

/// What may come to an IKE SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stimulus {
    /// A request of IKE_SA_INIT.
    InitRequest,
    /// A response of IKE_SA_INIT.
    InitResponse,
    /// A request of IKE_AUTH.
    AuthRequest,
    /// A response of IKE_AUTH.
    AuthResponse,
    /// A request of CREATE_CHILD_SA.
    CreateRequest,
    /// A response of CREATE_CHILD_SA.
    CreateResponse,
    /// A request of INFORMATIONAL.
    InfoRequest,
    /// A response of INFORMATIONAL.
    InfoResponse,
    /// A request of IKE_INTERMEDIATE.
    IntermediateRequest,
    /// A response of IKE_INTERMEDIATE.
    IntermediateResponse,
    /// A request of IKE_FOLLOWUP_KE.
    FollowupRequest,
    /// A response of IKE_FOLLOWUP_KE.
    FollowupResponse,
    /// A request of another exchange.
    OtherRequest,
    /// A response of another exchange.
    OtherResponse,
    /// Time.
    Timer,
    /// `up`.
    Up,
    /// `down`.
    Down,
    /// `rekey` of child SAs.
    RekeyChild,
    /// `rekey` of the IKE SA.
    RekeyIke,
    /// Another configuration.
    Reload,
    /// A packet has no SA.
    Acquire,
    /// A soft limit.
    SoftLimit,
    /// A hard limit.
    HardLimit,
    /// The first packet of an SA.
    FirstInbound,
    /// The peer sends from elsewhere.
    PeerMoved,
}

impl Stimulus {
    /// All of them.
    pub const ALL: [Self; 25] = [
        Self::InitRequest,
        Self::InitResponse,
        Self::AuthRequest,
        Self::AuthResponse,
        Self::CreateRequest,
        Self::CreateResponse,
        Self::InfoRequest,
        Self::InfoResponse,
        Self::IntermediateRequest,
        Self::IntermediateResponse,
        Self::FollowupRequest,
        Self::FollowupResponse,
        Self::OtherRequest,
        Self::OtherResponse,
        Self::Timer,
        Self::Up,
        Self::Down,
        Self::RekeyChild,
        Self::RekeyIke,
        Self::Reload,
        Self::Acquire,
        Self::SoftLimit,
        Self::HardLimit,
        Self::FirstInbound,
        Self::PeerMoved,
    ];

    /// What a message is.
    #[must_use]
    pub fn of(header: &Header) -> Self {
        match (header.exchange, header.flags.response) {
            (ExchangeType::IKE_SA_INIT, false) => Self::InitRequest,
            (ExchangeType::IKE_SA_INIT, true) => Self::InitResponse,
            (ExchangeType::IKE_AUTH, false) => Self::AuthRequest,
            (ExchangeType::IKE_AUTH, true) => Self::AuthResponse,
            (ExchangeType::CREATE_CHILD_SA, false) => Self::CreateRequest,
            (ExchangeType::CREATE_CHILD_SA, true) => Self::CreateResponse,
            (ExchangeType::INFORMATIONAL, false) => Self::InfoRequest,
            (ExchangeType::INFORMATIONAL, true) => Self::InfoResponse,
            (ExchangeType::IKE_INTERMEDIATE, false) => Self::IntermediateRequest,
            (ExchangeType::IKE_INTERMEDIATE, true) => Self::IntermediateResponse,
            (ExchangeType::IKE_FOLLOWUP_KE, false) => Self::FollowupRequest,
            (ExchangeType::IKE_FOLLOWUP_KE, true) => Self::FollowupResponse,
            (_, false) => Self::OtherRequest,
            (_, true) => Self::OtherResponse,
        }
    }

    /// What the data path says.
    #[must_use]
    pub const fn of_sad(event: &SadEvent) -> Self {
        match event {
            SadEvent::Acquire { .. } => Self::Acquire,
            SadEvent::SoftLimit { .. } | SadEvent::ForgeryBudget { .. } => Self::SoftLimit,
            SadEvent::HardLimit { .. } => Self::HardLimit,
            SadEvent::FirstInbound { .. } => Self::FirstInbound,
            SadEvent::PeerMoved { .. } => Self::PeerMoved,
        }
    }
}

/// Counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// What honest peers, time and operators brought.
    pub honest: BTreeMap<(Phase, Stimulus), u64>,
    /// What came from anybody.
    pub anybody: BTreeMap<(Phase, Stimulus), u64>,
}

impl Coverage {
    /// One more.
    pub fn note(&mut self, phase: Phase, stimulus: Stimulus, honest: bool) {
        if honest {
            *self.honest.entry((phase, stimulus)).or_default() += 1;
        }
        *self.anybody.entry((phase, stimulus)).or_default() += 1;
    }

    /// Those of another seed too.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in [(&mut self.honest, &other.honest), (&mut self.anybody, &other.anybody)] {
            for (cell, count) in theirs {
                *mine.entry(*cell).or_default() += count;
            }
        }
    }
}

/// The states, in the order of a life.
pub const PHASES: [Phase; 15] = [
    Phase::InitRequested,
    Phase::IntermediateRequested,
    Phase::InitAnswered,
    Phase::AuthRequested,
    Phase::EapRequested,
    Phase::EapAnswered,
    Phase::Idle,
    Phase::ChildCreate,
    Phase::ChildRekey,
    Phase::IkeRekey,
    Phase::DeleteChild,
    Phase::Liveness,
    Phase::Spare,
    Phase::Closing,
    Phase::Refused,
];

impl fmt::Display for Coverage {
    /// A line for each event, a column for each state: what was honest, and in brackets what came from anybody.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<15}", "")?;
        for phase in PHASES {
            write!(f, " {:>15}", format!("{phase:?}"))?;
        }
        writeln!(f)?;
        for stimulus in Stimulus::ALL {
            write!(f, "{:<15}", format!("{stimulus:?}"))?;
            for phase in PHASES {
                let of = |table: &BTreeMap<_, u64>| table.get(&(phase, stimulus)).copied().unwrap_or(0);
                let (honest, anybody) = (of(&self.honest), of(&self.anybody));
                let text = if anybody == honest { honest.to_string() } else { format!("{honest} ({anybody})") };
                write!(f, " {text:>15}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
