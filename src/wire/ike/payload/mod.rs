//! One file per payload of RFC 7296 §3 and RFC 7383: values that are decoded from, and encoded to, a payload body.

mod auth;
mod cert;
mod cp;
mod delete;
mod eap;
mod id;
mod ke;
mod nonce;
mod notify;
mod sa;
mod sk;
mod skf;
mod ts;
mod vendor;

pub use auth::Auth;
pub use cert::{Cert, CertReq};
pub use cp::{Attribute, Configuration};
pub use delete::Delete;
pub use eap::Eap;
pub use id::Id;
pub use ke::Ke;
pub use nonce::Nonce;
pub use notify::Notify;
pub use sa::{Proposal, Sa, Transform, TransformAttribute};
pub use sk::Encrypted;
pub use skf::EncryptedFragment;
pub use ts::{SelectorEntry, Ts, TsRange};
pub use vendor::Vendor;

use super::limits::Budget;
use super::malformed::Malformed;
use super::numbers::PayloadType;
use crate::wire::writer::Writer;

/// One payload of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Security Association (§3.3).
    Sa(Sa),
    /// Key Exchange (§3.4).
    Ke(Ke),
    /// Identification of the initiator (§3.5).
    IdI(Id),
    /// Identification of the responder (§3.5).
    IdR(Id),
    /// Certificate (§3.6).
    Cert(Cert),
    /// Certificate Request (§3.7).
    CertReq(CertReq),
    /// Authentication (§3.8).
    Auth(Auth),
    /// Nonce (§3.9).
    Nonce(Nonce),
    /// Notify (§3.10).
    Notify(Notify),
    /// Delete (§3.11).
    Delete(Delete),
    /// Vendor ID (§3.12).
    Vendor(Vendor),
    /// Traffic Selectors of the initiator (§3.13).
    TsI(Ts),
    /// Traffic Selectors of the responder (§3.13).
    TsR(Ts),
    /// Encrypted and Authenticated (§3.14): always the last one.
    Sk(Encrypted),
    /// Encrypted and Authenticated Fragment (RFC 7383 §2.5): always the last one.
    Skf(EncryptedFragment),
    /// Configuration (§3.15).
    Cp(Configuration),
    /// Extensible Authentication Protocol (§3.16).
    Eap(Eap),
    /// A type this endpoint does not know. With the critical bit set, the message must be refused (§2.5).
    Unknown {
        /// The number.
        kind: PayloadType,
        /// The critical bit.
        critical: bool,
        /// The body, kept for those who look at captures.
        body: Vec<u8>,
    },
}

impl Payload {
    /// Its type.
    #[must_use]
    pub const fn kind(&self) -> PayloadType {
        match self {
            Self::Sa(_) => PayloadType::SA,
            Self::Ke(_) => PayloadType::KE,
            Self::IdI(_) => PayloadType::IDI,
            Self::IdR(_) => PayloadType::IDR,
            Self::Cert(_) => PayloadType::CERT,
            Self::CertReq(_) => PayloadType::CERTREQ,
            Self::Auth(_) => PayloadType::AUTH,
            Self::Nonce(_) => PayloadType::NONCE,
            Self::Notify(_) => PayloadType::NOTIFY,
            Self::Delete(_) => PayloadType::DELETE,
            Self::Vendor(_) => PayloadType::VENDOR,
            Self::TsI(_) => PayloadType::TSI,
            Self::TsR(_) => PayloadType::TSR,
            Self::Sk(_) => PayloadType::SK,
            Self::Skf(_) => PayloadType::SKF,
            Self::Cp(_) => PayloadType::CP,
            Self::Eap(_) => PayloadType::EAP,
            Self::Unknown { kind, .. } => *kind,
        }
    }

    /// Whether it is of an unknown type and has the critical bit set. For known types the bit is not kept: RFC 7296
    /// §3.2 has it ignored by those who understand the type.
    #[must_use]
    pub const fn is_critical_unknown(&self) -> bool {
        matches!(self, Self::Unknown { critical: true, .. })
    }

    /// Decodes one body. SK and SKF never come here: they end the chain and are decoded there.
    pub(super) fn decode(
        kind: PayloadType,
        critical: bool,
        body: &[u8],
        budget: &mut Budget,
    ) -> Result<Self, Malformed> {
        let decoded = match kind {
            PayloadType::SA => Sa::decode(body, budget).map(Self::Sa),
            PayloadType::KE => Ke::decode(body).map(Self::Ke),
            PayloadType::IDI => Id::decode(body).map(Self::IdI),
            PayloadType::IDR => Id::decode(body).map(Self::IdR),
            PayloadType::CERT => Cert::decode(body).map(Self::Cert),
            PayloadType::CERTREQ => CertReq::decode(body).map(Self::CertReq),
            PayloadType::AUTH => Auth::decode(body).map(Self::Auth),
            PayloadType::NONCE => Nonce::decode(body).map(Self::Nonce),
            PayloadType::NOTIFY => Notify::decode(body).map(Self::Notify),
            PayloadType::DELETE => Delete::decode(body, budget).map(Self::Delete),
            PayloadType::VENDOR => Ok(Self::Vendor(Vendor::decode(body))),
            PayloadType::TSI => Ts::decode(body, budget).map(Self::TsI),
            PayloadType::TSR => Ts::decode(body, budget).map(Self::TsR),
            PayloadType::CP => Configuration::decode(body, budget).map(Self::Cp),
            PayloadType::EAP => Ok(Self::Eap(Eap::decode(body))),
            _ => Ok(Self::Unknown { kind, critical, body: body.to_vec() }),
        };
        decoded.map_err(|flaw| Malformed::Payload { payload: kind, flaw })
    }

    /// Writes the body, without the generic header.
    pub(super) fn write_body(&self, writer: &mut Writer) {
        match self {
            Self::Sa(sa) => sa.write(writer),
            Self::Ke(ke) => ke.write(writer),
            Self::IdI(id) | Self::IdR(id) => id.write(writer),
            Self::Cert(cert) => cert.write(writer),
            Self::CertReq(request) => request.write(writer),
            Self::Auth(auth) => auth.write(writer),
            Self::Nonce(nonce) => nonce.write(writer),
            Self::Notify(notify) => notify.write(writer),
            Self::Delete(delete) => delete.write(writer),
            Self::Vendor(vendor) => vendor.write(writer),
            Self::TsI(ts) | Self::TsR(ts) => ts.write(writer),
            Self::Cp(configuration) => configuration.write(writer),
            Self::Eap(eap) => eap.write(writer),
            Self::Unknown { body, .. } => writer.bytes(body),
            // Only the place of their content is known here; `sealed` writes them.
            Self::Sk(_) | Self::Skf(_) => {}
        }
    }
}
