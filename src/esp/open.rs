//! Opens one ESP packet where it lies (RFC 4303 §3.4.4), and finds the inner packet in what it held.

use std::ops::Range;

use super::seal::high_half;
use super::transform::{Aad, Keys, Transform};
use crate::crypto::aead::TAG_LEN;
use crate::event::DropReason;
use crate::sa::spi::Spi;
use crate::wire::esp::{HEADER_LEN, NEXT_IPV4, NEXT_IPV6, NEXT_NONE, read_trailer};

impl Transform {
    /// Verifies `packet` as number `sequence` of `spi`, decrypts it in place and gives the place of the plaintext,
    /// trailer included. On an error `packet` holds nothing of use.
    pub fn open(&self, spi: Spi, sequence: u64, packet: &mut [u8]) -> Result<Range<usize>, DropReason> {
        let (front, end) = (self.shape.front(), packet.len().saturating_sub(self.shape.icv_len));
        if packet.len() < self.shape.shortest() {
            return Err(DropReason::ShortEsp);
        }
        match &self.keys {
            Keys::Aead(key) => {
                let (sealed, icv) = packet.split_last_chunk_mut::<TAG_LEN>().ok_or(DropReason::ShortEsp)?;
                let (head, ciphertext) = sealed.split_at_mut_checked(front).ok_or(DropReason::ShortEsp)?;
                let (_, &mut iv) = head.split_last_chunk_mut::<8>().ok_or(DropReason::ShortEsp)?;
                let aad = Aad::new(spi.get(), sequence, self.esn);
                key.open(iv, aad.as_bytes(), ciphertext, icv).map_err(|_| DropReason::Forged)?;
            }
            Keys::Cbc { key, .. } => {
                let (sealed, icv) = packet.split_at_mut_checked(end).ok_or(DropReason::ShortEsp)?;
                key.verify(&[sealed, high_half(&sequence.to_be_bytes(), self.esn)], icv)
                    .map_err(|_| DropReason::Forged)?;
                let (head, ciphertext) = sealed.split_at_mut_checked(front).ok_or(DropReason::ShortEsp)?;
                let iv = head[HEADER_LEN..].first_chunk::<16>().ok_or(DropReason::ShortEsp)?;
                if !ciphertext.len().is_multiple_of(16) {
                    return Err(DropReason::BadPadding);
                }
                key.decrypt(iv, ciphertext);
            }
        }
        Ok(front..end)
    }
}

/// How long the inner packet at the start of an opened packet's `plaintext` is.
///
/// RFC 4303 §2.7: TFC padding may follow the inner packet; its own length field tells where it ends.
pub fn inner_len(plaintext: &[u8]) -> Result<usize, DropReason> {
    let (payload_len, next_header) = read_trailer(plaintext)?;
    let payload = plaintext.get(..payload_len).ok_or(DropReason::BadPadding)?;
    let len = match (next_header, payload.first().map(|first| first >> 4)) {
        // RFC 4303 §2.6: a receiver must be ready to discard dummy packets, without prejudice.
        (NEXT_NONE, _) => return Err(DropReason::Dummy),
        (NEXT_IPV4, Some(4)) => payload.get(2..4).map(be16),
        (NEXT_IPV6, Some(6)) => payload.get(4..6).map(|len| be16(len) + 40),
        (NEXT_IPV4 | NEXT_IPV6, _) => None,
        _ => return Err(DropReason::BadNextHeader),
    };
    len.filter(|&len| len <= payload_len).ok_or(DropReason::BadIpHeader)
}

fn be16(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |number, &byte| (number << 8) | usize::from(byte))
}
