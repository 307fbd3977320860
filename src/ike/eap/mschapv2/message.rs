//! The data of EAP-MSCHAPv2 packets, behind the EAP type.

use super::legacy::{CHALLENGE_LEN, RESPONSE_LEN};
use crate::ike::eap::Fault;
use crate::ike::limits;
use crate::wire::reader::{Reader, Truncated};
use crate::wire::writer::Writer;

/// OpCode.
mod op {
    pub(super) const CHALLENGE: u8 = 1;
    pub(super) const RESPONSE: u8 = 2;
    pub(super) const SUCCESS: u8 = 3;
    pub(super) const FAILURE: u8 = 4;
}

/// Bytes of the value in a Response: peer challenge, eight reserved bytes, NT response, flags.
const RESPONSE_VALUE: u8 = 49;

/// What the authenticator says.
#[derive(Debug, PartialEq, Eq)]
pub enum FromServer<'a> {
    /// Prove yourself.
    Challenge {
        /// MS-CHAPv2-ID.
        id: u8,
        /// The challenge.
        challenge: [u8; CHALLENGE_LEN],
    },
    /// Your proof was right, and this is mine.
    Success {
        /// What stands behind `S=`, if it is well-formed.
        shown: Option<[u8; 20]>,
    },
    /// Your proof was wrong.
    Failure {
        /// The number behind `E=`, if there is one.
        error: Option<u32>,
    },
    /// Something that is not done here, such as a changed password.
    Other(&'a [u8]),
}

/// What the peer says.
#[derive(Debug, PartialEq, Eq)]
pub enum FromPeer<'a> {
    /// Its proof.
    Response {
        /// MS-CHAPv2-ID.
        id: u8,
        /// The peer's challenge.
        challenge: [u8; CHALLENGE_LEN],
        /// The proof.
        response: [u8; RESPONSE_LEN],
        /// Who it is.
        name: &'a [u8],
    },
    /// It has seen the authenticator's proof.
    Success,
    /// It has seen that it failed.
    Failure,
}

/// Behind the opcode: MS-CHAPv2-ID, and MS-Length, which counts from the opcode on.
fn head(reader: &mut Reader<'_>, whole: usize) -> Result<u8, Fault> {
    let (id, length) = (|| Ok((reader.u8()?, reader.u16()?)))().map_err(cut)?;
    if usize::from(length) == whole {
        Ok(id)
    } else {
        Err(Fault::malformed("MS-Length is not the length of the packet"))
    }
}

fn cut(_: Truncated) -> Fault {
    Fault::malformed("the MSCHAPv2 packet is cut short")
}

impl<'a> FromServer<'a> {
    /// Reads the data of a request.
    pub fn decode(data: &'a [u8]) -> Result<Self, Fault> {
        let mut reader = Reader::new(data);
        let opcode = reader.u8().map_err(cut)?;
        match opcode {
            op::CHALLENGE => {
                let id = head(&mut reader, data.len())?;
                let size = reader.u8().map_err(cut)?;
                if usize::from(size) != CHALLENGE_LEN {
                    return Err(Fault::malformed("an MSCHAPv2 challenge has 16 bytes"));
                }
                // The authenticator's name stands behind it; the configuration knows better.
                Ok(Self::Challenge { id, challenge: reader.array().map_err(cut)? })
            }
            op::SUCCESS => {
                head(&mut reader, data.len())?;
                Ok(Self::Success { shown: shown(reader.rest()) })
            }
            op::FAILURE => {
                head(&mut reader, data.len())?;
                Ok(Self::Failure { error: error(reader.rest()) })
            }
            _ => Ok(Self::Other(data)),
        }
    }
}

/// RFC 2759 §5: "S=<auth_string> M=<message>", where "<auth_string> is a 20 octet number encoded in ASCII as 40
/// hexadecimal digits".
fn shown(message: &[u8]) -> Option<[u8; 20]> {
    let digits = message.strip_prefix(b"S=")?;
    let (digits, rest) = digits.split_at_checked(40)?;
    let mut shown = [0; 20];
    hex::decode_to_slice(digits, &mut shown).ok()?;
    (rest.is_empty() || rest.starts_with(b" ")).then_some(shown)
}

