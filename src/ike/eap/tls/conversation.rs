//! One TLS connection over EAP: whole flights go in and out, fragments in between, and at the end the key.

use std::borrow::Cow;
use std::io::{Read, Write};

use rustls::{Connection, Error, ProtocolVersion};
use zeroize::Zeroizing;

use super::fragment::{self, Assembly, Fragment, Outgoing};
use crate::ike::eap::packet::EapType;
use crate::ike::eap::{Fault, MSK_LEN, Msk};
use crate::secret::Secret;

/// The connection and what is under way.
pub struct Conversation {
    connection: Connection,
    assembly: Assembly,
    outgoing: Outgoing,
    /// TLS has failed: its alert may still be under way.
    fault: Option<Fault>,
    /// RFC 9190 §2.5: the zero byte that says that the authenticator has no further handshake message.
    committed: bool,
}

/// What a packet of the other side calls for.
pub enum Turn {
    /// This data goes back.
    Say(Vec<u8>),
    /// The other side has said all, and TLS has nothing to answer: it is complete, or it has failed, or it waits.
    Silence,
}

impl Conversation {
    /// Over this connection.
    pub fn new(connection: Connection) -> Self {
        let (assembly, outgoing) = (Assembly::default(), Outgoing::default());
        Self { connection, assembly, outgoing, fault: None, committed: false }
    }

    /// What TLS has to say before it has heard anything.
    pub fn begin(&mut self) -> Turn {
        self.flush()
    }

    /// A packet of the other side.
    pub fn hear(&mut self, data: &[u8]) -> Result<Turn, Fault> {
        let fragment = Fragment::decode(data)?;
        if fragment.start {
            return Err(Fault::unexpected("an EAP-TLS start in the middle"));
        }
        if self.outgoing.is_under_way() {
            if !fragment.is_acknowledgement() {
                return Err(Fault::unexpected("EAP-TLS data where an acknowledgement is due"));
            }
            return Ok(self.next());
        }
        if let Some(fault) = self.fault.take() {
            // The alert is with the other side; there is nothing left to say.
            return Err(fault);
        }
        if fragment.is_acknowledgement() {
            if self.assembly.is_under_way() {
                return Err(Fault::unexpected("an EAP-TLS acknowledgement in the middle of a message"));
            }
            return Ok(Turn::Silence);
        }
        let Some(flight) = self.assembly.take(&fragment)? else {
            return Ok(Turn::Say(fragment::acknowledgement()));
        };
        if let Err(error) = self.feed(&flight) {
            self.fault = Some(Fault::failed(meaning(&error)));
        }
        Ok(self.flush())
    }

    fn feed(&mut self, mut flight: &[u8]) -> Result<(), Error> {
        while !flight.is_empty() {
            // Reading from memory fails only if TLS takes no more: then it has been told too much at once.
            let taken = self.connection.read_tls(&mut flight).unwrap_or(0);
            let state = self.connection.process_new_packets()?;
            if state.plaintext_bytes_to_read() > 0 {
                self.commitment()?;
            }
            if taken == 0 {
                return Err(Error::General("more than TLS takes".to_owned()));
            }
        }
        if self.must_commit() {
            self.committed = true;
            self.connection.writer().write_all(&[0]).map_err(|_| Error::General("no room for a byte".to_owned()))?;
        }
        Ok(())
    }

    /// RFC 9190 §2.5: once the handshake is done the authenticator says, with a TLS record of application data whose one
    /// octet is 0x00, that no further handshake message follows.
    fn must_commit(&self) -> bool {
        matches!(self.connection, Connection::Server(_)) && !self.committed && self.is_tls13() && self.is_agreed()
    }

    /// Application data: one zero byte, from the authenticator, once, in TLS 1.3.
    fn commitment(&mut self) -> Result<(), Error> {
        let mut bytes = [0xff; 2];
        let count = self.connection.reader().read(&mut bytes).unwrap_or(0);
        let from_server = matches!(self.connection, Connection::Client(_));
        if !from_server || self.committed || !self.is_tls13() || bytes.get(..count) != Some(&[0]) {
            return Err(Error::General("application data".to_owned()));
        }
        self.committed = true;
        Ok(())
    }

