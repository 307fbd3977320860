//! NAT detection (RFC 7296 §2.23): each side hashes the addresses it sees, the other compares.

use std::net::SocketAddr;

use subtle::ConstantTimeEq;

use super::keymat::Spis;
use super::path::Path;
use crate::crypto::prf::nat_detection_hash;
use crate::entropy::Entropy;
use crate::wire::ike::numbers::NotifyType;
use crate::wire::ike::payload::{Notify, Payload};

/// Who is behind a NAT, as far as the peer let us see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nat {
    /// The peer took part in the detection.
    pub supported: bool,
    /// We are, or pretend to be.
    pub local: bool,
    /// The peer is, or pretends to be.
    pub remote: bool,
}

impl Nat {
    /// Whether ESP has to travel in UDP.
    pub fn found(self) -> bool {
        self.local || self.remote
    }

    /// For `status`.
    pub fn as_str(self) -> &'static str {
        match (self.local, self.remote) {
            (false, false) => "none",
            (true, false) => "local",
            (false, true) => "remote",
            (true, true) => "both",
        }
    }
}

/// RFC 7296 §2.23: SHA-1 of the SPIs "in the order they appear in the header", address and port.
fn hash(spis: Spis, address: SocketAddr) -> [u8; 20] {
    let parts = [&spis.initiator.to_be_bytes()[..], &spis.responder.to_be_bytes()[..]];
    let port = address.port().to_be_bytes();
    match address {
        SocketAddr::V4(v4) => nat_detection_hash(&[parts[0], parts[1], &v4.ip().octets(), &port]),
        SocketAddr::V6(v6) => nat_detection_hash(&[parts[0], parts[1], &v6.ip().octets(), &port]),
    }
}

/// A source hash that fits no address: the peer must believe in a NAT before us.
pub fn false_source(forced: bool, entropy: &mut dyn Entropy) -> Option<[u8; 20]> {
    forced.then(|| entropy.array())
}

/// Both notifications of one message. `false_source` stands in place of our address.
pub fn notifies(spis: Spis, path: Path, false_source: Option<[u8; 20]>) -> [Payload; 2] {
    let source = false_source.unwrap_or_else(|| hash(spis, path.local));
    let notify = |kind, hash: [u8; 20]| Payload::Notify(Notify::status(kind, hash.to_vec()));
    [
        notify(NotifyType::NAT_DETECTION_SOURCE_IP, source),
        notify(NotifyType::NAT_DETECTION_DESTINATION_IP, hash(spis, path.remote)),
    ]
}

/// What the peer's notifications say about the way its message took. `path` is as we see it.
pub fn detect(received: &[Notify], spis: Spis, path: Path, forced: bool) -> Nat {
    let says = |kind: NotifyType, address: SocketAddr| {
        let expected = hash(spis, address);
        let mut hashes = received.iter().filter(|notify| notify.kind == kind).peekable();
        let present = hashes.peek().is_some();
        // RFC 7296 §2.23: there may be several source hashes, one for each address that the sender may use.
        (present, hashes.any(|notify| notify.data.ct_eq(&expected).into()))
    };
    let (source_present, source_matches) = says(NotifyType::NAT_DETECTION_SOURCE_IP, path.remote);
    let (destination_present, destination_matches) = says(NotifyType::NAT_DETECTION_DESTINATION_IP, path.local);
    let supported = source_present && destination_present;
    Nat {
        supported,
        // "if the NAT_DETECTION_DESTINATION_IP does not match, this end is behind a NAT"; we may also pretend.
        local: supported && (forced || !destination_matches),
        remote: supported && !source_matches,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;

    const SPIS: Spis = Spis { initiator: 0x1122, responder: 0 };

    fn path(local: &str, remote: &str) -> Path {
        Path { local: local.parse().unwrap(), remote: remote.parse().unwrap() }
    }

    fn seen(sent: Path, arrived: Path, forced: bool) -> Nat {
        let sent = notifies(SPIS, sent, false_source(forced, &mut SeededEntropy::new(3)));
        let notifies: Vec<_> = sent
            .into_iter()
            .map(|payload| match payload {
                Payload::Notify(notify) => notify,
                other => panic!("{other:?}"),
            })
            .collect();
        detect(&notifies, SPIS, arrived, false)
    }

    #[test]
    fn a_translated_source_is_the_peers_nat_and_a_translated_destination_is_ours() {
        let sent = path("192.0.2.1:500", "198.51.100.1:500");
        let straight = path("198.51.100.1:500", "192.0.2.1:500");
        assert_eq!(seen(sent, straight, false), Nat { supported: true, local: false, remote: false });
        let other_port = path("198.51.100.1:500", "192.0.2.1:1024");
        assert_eq!(seen(sent, other_port, false), Nat { supported: true, local: false, remote: true });
        let inside = path("10.0.0.1:500", "192.0.2.1:500");
        assert_eq!(seen(sent, inside, false), Nat { supported: true, local: true, remote: false });
        assert_eq!(seen(sent, straight, true), Nat { supported: true, local: false, remote: true });
        assert_eq!(detect(&[], SPIS, straight, true), Nat::default());
        let v6 = path("[2001:db8::1]:500", "[2001:db8::2]:500");
        assert_eq!(seen(v6, path("[2001:db8::2]:500", "[2001:db8::1]:500"), false).as_str(), "none");
    }
}