/// RFC 2759 §6: "E=eeeeeeeeee R=r C=cccc.. V=vvvvvvvvvv M=<msg>".
fn error(message: &[u8]) -> Option<u32> {
    let digits = message.strip_prefix(b"E=")?.split(|byte| *byte == b' ').next()?;
    if digits.is_empty() || digits.len() > 10 {
        return None;
    }
    digits.iter().try_fold(0u32, |number, byte| {
        let digit = char::from(*byte).to_digit(10)?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

impl<'a> FromPeer<'a> {
    /// Reads the data of a response.
    pub fn decode(data: &'a [u8]) -> Result<Self, Fault> {
        let mut reader = Reader::new(data);
        match reader.u8().map_err(cut)? {
            op::RESPONSE => {
                let id = head(&mut reader, data.len())?;
                let size = reader.u8().map_err(cut)?;
                if size != RESPONSE_VALUE {
                    return Err(Fault::malformed("the value of an MSCHAPv2 response has 49 bytes"));
                }
                let challenge = reader.array().map_err(cut)?;
                let _reserved: [u8; 8] = reader.array().map_err(cut)?;
                let response = reader.array().map_err(cut)?;
                let _flags = reader.u8().map_err(cut)?;
                let name = reader.rest();
                if name.len() > limits::MAX_EAP_NAME {
                    return Err(Fault::malformed("the name is too long"));
                }
                Ok(Self::Response { id, challenge, response, name })
            }
            // One byte alone. Some peers send the head of a request with it.
            op::SUCCESS => Ok(Self::Success),
            op::FAILURE => Ok(Self::Failure),
            _ => Err(Fault::unexpected("an MSCHAPv2 opcode that no peer sends")),
        }
    }
}

fn with_head(opcode: u8, id: u8, body: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.u8(opcode);
    writer.u8(id);
    let length = writer.open_length(0);
    body(&mut writer);
    writer.close(length);
    writer.into_bytes()
}

/// Prove yourself.
pub fn challenge(id: u8, challenge: &[u8; CHALLENGE_LEN], name: &[u8]) -> Vec<u8> {
    with_head(op::CHALLENGE, id, |writer| {
        writer.u8(CHALLENGE_LEN as u8);
        writer.bytes(challenge);
        writer.bytes(name);
    })
}

/// The peer's proof.
pub fn response(id: u8, challenge: &[u8; CHALLENGE_LEN], response: &[u8; RESPONSE_LEN], name: &[u8]) -> Vec<u8> {
    with_head(op::RESPONSE, id, |writer| {
        writer.u8(RESPONSE_VALUE);
        writer.bytes(challenge);
        writer.zeros(8);
        writer.bytes(response);
        writer.u8(0);
        writer.bytes(name);
    })
}

/// The authenticator's proof.
pub fn success(id: u8, shown: &[u8; 20]) -> Vec<u8> {
    // RFC 2759 §5: the digits are upper case.
    with_head(op::SUCCESS, id, |writer| writer.bytes(format!("S={} M=OK", hex::encode_upper(shown)).as_bytes()))
}

/// RFC 2759 §6: 691 ERROR_AUTHENTICATION_FAILURE, no retry allowed, version 3. The challenge would be for a retry.
pub fn failure(id: u8, challenge: &[u8; CHALLENGE_LEN]) -> Vec<u8> {
    let text = format!("E=691 R=0 C={} V=3 M=Authentication failed", hex::encode_upper(challenge));
    with_head(op::FAILURE, id, |writer| writer.bytes(text.as_bytes()))
}

/// The authenticator's proof was right.
pub fn success_response() -> Vec<u8> {
    vec![op::SUCCESS]
}

/// We have failed.
pub fn failure_response() -> Vec<u8> {
    vec![op::FAILURE]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_they_were_written() {
        let bytes = challenge(5, &[7; 16], b"gw");
        assert_eq!(bytes.get(..5), Some(&[1, 5, 0, 23, 16][..]));
        assert_eq!(FromServer::decode(&bytes), Ok(FromServer::Challenge { id: 5, challenge: [7; 16] }));
        let bytes = response(5, &[1; 16], &[2; 24], b"user");
        assert_eq!((bytes.len(), bytes.get(..5)), (58, Some(&[2, 5, 0, 58, 49][..])));
        let expected = FromPeer::Response { id: 5, challenge: [1; 16], response: [2; 24], name: b"user" };
        assert_eq!(FromPeer::decode(&bytes), Ok(expected));
        let bytes = success(5, &[0xab; 20]);
        assert_eq!(bytes.get(4..8), Some(&b"S=AB"[..]));
        assert_eq!(FromServer::decode(&bytes), Ok(FromServer::Success { shown: Some([0xab; 20]) }));
        assert_eq!(FromServer::decode(&failure(5, &[0; 16])), Ok(FromServer::Failure { error: Some(691) }));
        assert_eq!(FromPeer::decode(&success_response()), Ok(FromPeer::Success));
        assert_eq!(FromPeer::decode(&failure_response()), Ok(FromPeer::Failure));
    }

    /// CVE-2025-62291 was a Failure request shorter than its own head.
    #[test]
    fn every_cut_and_every_wrong_length_is_refused_or_means_nothing() {
        for bytes in [challenge(1, &[1; 16], b""), response(1, &[1; 16], &[1; 24], b"")] {
            for end in 0..bytes.len() {
                assert!(FromServer::decode(&bytes[..end]).is_err() || bytes[0] == 2 && end > 0);
                assert!(FromPeer::decode(&bytes[..end]).is_err());
            }
        }
        for bytes in [success(1, &[1; 20]), failure(1, &[1; 16])] {
            for end in 0..bytes.len() {
                assert!(FromServer::decode(&bytes[..end]).is_err(), "{end} bytes");
            }
        }
        for (opcode, text) in
            [(3, "S=41"), (3, "S="), (3, ""), (3, "M=OK"), (4, ""), (4, "E="), (4, "E=99999999999"), (4, "E=x")]
        {
            let bytes = with_head(opcode, 1, |writer| writer.bytes(text.as_bytes()));
            let nothing = [Ok(FromServer::Success { shown: None }), Ok(FromServer::Failure { error: None })];
            assert!(nothing.contains(&FromServer::decode(&bytes)), "{text}");
        }
        let long = response(1, &[1; 16], &[1; 24], &[b'a'; limits::MAX_EAP_NAME + 1]);
        assert!(FromPeer::decode(&long).is_err());
    }
}