    fn is_tls13(&self) -> bool {
        self.connection.protocol_version() == Some(ProtocolVersion::TLSv1_3)
    }

    fn is_agreed(&self) -> bool {
        !self.connection.is_handshaking()
    }

    /// Whether both sides have proved themselves, and TLS 1.3 has been committed to.
    pub fn is_complete(&self) -> bool {
        self.fault.is_none() && self.is_agreed() && (self.committed || !self.is_tls13())
    }

    fn flush(&mut self) -> Turn {
        let mut bytes = Vec::new();
        while self.connection.wants_write() && self.connection.write_tls(&mut bytes).is_ok_and(|count| count > 0) {}
        self.outgoing = Outgoing::new(bytes);
        self.next()
    }

    fn next(&mut self) -> Turn {
        self.outgoing.next().map_or(Turn::Silence, Turn::Say)
    }

    /// What ended TLS, if anything has.
    pub fn fault(self) -> Option<Fault> {
        self.fault
    }

    /// The key. Only a complete conversation has one.
    pub fn msk(&self) -> Result<Msk, Fault> {
        if !self.is_complete() {
            return Err(Fault::unexpected("EAP-TLS has not run to its end"));
        }
        // MSK and EMSK in a row. All of it is exported, for in TLS 1.3 the length is part of what the key comes from.
        let both = Zeroizing::new([0; 2 * MSK_LEN]);
        let exported = if self.is_tls13() {
            // RFC 9190 §2.3: "Key_Material = TLS-Exporter("EXPORTER_EAP_TLS_Key_Material", Type, 128)".
            self.connection.export_keying_material(both, b"EXPORTER_EAP_TLS_Key_Material", Some(&[EapType::TLS.0]))
        } else {
            // RFC 5216 §2.3: "Key_Material = TLS-PRF-128(RK, "client EAP encryption", Random)", which is the exporter
            // of RFC 5705 without a context.
            self.connection.export_keying_material(both, b"client EAP encryption", None)
        };
        let both = exported.map_err(|_| Fault::failed("TLS gives no key"))?;
        // §2.3: "MSK = Key_Material(0, 63)".
        let (msk, _emsk) = both.split_at(MSK_LEN);
        Ok(Msk::new(Secret::copy_of(msk)))
    }
}

/// In words of our own: an error of TLS may quote what the peer sent.
fn meaning(error: &Error) -> Cow<'static, str> {
    match error {
        Error::InvalidCertificate(reason) => {
            use rustls::CertificateError as Wrong;
            let what = match reason {
                Wrong::Expired | Wrong::ExpiredContext { .. } => "has expired",
                Wrong::NotValidYet | Wrong::NotValidYetContext { .. } => "is not valid yet",
                Wrong::UnknownIssuer => "comes from none of the configured authorities",
                Wrong::NotValidForName | Wrong::NotValidForNameContext { .. } => {
                    "does not bear the name that it has to"
                }
                Wrong::InvalidPurpose | Wrong::InvalidPurposeContext { .. } => "is not for this use",
                Wrong::Revoked => "is revoked",
                Wrong::UnknownRevocationStatus => "is covered by no revocation list: it may be revoked",
                Wrong::ExpiredRevocationList | Wrong::ExpiredRevocationListContext { .. } => {
                    "is covered by a revocation list that is out of date"
                }
                _ => "is not valid",
            };
            format!("the peer's certificate {what}").into()
        }
        Error::NoCertificatesPresented => "the peer has shown no certificate".into(),
        Error::AlertReceived(alert) => format!("the peer ends TLS with the alert {alert:?}").into(),
        Error::PeerIncompatible(_) => "the peer's TLS has nothing in common with ours".into(),
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            "the TLS messages are malformed or out of order".into()
        }
        Error::DecryptError => "a TLS record is forged".into(),
        _ => "TLS has failed".into(),
    }
}
