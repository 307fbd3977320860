//! What the simulated gateways prove themselves with when they do so with certificates: an authority that nobody trusts outside,
//! and a key for each gateway, Ed25519, whose signatures have no chance in them: a seed stays the same run, bit for bit.

use std::sync::{Arc, LazyLock};

use crate::crypto::certificate::{Certificate, Revocation, Trust};
use crate::crypto::signature::SigningKey;
use crate::ike::config::{Credential, LocalAuth, PeerAuth};

const AUTHORITY: &[u8] = include_bytes!("certificates/authority.pem");
const GATEWAYS: [&[u8]; 3] = [
    include_bytes!("certificates/g0.pem"),
    include_bytes!("certificates/g1.pem"),
    include_bytes!("certificates/g2.pem"),
];

/// A time of day within the life of all of them, in seconds since 1970.
pub const TIME_OF_DAY: u64 = 1_900_000_000;

static TRUST: LazyLock<Arc<Trust>> = LazyLock::new(|| {
    let anchors = Certificate::from_pem(AUTHORITY).expect("it is one");
    Arc::new(Trust::new(anchors, Revocation::Off).expect("it is an authority"))
});

static CREDENTIALS: LazyLock<[Arc<Credential>; 3]> = LazyLock::new(|| {
    GATEWAYS.map(|pem| {
        let chain = Certificate::from_pem(pem).expect("it is one");
        let key = SigningKey::from_pem(pem).expect("it is a key");
        Arc::new(Credential::new(chain, key).expect("they belong together"))
    })
});

/// The proof of a gateway.
#[must_use]
pub fn of(gateway: usize) -> LocalAuth {
    LocalAuth::Certificate(Arc::clone(&CREDENTIALS[gateway % GATEWAYS.len()]))
}

/// Whoever the authority has certified, under the name that the tunnel asks for.
#[must_use]
pub fn anybody() -> PeerAuth {
    PeerAuth::Certificate(Arc::clone(&TRUST))
}
