//! EAP packets (RFC 3748 §4): four bytes of header, and in requests and responses a type and its data.
//!
//! Left out: the expanded types of §5.7, which nobody here speaks; they are refused with a Nak like any other type.

use super::Fault;
use crate::ike::limits;
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

/// Bytes before the type.
const HEADER: usize = 4;

/// RFC 3748 §4: Code.
mod code {
    pub(super) const REQUEST: u8 = 1;
    pub(super) const RESPONSE: u8 = 2;
    pub(super) const SUCCESS: u8 = 3;
    pub(super) const FAILURE: u8 = 4;
}

/// What a request asks for, and a response answers (RFC 3748 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EapType(pub u8);

impl EapType {
    /// Who are you? §5.1.
    pub const IDENTITY: Self = Self(1);
    /// Something to be shown to somebody; §5.2.
    pub const NOTIFICATION: Self = Self(2);
    /// Not this method; §5.3. Responses only.
    pub const NAK: Self = Self(3);
    /// EAP-TLS (RFC 5216).
    pub const TLS: Self = Self(13);
    /// EAP-MSCHAPv2.
    pub const MSCHAPV2: Self = Self(26);

    /// RFC 3748 §5: types from 4 on are authentication methods.
    pub const fn is_method(self) -> bool {
        self.0 >= 4
    }
}

/// One packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// From the authenticator.
    Request {
        /// Which request.
        identifier: u8,
        /// What it asks for.
        kind: EapType,
        /// The rest.
        data: &'a [u8],
    },
    /// From the peer.
    Response {
        /// Which request it answers.
        identifier: u8,
        /// What it answers.
        kind: EapType,
        /// The rest.
        data: &'a [u8],
    },
    /// It is over, and well.
    Success {
        /// That of the last response.
        identifier: u8,
    },
    /// It is over, and not well.
    Failure {
        /// That of the last response.
        identifier: u8,
    },
}

impl<'a> Packet<'a> {
    /// Reads what came in an EAP payload.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Fault> {
        if bytes.len() > limits::MAX_EAP_PACKET {
            return Err(Fault::malformed("the EAP packet is too long"));
        }
        let mut reader = Reader::new(bytes);
        let header = (|| Ok((reader.u8()?, reader.u8()?, reader.u16()?)))();
        let Ok::<_, crate::wire::reader::Truncated>((code, identifier, length)) = header else {
            return Err(Fault::malformed("the EAP packet ends within its header"));
        };
        // RFC 3748 §4.1: "A message with the Length field set to a value larger than the number of received octets MUST
        // be silently discarded", while what stands behind the length is padding. In IKE nothing is discarded: a packet
        // that is not well-formed ends the conversation.
        let body = usize::from(length).checked_sub(HEADER).and_then(|length| reader.take(length).ok());
        let Some(body) = body else {
            return Err(Fault::malformed("the length of the EAP packet is wrong"));
        };
        match (code, body.split_first()) {
            (code::REQUEST, Some((kind, data))) => Ok(Self::Request { identifier, kind: EapType(*kind), data }),
            (code::RESPONSE, Some((kind, data))) => Ok(Self::Response { identifier, kind: EapType(*kind), data }),
            // RFC 3748 §4.2: Success and Failure have no data; their length is 4.
            (code::SUCCESS, None) => Ok(Self::Success { identifier }),
            (code::FAILURE, None) => Ok(Self::Failure { identifier }),
            (code::REQUEST | code::RESPONSE, None) => Err(Fault::malformed("the EAP packet has no type")),
            (code::SUCCESS | code::FAILURE, Some(_)) => Err(Fault::malformed("an EAP result has no data")),
            _ => Err(Fault::malformed("the EAP packet has an unknown code")),
        }
    }

    /// The bytes of an EAP payload.
    pub fn encode(&self) -> Vec<u8> {
        let (code, identifier, body) = match *self {
            Self::Request { identifier, kind, data } => (code::REQUEST, identifier, Some((kind, data))),
            Self::Response { identifier, kind, data } => (code::RESPONSE, identifier, Some((kind, data))),
            Self::Success { identifier } => (code::SUCCESS, identifier, None),
            Self::Failure { identifier } => (code::FAILURE, identifier, None),
        };
        let mut writer = Writer::with_capacity(HEADER + 1 + body.map_or(0, |(_, data)| data.len()));
        writer.u8(code);
        writer.u8(identifier);
        let length = writer.open_length(0);
        if let Some((kind, data)) = body {
            writer.u8(kind.0);
            writer.bytes(data);
        }
        writer.close(length);
        writer.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::IkeReason;

    const ALL: [Packet<'_>; 5] = [
        Packet::Request { identifier: 7, kind: EapType::IDENTITY, data: b"" },
        Packet::Request { identifier: 255, kind: EapType::TLS, data: &[0x20] },
        Packet::Response { identifier: 0, kind: EapType::NAK, data: &[26] },
        Packet::Success { identifier: 9 },
        Packet::Failure { identifier: 9 },
    ];

    #[test]
    fn packets_have_the_bytes_of_the_rfc() {
        let bytes: Vec<_> = ALL.iter().map(Packet::encode).collect();
        assert_eq!(bytes[0], [1, 7, 0, 5, 1]);
        assert_eq!(bytes[1], [1, 255, 0, 6, 13, 0x20]);
        assert_eq!(bytes[2], [2, 0, 0, 6, 3, 26]);
        assert_eq!(bytes[3], [3, 9, 0, 4]);
        assert_eq!(bytes[4], [4, 9, 0, 4]);
        for (packet, bytes) in ALL.iter().zip(&bytes) {
            assert_eq!(Packet::decode(bytes), Ok(*packet));
            // §4.1: what follows the length is padding.
            assert_eq!(Packet::decode(&[bytes.as_slice(), &[0; 3]].concat()), Ok(*packet));
        }
    }

    #[test]
    fn what_is_cut_too_long_or_of_no_known_code_is_refused() {
        for packet in ALL {
            let bytes = packet.encode();
            for end in 0..bytes.len() {
                let refused = Packet::decode(&bytes[..end]).unwrap_err();
                assert_eq!(refused.reason, IkeReason::EapMalformed, "{end} bytes of {packet:?}");
            }
        }
        let long =
            Packet::Request { identifier: 1, kind: EapType::TLS, data: &[0; limits::MAX_EAP_PACKET - 4] }.encode();
        assert!(Packet::decode(&long[..]).is_err());
        for bytes in [
            &[1, 0, 0, 3][..],
            &[1, 0, 0, 0],
            &[1, 0, 0, 4],
            &[2, 0, 0, 4],
            &[3, 0, 0, 5, 1],
            &[0, 0, 0, 4],
            &[5, 0, 0, 5, 1],
        ] {
            assert!(Packet::decode(bytes).is_err(), "{bytes:?}");
        }
    }
}
