//! What happened: one list for the reason, its counter and its sentence.

mod telling;

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use telling::{AgreementMatter, Event};

macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($variant:ident, $text:literal, $sentence:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name { $(#[doc = $sentence] $variant,)* }

        impl $name {
            /// Every reason, in the order of its counters.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The reason as it stands in counters, events and `--json`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The reason as a sentence for people.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

reasons! {
    /// Why a packet or a datagram went no further.
    DropReason {
        // Datagrams from the underlay, before a key is known.
        NotIke, "not-ike", "the datagram is neither IKE, nor ESP, nor a NAT keepalive";
        ShortEsp, "short-esp", "the ESP packet is shorter than its header, IV and checksum";
        ReservedSpi, "reserved-spi", "the SPI is between 1 and 255, which is reserved";
        UnknownSpi, "unknown-spi", "no SA has this SPI";
        TooLongDatagram, "too-long-datagram", "the datagram is longer than any that could be ours";
        // ESP.
        Replayed, "replayed", "this sequence number has been received before";
        TooOld, "too-old", "the sequence number lies left of the replay window";
        ZeroSequence, "zero-sequence", "sequence number zero is never sent";
        Forged, "forged", "the integrity check failed";
        BadPadding, "bad-padding", "the padding is longer than the packet, or its bytes are not 1, 2, 3";
        BadNextHeader, "bad-next-header", "what is inside is neither IPv4 nor IPv6";
        Dummy, "dummy", "a dummy packet (next header 59), made to be dropped";
        HardLimit, "hard-limit", "the SA has reached its hard limit: its lifetime, or its last sequence number";
        // Inner packets, both directions.
        BadIpHeader, "bad-ip-header", "the inner IP header is malformed or disagrees with the length";
        BadIpChecksum, "bad-ip-checksum", "the inner IPv4 header checksum is wrong";
        IpOptions, "ip-options", "IP options and extension headers are not carried";
        InnerFragment, "inner-fragment", "fragments inside the tunnel are not carried";
        BadSource, "bad-source", "the inner source or destination is loopback, link-local, multicast, broadcast or unspecified, or both are the same";
        BadTransport, "bad-transport", "the TCP, UDP or ICMP header is malformed";
        Selector, "selector", "the inner packet does not match the selectors of its SA";
        EcnDrop, "ecn-drop", "congestion was marked outside on a packet that does not take part in ECN";
        TtlExpired, "ttl-expired", "the TTL or hop limit ran out";
        TooBig, "too-big", "the packet does not fit the path, and must not be fragmented";
        NoSa, "no-sa", "the tunnel is down";
        NotOurs, "not-ours", "no tunnel protects this destination";
        // Policy.
        NoRule, "no-rule", "no rule allows it";
        TunnelDisabled, "tunnel-disabled", "a rule allows it, but its tunnel is disabled";
        AgreementDraft, "agreement-draft", "its agreement is a draft: it has not been activated";
        AgreementNotYet, "agreement-not-yet", "the day from which its agreement runs has not come";
        AgreementExpired, "agreement-expired", "the term of its agreement is over";
        AgreementSuspended, "agreement-suspended", "its agreement is suspended";
        AgreementRemediation, "agreement-remediation", "its agreement is suspended: what happened is being mended";
        AgreementAwaitingAuthorisation, "agreement-awaiting-authorisation", "its agreement is suspended: the other organisation has not authorised the reconnection";
        AgreementTerminated, "agreement-terminated", "its agreement is terminated";
        AgreementClock, "agreement-clock", "the clock stands before a time that was seen already, so the dates of its agreement cannot be judged";
        AgreementStateLost, "agreement-state-lost", "the state of its agreement is lost or damaged, so it may have been suspended";
        WrongDirection, "wrong-direction", "a rule allows this flow, but only the other side may open it";
        BadTcpFlags, "bad-tcp-flags", "this combination of TCP flags is never legal";
        UrgentData, "urgent-data", "urgent data is not carried";
        DataInSyn, "data-in-syn", "a TCP segment that opens a connection carries data";
        BadTcpOptions, "bad-tcp-options", "the options of a SYN are malformed";
        NoConnection, "no-connection", "a TCP segment that belongs to no known connection";
        OutOfState, "out-of-state", "the TCP segment is not legal in the state of its connection";
        OutOfWindow, "out-of-window", "the TCP segment lies outside the window, or acknowledges what was acknowledged long ago";
        ResetNotBelieved, "reset-not-believed", "a RST that its receiver would not believe: it does not lie in the window";
        BadTcpChecksum, "bad-tcp-checksum", "the TCP checksum is wrong";
        StaleTimestamp, "stale-timestamp", "the timestamp of the TCP segment is older than that of an earlier one";
        HoldFull, "hold-full", "the service is not known yet, something is missing in front of this segment, and no more may wait";
        RetainFull, "retain-full", "no more may be kept of the flow until something is acknowledged";
        OverlapDiffers, "overlap-differs", "bytes were sent again before they were acknowledged, with other contents";
        FlowEnded, "flow-ended", "the flow was ended";
        InspectionChanged, "inspection-changed", "the rule demands another protocol now, and nobody has heard what the flow said";
        IcmpNotError, "icmp-not-error", "an ICMP message other than an error is not allowed";
        IcmpNoFlow, "icmp-no-flow", "the ICMP error quotes no live flow";
        FlowTableFull, "flow-table-full", "the flow table is full";
        // What is said inside a flow.
        SpokeFirst, "spoke-first", "this side has to wait until the other one has spoken";
        TlsRequired, "tls-required", "the rule allows this conversation in TLS only";
        TlsRefused, "tls-refused", "the rule does not allow TLS here";
        NotMq, "not-mq", "the first bytes are not those of an MQ channel";
        MqSegment, "mq-segment", "what should be the header of an MQ segment is none, or of a kind that is not legal here";
        MqLength, "mq-length", "an MQ segment is shorter than its header or longer than was agreed";
        MqRole, "mq-role", "the rule does not allow this role of MQ: a client's calls, or messages between queue managers";
        MqChannel, "mq-channel", "the rule does not name this MQ channel";
        MqQueueManager, "mq-queue-manager", "the rule does not name this queue manager";
        MqQueue, "mq-queue", "the rule does not name this queue";
        MqAdministration, "mq-administration", "a queue or channel for the administration of a queue manager";
        MqXa, "mq-xa", "distributed transactions (XA) are not allowed";
        MqCompressed, "mq-compressed", "a compressed MQ call hides a name that the rule demands to see";
        NotSsh, "not-ssh", "the first bytes are not the banner of SSH";
        SshVersion, "ssh-version", "SSH of another version than 2";
        SshKexinit, "ssh-kexinit", "the key exchange of SSH is malformed, or does not begin where it should";
        SshCipher, "ssh-cipher", "the two sides of SSH agree on a cipher that the rule does not name, or on none";
        NotSmtp, "not-smtp", "the bytes are not an answer of a mail server";
        SmtpCommand, "smtp-command", "the bytes are not a command of SMTP, or not one that is legal here";
        NotTls, "not-tls", "the bytes are not a record of TLS that is legal here";
        TlsOldHello, "tls-old-hello", "a hello in the format of SSL 2";
        TlsHello, "tls-hello", "a hello of TLS is malformed";
        TlsVersion, "tls-version", "the two sides agree on a version of TLS that the rule does not allow, or on none";
        TlsSuite, "tls-suite", "the server has chosen a cipher suite that the rule does not allow";
        TlsServerName, "tls-server-name", "the client asks for a server name that the rule does not allow, or for none";
        TlsHiddenHello, "tls-hidden-hello", "an encrypted ClientHello hides which server is asked for";
        // Outside addresses.
        OutsideSource, "outside-source", "the source is an outside address, which only the gateway gives";
        NoMapping, "no-mapping", "no host of ours has this port of the outside address";
        NoOutsidePort, "no-outside-port", "no port of the outside address is free";
        // The machine.
        BadOffload, "bad-offload", "what the kernel says about a packet at the TUN device does not fit the packet";
        SegmentSize, "segment-size", "the packet is to be cut into segments of an impossible size, or comes as such";
        QueueFull, "queue-full", "a queue inside the gateway was full";
        HandoverFull, "handover-full", "the worker that owns the flow had no room for what another worker has read";
        SendFailed, "send-failed", "the kernel refused the datagram, or the packet at the TUN device";
    }
}

reasons! {
    /// Why an IKE datagram or exchange went no further.
    IkeReason {
        Malformed, "malformed", "the message does not follow RFC 7296";
        WrongVersion, "wrong-version", "the major version is not 2";
        UnknownIkeSpi, "unknown-ike-spi", "no IKE SA has these SPIs";
        UnknownPeer, "unknown-peer", "no tunnel has this peer address";
        Reflected, "reflected", "the message is our own, sent back";
        BadFlags, "bad-flags", "the initiator or response flag does not fit";
        OutsideWindow, "outside-window", "the message ID lies outside the window";
        RepeatedResponse, "repeated-response", "the response has been processed before";
        Retransmitted, "retransmitted", "a request that was answered before: the same answer goes out again";
        NotProtected, "not-protected", "the message is not encrypted, and must be";
        IntegrityFailed, "integrity-failed", "the integrity check of the SK payload failed";
        UnexpectedExchange, "unexpected-exchange", "this exchange is not legal in this state";
        MissingPayload, "missing-payload", "a payload that the exchange needs is missing";
        CriticalPayload, "critical-payload", "an unknown payload has the critical bit set";
        BadCookie, "bad-cookie", "the cookie is not one that this endpoint gave out";
        CookieWanted, "cookie-wanted", "many negotiations are under way: a cookie was asked for";
        PuzzleWanted, "puzzle-wanted", "very many negotiations are under way: the solution of a puzzle was asked for";
        BadSolution, "bad-solution", "the solution of the puzzle is wrong";
        TooManyHalfOpen, "too-many-half-open", "too many negotiations are under way";
        NoProposalChosen, "no-proposal-chosen", "no proposal of the peer is one of ours";
        InvalidKe, "invalid-ke", "the key exchange value does not fit its group";
        AuthenticationFailed, "authentication-failed", "the peer could not prove who it is";
        BadCertificate, "bad-certificate", "a certificate cannot be read, or is one too many";
        NoCertificate, "no-certificate", "the peer sent no certificate for its signature";
        CertificateUntrusted, "certificate-untrusted", "no chain of certificates leads to a trusted authority";
        CertificateExpired, "certificate-expired", "a certificate of the chain has expired";
        CertificateNotYetValid, "certificate-not-yet-valid", "a certificate of the chain is not valid yet";
        CertificateRevoked, "certificate-revoked", "a certificate of the chain has been revoked";
        RevocationUnknown, "revocation-unknown", "it is not known whether the certificate has been revoked, and must be";
        CertificateUsage, "certificate-usage", "the certificate is not for this use";
        CertificateName, "certificate-name", "the certificate does not carry the identity that the peer claims";
        WeakSignature, "weak-signature", "a signature or key is of a kind that is not accepted";
        MethodMismatch, "method-mismatch", "the two sides share no way to prove this identity";
        NoWallClock, "no-wall-clock", "the time of day is not known, so no certificate can be judged";
        WrongIdentity, "wrong-identity", "the peer proved to be somebody else";
        TsUnacceptable, "ts-unacceptable", "the peer's traffic selectors are not covered by the rules";
        Redirected, "redirected", "the peer sends us to another gateway, and the agreement names this one";
        AddressFailure, "address-failure", "no inner address can be given to the peer";
        AddressRefused, "address-refused", "the peer may not move to this address";
        Fragment, "fragment", "a message fragment does not fit the others";
        HeldDown, "held-down", "the operator has taken the tunnel down";
        AgreementClosed, "agreement-closed", "the agreement does not allow the tunnel now";
        TimedOut, "timed-out", "the peer did not answer";
        PeerRestarted, "peer-restarted", "the peer has restarted, and proved it";
        PeerError, "peer-error", "the peer answered with an error";
        EapMalformed, "eap-malformed", "the EAP packet is malformed, or longer than it may be";
        EapUnexpected, "eap-unexpected", "the EAP packet is not legal at this point";
        EapFailed, "eap-failed", "EAP ended without a proof";
        NotResponder, "not-responder", "we prove ourselves by EAP, so this tunnel is opened from here and never by the peer";
        PostQuantumRequired, "post-quantum-required", "this tunnel asks for a post-quantum key exchange, and the peer has none to offer";
        PpkRequired, "ppk-required", "this tunnel asks for a postquantum preshared key, and the peer does not use one";
        UnknownPpk, "unknown-ppk", "the peer uses a postquantum preshared key that is not ours";
        StateNotFound, "state-not-found", "there is no key exchange under way that this one could follow";
        RefusedInKernel, "refused-in-kernel", "during a flood the kernel's filter refuses first messages: those of no peer, and in a flooded name all but some";
        SocketFull, "socket-full", "port 500 was full: datagrams came faster than they were read";
        NoLane, "no-lane", "no further child SA with the same selectors is made: one side has fewer lanes than the other, or none";
    }
}

impl DropReason {
    /// Whether the policy says so, whatever the packet itself looks like. Our own side is told then: it should fail at once and
    /// not wait for a timeout.
    #[must_use]
    pub const fn is_of_policy(self) -> bool {
        matches!(self, Self::NoRule | Self::TunnelDisabled | Self::WrongDirection | Self::NotOurs)
            || self.is_of_agreement()
    }

    /// Whether its agreement is why nothing passes.
    #[must_use]
    pub const fn is_of_agreement(self) -> bool {
        matches!(
            self,
            Self::AgreementDraft
                | Self::AgreementNotYet
                | Self::AgreementExpired
                | Self::AgreementSuspended
                | Self::AgreementRemediation
                | Self::AgreementAwaitingAuthorisation
                | Self::AgreementTerminated
                | Self::AgreementClock
                | Self::AgreementStateLost
        )
    }
}

/// Five-tuple of an inner packet, source first. For ICMP the ports are type and code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FlowKey {
    /// IP protocol.
    pub protocol: u8,
    /// Source address.
    pub source: IpAddr,
    /// Source port.
    pub source_port: u16,
    /// Destination address.
    pub destination: IpAddr,
    /// Destination port.
    pub destination_port: u16,
}

/// The end of a flow that is a host of ours, where its peers know it by another name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct InsideEnd {
    /// Its own address.
    pub address: IpAddr,
    /// Its own port, or the identifier of its echo requests.
    pub port: u16,
}

mod f64_millis {
    use serde::Serialize;
    use std::time::Duration;

    /// A duration that prints as milliseconds with three decimals.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Millis(pub Duration);

    impl Serialize for Millis {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_f64((self.0.as_secs_f64() * 1e6).round() / 1e3)
        }
    }
}

pub use f64_millis::Millis;
