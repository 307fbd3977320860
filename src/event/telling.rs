//! What is told of all that happens, as `portcullis monitor` and the log have it.

use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use super::{DropReason, FlowKey, IkeReason, InsideEnd, Millis};

/// What is told to `portcullis monitor` and to the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// An IKE SA was authenticated.
    IkeUp {
        /// Tunnel by name.
        tunnel: String,
        /// Its SPIs, in hexadecimal.
        spis: [String; 2],
        /// Its suite.
        suite: String,
        /// Whether we opened it.
        initiator: bool,
        /// Our end.
        local: SocketAddr,
        /// The peer's end.
        remote: SocketAddr,
        /// What we proved ourselves with.
        local_auth: String,
        /// What the peer proved itself with.
        peer_auth: String,
        /// From the first message to this event.
        handshake_ms: Millis,
    },
    /// An IKE SA was authenticated with a pre-shared key that is to go: a rotation is not finished.
    OldSecretUsed {
        /// Tunnel by name.
        tunnel: String,
        /// Its SPIs, in hexadecimal.
        spis: [String; 2],
        /// By us.
        ours: bool,
        /// By the peer.
        peers: bool,
    },
    /// A certificate of ours, or of an authority that a peer is checked against, is about to expire.
    CertificateExpires {
        /// A tunnel that uses it, by name.
        tunnel: String,
        /// Whether it is in our own chain.
        ours: bool,
        /// Whose it is.
        subject: String,
        /// In how many days; 0: it has expired.
        days: i64,
    },
    /// An IKE SA has ended.
    IkeDown {
        /// Tunnel by name.
        tunnel: String,
        /// Its SPIs, in hexadecimal.
        spis: [String; 2],
        /// Why.
        reason: String,
    },
    /// Another head-end of the peer carries the tunnel now.
    HeadEnd {
        /// Tunnel by name.
        tunnel: String,
        /// Its address.
        remote: IpAddr,
        /// Its place in the list, from 1.
        place: usize,
    },
    /// The inner addresses that the peer has given us are others now.
    InnerAddresses {
        /// Tunnel by name.
        tunnel: String,
        /// The addresses; none once the tunnel is down.
        addresses: Vec<IpAddr>,
        /// The name servers that go with them.
        dns: Vec<IpAddr>,
    },
    /// A child SA carries traffic.
    ChildUp {
        /// Tunnel by name.
        tunnel: String,
        /// Our SPI and the peer's.
        spis: [String; 2],
        /// Its suite.
        suite: String,
        /// Our side.
        local: String,
        /// The peer's side.
        remote: String,
        /// `udp` or `raw`.
        encapsulation: String,
    },
    /// An IKE SA took the place of another one; its child SAs go on.
    IkeRekeyed {
        /// Tunnel by name.
        tunnel: String,
        /// Its SPIs, in hexadecimal.
        spis: [String; 2],
        /// Those of the one that it replaces.
        replaced: [String; 2],
        /// Its suite.
        suite: String,
        /// Whether we began.
        initiator: bool,
    },
    /// A child SA takes the place of another one.
    ChildRekeyed {
        /// Tunnel by name.
        tunnel: String,
        /// Our SPI and the peer's.
        spis: [String; 2],
        /// Our SPI of the one that it replaces.
        replaced: String,
        /// Its suite.
        suite: String,
        /// The group of its own key exchange, if it had one.
        pfs: Option<String>,
    },
    /// A child SA has ended.
    ChildDown {
        /// Tunnel by name.
        tunnel: String,
        /// Our SPI and the peer's.
        spis: [String; 2],
        /// Why.
        reason: String,
    },
    /// A negotiation failed; it is tried again if the tunnel is to be up.
    NegotiationFailed {
        /// Tunnel by name.
        tunnel: String,
        /// Which exchange.
        exchange: String,
        /// Why.
        reason: IkeReason,
        /// What was offered against what, for people.
        detail: String,
    },
    /// An IKE datagram was refused; repeats are counted, not repeated.
    IkeRefused {
        /// From where.
        remote: SocketAddr,
        /// Why.
        reason: IkeReason,
        /// How many like it since the last such event.
        count: u64,
    },
    /// First messages come faster than honest peers send them: from now on the kernel refuses what would be refused anyway.
    FloodFilterOn {
        /// At which port.
        port: u16,
        /// How many came a second.
        arriving: u64,
    },
    /// The flood is over: every message is looked at again.
    FloodFilterOff {
        /// At which port.
        port: u16,
        /// How many the kernel has refused meanwhile.
        refused: u64,
    },
    /// A flow was opened by a rule.
    FlowOpened {
        /// Tunnel by name.
        tunnel: String,
        /// Rule by name.
        rule: String,
        /// The clause it stands for.
        clause: String,
        /// Who talks to whom.
        flow: FlowKey,
        /// Our end of it behind a translation.
        #[serde(skip_serializing_if = "Option::is_none")]
        inside: Option<InsideEnd>,
    },
    /// What is said in a flow is what its rule demands: it is known to be what it claims to be.
    FlowRecognised {
        /// Tunnel by name.
        tunnel: String,
        /// Rule by name.
        rule: String,
        /// The clause it stands for.
        clause: String,
        /// What it speaks, in the words of the rule.
        service: String,
        /// Who talks to whom.
        flow: FlowKey,
    },
    /// A flow has ended.
    FlowClosed {
        /// Tunnel by name.
        tunnel: String,
        /// Rule by name.
        rule: String,
        /// The clause it stood for.
        clause: String,
        /// Who talked to whom.
        flow: FlowKey,
        /// `closed`, `expired`, or the reason for which it was ended.
        reason: String,
        /// Bytes of inner packets that went out.
        bytes_out: u64,
        /// Bytes of inner packets that came in.
        bytes_in: u64,
    },
    /// A flow said what its rule does not allow, and goes on because the rule only observes.
    FlowObserved {
        /// Tunnel by name.
        tunnel: String,
        /// Rule by name.
        rule: String,
        /// The clause it stands for.
        clause: String,
        /// What would have ended it.
        reason: DropReason,
        /// Who talks to whom.
        flow: FlowKey,
    },
    /// A packet was refused; one event for a flow, repeats are counted.
    Refused {
        /// Tunnel by name, where one is known.
        tunnel: Option<String>,
        /// Rule by name, where one is near.
        rule: Option<String>,
        /// Why.
        reason: DropReason,
        /// Whether it was on its way out.
        outbound: bool,
        /// Who talks to whom.
        flow: FlowKey,
        /// Our end of it behind a translation.
        #[serde(skip_serializing_if = "Option::is_none")]
        inside: Option<InsideEnd>,
        /// How many like it since the last such event.
        count: u64,
    },
    /// An agreement is in another state, or something in its state was written down.
    AgreementState {
        /// Agreement by name.
        agreement: String,
        /// From which state.
        from: &'static str,
        /// To which.
        to: &'static str,
        /// Why.
        cause: String,
        /// By whom: `uid 0`, `time`, `file`.
        by: String,
    },
    /// Traffic under an agreement passes from now on, or does not any more.
    AgreementGate {
        /// Agreement by name.
        agreement: String,
        /// Whether it passes.
        passes: bool,
        /// Why not.
        reason: Option<DropReason>,
    },
    /// A day that an agreement's people have to know of comes near.
    AgreementReminder {
        /// Agreement by name.
        agreement: String,
        /// What happens on that day.
        matter: AgreementMatter,
        /// The day.
        day: String,
        /// In how many days; negative if it is over.
        days: i32,
    },
    /// What is configured is not what was agreed: a renewal is due.
    AgreementChanged {
        /// Agreement by name.
        agreement: String,
        /// In which parts.
        parts: Vec<&'static str>,
    },
    /// An agreement was reviewed.
    AgreementReviewed {
        /// Agreement by name.
        agreement: String,
        /// On which day.
        date: String,
        /// What was found, or where it is written down.
        note: Option<String>,
        /// By whom.
        by: String,
    },
    /// An agreement has a new term, and what is configured is what was agreed.
    AgreementRenewed {
        /// Agreement by name.
        agreement: String,
        /// From which day.
        date: String,
        /// Until the end of which.
        last_day: String,
        /// The other organisation's word for it.
        authorisation: Option<String>,
        /// By whom.
        by: String,
    },
    /// The operator says that the highest time that was seen was wrong, and the clock is right.
    AgreementClockTrusted {
        /// Agreement by name.
        agreement: String,
        /// By what.
        authorisation: String,
        /// By whom.
        by: String,
    },
    /// More happened than is told one by one: so many events since the last of these were counted and not told.
    Unrecorded {
        /// Flows opened.
        opened: u64,
        /// Flows recognised.
        recognised: u64,
        /// Flows ended.
        closed: u64,
        /// Packets refused.
        refused: u64,
    },
    /// Another policy is in force; its digest stands in this event as in every other.
    PolicyChanged {
        /// Digest of the policy before; none at start.
        previous: Option<String>,
        /// Who has approved it, if the file says so.
        approver: Option<String>,
        /// Where that is recorded.
        ticket: Option<String>,
        /// Tunnels and rules that are new.
        added: Vec<String>,
        /// Those that are gone.
        removed: Vec<String>,
        /// Those that mean something else now.
        changed: Vec<String>,
    },
    /// The configuration was loaded again.
    Reloaded {
        /// Digest of the active policy.
        policy: String,
    },
    /// The configuration was refused; the running one stays.
    ReloadRefused {
        /// Why.
        reason: String,
    },
}

/// What an agreement's people are reminded of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AgreementMatter {
    /// The end of its term.
    Expiry,
    /// Its last day, after notice was given.
    Termination,
    /// Its yearly review.
    Review,
}
