//! What is it that came to UDP port 4500 (RFC 3948 §2)?

use crate::event::DropReason;

/// Four zero bytes where an SPI would be: an IKE message follows (RFC 3948 §2.2).
pub const NON_ESP_MARKER: [u8; 4] = [0; 4];
/// RFC 3948 §2.3: the keepalive is one octet of value 0xFF.
pub const KEEPALIVE: [u8; 1] = [0xFF];

/// One datagram on port 4500.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Natt<'a> {
    /// An IKE message, the marker taken off.
    Ike(&'a [u8]),
    /// An ESP packet; its SPI lies outside the reserved range.
    Esp,
    /// A NAT keepalive, to be ignored.
    Keepalive,
}

/// Tells them apart by the first four bytes.
pub fn demultiplex(datagram: &[u8]) -> Result<Natt<'_>, DropReason> {
    match datagram.split_first_chunk::<4>() {
        Some((&NON_ESP_MARKER, ike)) => Ok(Natt::Ike(ike)),
        Some((&[0, 0, 0, _], _)) => Err(DropReason::ReservedSpi),
        Some(_) => Ok(Natt::Esp),
        None if datagram == KEEPALIVE => Ok(Natt::Keepalive),
        None => Err(DropReason::NotIke),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_kinds_are_told_apart() {
        assert_eq!(demultiplex(&[0, 0, 0, 0, 7, 8]), Ok(Natt::Ike(&[7, 8])));
        assert_eq!(demultiplex(&[0, 0, 0, 0]), Ok(Natt::Ike(&[])));
        assert_eq!(demultiplex(&[0, 0, 1, 0]), Ok(Natt::Esp));
        assert_eq!(demultiplex(&[0xFF; 4]), Ok(Natt::Esp));
        assert_eq!(demultiplex(&[0xFF]), Ok(Natt::Keepalive));
    }

    #[test]
    fn stubs_and_reserved_spis_are_named() {
        for stub in [&[][..], &[0], &[0xFE], &[0xFF, 0xFF], &[0, 0], &[0, 0, 0], &[0xFF; 3]] {
            assert_eq!(demultiplex(stub), Err(DropReason::NotIke), "{stub:?}");
        }
        for spi in 1..=255 {
            assert_eq!(demultiplex(&[0, 0, 0, spi, 0, 0, 0, 1]), Err(DropReason::ReservedSpi));
        }
    }
}
