//! The ESP packet (RFC 4303 §2): SPI and sequence number in front, padding, pad length and next header behind.
//!
//! IV, ciphertext and ICV in between belong to the SA's algorithms (`esp::seal`, `esp::open`).

use super::reader::Reader;
use crate::event::DropReason;

/// SPI and sequence number.
pub const HEADER_LEN: usize = 8;
/// Pad length and next header.
pub const TRAILER_LEN: usize = 2;

/// Next header: IPv4 (tunnel mode).
pub const NEXT_IPV4: u8 = 4;
/// Next header: IPv6 (tunnel mode).
pub const NEXT_IPV6: u8 = 41;
/// Next header: no next header, which marks a dummy packet (RFC 4303 §2.6).
pub const NEXT_NONE: u8 = 59;

/// What stands in front of every ESP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EspHeader {
    /// The receiver's name for the SA; never one of the reserved ones when it was parsed.
    pub spi: u32,
    /// The low half of the sequence number; all of it without ESN.
    pub sequence: u32,
}

impl EspHeader {
    /// Reads the first eight bytes of `packet`.
    pub fn parse(packet: &[u8]) -> Result<Self, DropReason> {
        let mut reader = Reader::new(packet);
        let (Ok(spi), Ok(sequence)) = (reader.u32(), reader.u32()) else { return Err(DropReason::ShortEsp) };
        // RFC 4303 §2.1: 1 through 255 are reserved by IANA, and zero must not be sent on the wire.
        if spi > 255 { Ok(Self { spi, sequence }) } else { Err(DropReason::ReservedSpi) }
    }

    /// The eight bytes as they stand on the wire.
    #[must_use]
    pub fn encode(self) -> [u8; HEADER_LEN] {
        ((u64::from(self.spi) << 32) | u64::from(self.sequence)).to_be_bytes()
    }
}

/// How many bytes of padding bring `payload` bytes and the trailer to a multiple of `align` (RFC 4303 §2.4).
#[must_use]
pub const fn padding_for(payload: usize, align: usize) -> usize {
    (align - (payload + TRAILER_LEN) % align) % align
}

/// Writes padding, pad length and next header into `tail`, all of it; `tail` has at most 257 bytes.
pub fn write_trailer(tail: &mut [u8], next_header: u8) {
    let padding = tail.len() - TRAILER_LEN;
    // RFC 4303 §2.4: "The Padding bytes are initialized with a series of (unsigned, 1-byte) integer values."
    for (byte, value) in tail[..padding].iter_mut().zip(1..=255) {
        *byte = value;
    }
    tail[padding] = padding as u8;
    tail[padding + 1] = next_header;
}

/// Takes the trailer off decrypted bytes: how long the payload is (TFC padding included) and what it is.
///
/// RFC 4303 §2.4: the receiver SHOULD inspect the padding; here each byte of it must be right.
pub fn read_trailer(plaintext: &[u8]) -> Result<(usize, u8), DropReason> {
    let (rest, &[pad_len, next_header]) = plaintext.split_last_chunk::<TRAILER_LEN>().ok_or(DropReason::BadPadding)?;
    let payload_len = rest.len().checked_sub(usize::from(pad_len)).ok_or(DropReason::BadPadding)?;
    let padding = rest.get(payload_len..).ok_or(DropReason::BadPadding)?;
    if padding.iter().zip(1u8..=255).any(|(&byte, value)| byte != value) {
        return Err(DropReason::BadPadding);
    }
    Ok((payload_len, next_header))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_survives_encoding() {
        let header = EspHeader { spi: 0xC0DE_0001, sequence: 0x0102_0304 };
        assert_eq!(header.encode(), [0xC0, 0xDE, 0, 1, 1, 2, 3, 4]);
        assert_eq!(EspHeader::parse(&header.encode()), Ok(header));
    }

    #[test]
    fn short_packets_and_reserved_spis_are_named() {
        for len in 0..HEADER_LEN {
            assert_eq!(EspHeader::parse(&vec![0xFF; len]), Err(DropReason::ShortEsp));
        }
        for spi in [0u32, 1, 255] {
            assert_eq!(EspHeader::parse(&[spi.to_be_bytes(), [0; 4]].concat()), Err(DropReason::ReservedSpi));
        }
        assert!(EspHeader::parse(&[0, 0, 1, 0, 0, 0, 0, 1]).is_ok());
    }

    #[test]
    fn every_length_is_padded_to_its_alignment_and_read_back() {
        for align in [4, 16] {
            for len in 0..300 {
                let mut plaintext = vec![0xAB; len];
                let tail = padding_for(len, align) + TRAILER_LEN;
                plaintext.resize(len + tail, 0);
                write_trailer(&mut plaintext[len..], NEXT_IPV4);
                assert_eq!(plaintext.len() % align, 0);
                assert!(tail < align + TRAILER_LEN);
                assert_eq!(read_trailer(&plaintext), Ok((len, NEXT_IPV4)));
            }
        }
    }

    #[test]
    fn the_longest_padding_is_read_and_each_wrong_byte_is_seen() {
        let mut tail = [0; 257];
        write_trailer(&mut tail, NEXT_IPV6);
        assert_eq!(read_trailer(&tail), Ok((0, NEXT_IPV6)));
        for at in 0..255 {
            let mut wrong = tail;
            wrong[at] ^= 0x10;
            assert_eq!(read_trailer(&wrong), Err(DropReason::BadPadding), "byte {at}");
        }
        assert_eq!(read_trailer(&[1, 2, 4, 4]), Err(DropReason::BadPadding), "longer than the packet");
        assert_eq!(read_trailer(&[4]), Err(DropReason::BadPadding));
        assert_eq!(read_trailer(&[]), Err(DropReason::BadPadding));
    }
}
