//! Which payloads an exchange needs, takes, and does without: declared once per message, checked before any handler.
//!
//! RFC 7296 §2.5: what is unknown and not critical is passed over, and so is a known payload that has no place in the
//! message, e.g. the CERTREQ and vendor IDs that Cisco peers send everywhere.

use super::error::Refusal;
use crate::wire::ike::numbers::{NotifyType, PayloadType};
use crate::wire::ike::payload::{Auth, Cert, Configuration, Delete, Id, Ke, Notify, Payload, Sa, Ts};

/// The payloads of one message, each in its place.
#[derive(Debug, Default)]
pub struct Sorted {
    /// Security Association.
    pub sa: Option<Sa>,
    /// Key Exchange.
    pub ke: Option<Ke>,
    /// Nonce.
    pub nonce: Option<Vec<u8>>,
    /// Identification of the initiator.
    pub id_i: Option<Id>,
    /// Identification of the responder.
    pub id_r: Option<Id>,
    /// Authentication.
    pub auth: Option<Auth>,
    /// Traffic selectors of the initiator.
    pub ts_i: Option<Ts>,
    /// Traffic selectors of the responder.
    pub ts_r: Option<Ts>,
    /// EAP.
    pub eap: Option<Vec<u8>>,
    /// Configuration.
    pub cp: Option<Configuration>,
    /// Certificates, in order.
    pub certificates: Vec<Cert>,
    /// All notifications, in order.
    pub notifies: Vec<Notify>,
    /// All deletions, in order.
    pub deletes: Vec<Delete>,
    /// What IKE_AUTH signs of this message, if it is one of IKE_INTERMEDIATE.
    pub octets: Option<Vec<u8>>,
    /// The solution of a puzzle (RFC 8019 §8.2).
    pub solution: Option<Vec<u8>>,
}

/// What one message must carry.
#[derive(Clone, Copy, Debug)]
pub struct Required(pub &'static [PayloadType]);

impl Sorted {
    /// Puts the payloads of a message in their places. Refuses unknown critical ones, and a second one of what must
    /// stand alone.
    pub fn sort(payloads: Vec<Payload>) -> Result<Self, Refusal> {
        let mut sorted = Self::default();
        for payload in payloads {
            let kind = payload.kind();
            match payload {
                Payload::Sa(sa) => put(&mut sorted.sa, sa, kind)?,
                Payload::Ke(ke) => put(&mut sorted.ke, ke, kind)?,
                Payload::Nonce(nonce) => put(&mut sorted.nonce, nonce.0, kind)?,
                Payload::IdI(id) => put(&mut sorted.id_i, id, kind)?,
                Payload::IdR(id) => put(&mut sorted.id_r, id, kind)?,
                Payload::Auth(auth) => put(&mut sorted.auth, auth, kind)?,
                Payload::TsI(ts) => put(&mut sorted.ts_i, ts, kind)?,
                Payload::TsR(ts) => put(&mut sorted.ts_r, ts, kind)?,
                Payload::Eap(eap) => put(&mut sorted.eap, eap.0, kind)?,
                Payload::Cp(cp) => put(&mut sorted.cp, cp, kind)?,
                Payload::Notify(notify) => sorted.notifies.push(notify),
                Payload::Cert(cert) => sorted.certificates.push(cert),
                Payload::Delete(delete) => sorted.deletes.push(delete),
                Payload::Unknown { kind: PayloadType::PS, body, .. } => put(&mut sorted.solution, body, kind)?,
                // RFC 7296 §2.5: "If the critical flag is set and the payload type is unrecognized, the message MUST
                // be rejected".
                Payload::Unknown { critical: true, kind, .. } => return Err(Refusal::critical(kind)),
                Payload::Unknown { .. }
                | Payload::CertReq(_)
                | Payload::Vendor(_)
                | Payload::Sk(_)
                | Payload::Skf(_) => {}
            }
        }
        Ok(sorted)
    }

    /// Checks that everything which `message` needs is there.
    pub fn require(&self, message: Required) -> Result<(), Refusal> {
        match message.0.iter().find(|kind| !self.has(**kind)) {
            Some(kind) => Err(Refusal::missing(*kind)),
            None => Ok(()),
        }
    }

    fn has(&self, kind: PayloadType) -> bool {
        match kind {
            PayloadType::SA => self.sa.is_some(),
            PayloadType::KE => self.ke.is_some(),
            PayloadType::NONCE => self.nonce.is_some(),
            PayloadType::IDI => self.id_i.is_some(),
            PayloadType::IDR => self.id_r.is_some(),
            PayloadType::AUTH => self.auth.is_some(),
            PayloadType::TSI => self.ts_i.is_some(),
            PayloadType::TSR => self.ts_r.is_some(),
            PayloadType::EAP => self.eap.is_some(),
            PayloadType::CP => self.cp.is_some(),
            _ => false,
        }
    }

    /// The first notification of a type.
    pub fn notify(&self, kind: NotifyType) -> Option<&Notify> {
        self.notifies.iter().find(|notify| notify.kind == kind)
    }

    /// The first error notification.
    pub fn error(&self) -> Option<&Notify> {
        self.notifies.iter().find(|notify| notify.kind.is_error())
    }
}

fn put<T>(place: &mut Option<T>, value: T, kind: PayloadType) -> Result<(), Refusal> {
    if place.replace(value).is_some() { Err(Refusal::doubled(kind)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::IkeReason;
    use crate::wire::ike::payload::{Nonce, Vendor};

    fn unknown(critical: bool) -> Payload {
        Payload::Unknown { kind: PayloadType(200), critical, body: vec![1] }
    }

    #[test]
    fn unknown_payloads_pass_unless_they_are_critical() {
        assert!(Sorted::sort(vec![unknown(false), Payload::Vendor(Vendor(vec![1]))]).is_ok());
        let refusal = Sorted::sort(vec![unknown(true)]).unwrap_err();
        assert_eq!(refusal.reason, IkeReason::CriticalPayload);
        assert_eq!(refusal.notify.unwrap().data, [200]);
    }

    #[test]
    fn what_is_missing_or_doubled_is_named() {
        let nonce = || Payload::Nonce(Nonce(vec![0; 16]));
        let sorted = Sorted::sort(vec![nonce()]).unwrap();
        assert!(sorted.require(Required(&[PayloadType::NONCE])).is_ok());
        let refusal = sorted.require(Required(&[PayloadType::NONCE, PayloadType::KE])).unwrap_err();
        assert_eq!((refusal.reason, refusal.detail.as_deref()), (IkeReason::MissingPayload, Some("no KE")));
        assert_eq!(Sorted::sort(vec![nonce(), nonce()]).unwrap_err().reason, IkeReason::Malformed);
    }
}
