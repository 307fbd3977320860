//! Protects one inner packet where it lies (RFC 4303 §3.3): tunnel mode, padding 1, 2, 3 and so on, no TFC padding.

use std::ops::Range;

use super::transform::{Aad, Keys, Transform};
use crate::crypto::aead::TAG_LEN;
use crate::sa::spi::Spi;
use crate::wire::esp::{EspHeader, HEADER_LEN, NEXT_IPV4, NEXT_IPV6, TRAILER_LEN, padding_for, write_trailer};

impl Transform {
    /// Seals the inner packet at `inner` of `slab` and gives the ESP packet's place, which begins in the headroom and
    /// ends in the tailroom. `sequence` must never be used twice with one key: it is the nonce.
    #[must_use]
    pub fn seal(&self, spi: Spi, sequence: u64, slab: &mut [u8], inner: Range<usize>) -> Range<usize> {
        let next_header = if slab[inner.start] >> 4 == 6 { NEXT_IPV6 } else { NEXT_IPV4 };
        let padding = padding_for(inner.len(), self.shape.align);
        let start = inner.start - self.shape.front();
        let end = inner.end + padding + TRAILER_LEN + self.shape.icv_len;
        let payload_len = inner.len();
        let packet = &mut slab[start..end];

        let (header, rest) = packet.split_at_mut(HEADER_LEN);
        header.copy_from_slice(&EspHeader { spi: spi.get(), sequence: sequence as u32 }.encode());
        let (iv, rest) = rest.split_at_mut(self.shape.iv_len);
        let (plaintext, icv) = rest.split_at_mut(rest.len() - self.shape.icv_len);
        write_trailer(&mut plaintext[payload_len..], next_header);

        match &self.keys {
            Keys::Aead(key) => {
                // RFC 4106 §3.1: the IV must be unique under a key; a counter is the simplest way, and the sequence
                // number is one. With the salt from KEYMAT in front it is the nonce.
                let nonce = sequence.to_be_bytes();
                iv.copy_from_slice(&nonce);
                let tag = key.seal(nonce, Aad::new(spi.get(), sequence, self.esn).as_bytes(), plaintext);
                icv[..TAG_LEN].copy_from_slice(&tag);
            }
            Keys::Cbc { key, iv_key } => {
                let mut block = [0; 16];
                block[8..].copy_from_slice(&sequence.to_be_bytes());
                iv_key.encrypt(&[0; 16], &mut block);
                iv.copy_from_slice(&block);
                key.encrypt(&block, plaintext);
                let (authenticated, icv) = packet.split_at_mut(end - start - self.shape.icv_len);
                let tag = key.mac(&[authenticated, high_half(&sequence.to_be_bytes(), self.esn)]);
                icv.copy_from_slice(tag.as_bytes());
            }
        }
        start..end
    }
}

/// RFC 4303 §2.2.1: with a separate integrity algorithm the high half is appended for the computation and not sent.
pub(super) fn high_half(sequence: &[u8; 8], esn: bool) -> &[u8] {
    if esn { &sequence[..4] } else { &[] }
}
