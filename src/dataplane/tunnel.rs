//! What tunnel mode does to the inner and outer headers: ECN both ways (RFC 6040), DSCP outwards (RFC 4301 §5.1.2).
//!
//! The inner TTL is left alone in both directions. Packets come from the TUN device and go into it, so the kernel has
//! forwarded, and has decremented, on the side of the device that needs it; only a TTL of zero is refused here.
//! The outer TTL, fragment ID and checksum are the kernel's own: it builds the outer header.

/// The ECN field, the two low bits of the TOS or traffic class byte (RFC 3168 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Ecn {
    /// 00: does not take part.
    NotEct = 0,
    /// 01.
    Ect1 = 1,
    /// 10.
    Ect0 = 2,
    /// 11: congestion experienced.
    Ce = 3,
}

impl Ecn {
    /// The field of a TOS byte.
    #[must_use]
    pub const fn of(tos: u8) -> Self {
        match tos & 3 {
            0 => Self::NotEct,
            1 => Self::Ect1,
            2 => Self::Ect0,
            _ => Self::Ce,
        }
    }
}

/// Congestion was marked on a packet whose ends would not understand the mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EcnDrop;

/// The outer TOS byte for an inner one: both fields copied (RFC 6040 §4.1, "normal mode").
#[must_use]
pub const fn encapsulate(inner_tos: u8) -> u8 {
    inner_tos
}

/// The TOS byte with which the inner packet goes on: its own DSCP, its ECN field by RFC 6040 §4.2, Figure 4.
pub const fn decapsulate(inner_tos: u8, outer_tos: u8) -> Result<u8, EcnDrop> {
    use Ecn::{Ce, Ect0, Ect1, NotEct};
    let ecn = match (Ecn::of(inner_tos), Ecn::of(outer_tos)) {
        (NotEct, Ce) => return Err(EcnDrop),
        (NotEct, _) => NotEct,
        (Ect0 | Ect1 | Ce, Ce) | (Ce, _) => Ce,
        (Ect0, Ect1) => Ect1,
        (inner @ (Ect0 | Ect1), _) => inner,
    };
    Ok(inner_tos & !3 | ecn as u8)
}

#[cfg(test)]
mod tests {
    use super::Ecn::{Ce, Ect0, Ect1, NotEct};
    use super::*;

    #[test]
    fn all_sixteen_cells_are_those_of_rfc_6040() {
        // Figure 4: a row for each inner field, columns Not-ECT, ECT(0), ECT(1), CE of the outer one.
        let figure = [
            (NotEct, [Some(NotEct), Some(NotEct), Some(NotEct), None]),
            (Ect0, [Some(Ect0), Some(Ect0), Some(Ect1), Some(Ce)]),
            (Ect1, [Some(Ect1), Some(Ect1), Some(Ect1), Some(Ce)]),
            (Ce, [Some(Ce), Some(Ce), Some(Ce), Some(Ce)]),
        ];
        for (inner, row) in figure {
            for (outer, expected) in [NotEct, Ect0, Ect1, Ce].into_iter().zip(row) {
                for dscp in [0u8, 0xB8, 0xFC] {
                    let expected = expected.map(|ecn| dscp | ecn as u8).ok_or(EcnDrop);
                    // The outer DSCP is that of the underlay and is not taken inwards.
                    assert_eq!(decapsulate(dscp | inner as u8, 0x48 | outer as u8), expected, "{inner:?} {outer:?}");
                }
            }
        }
    }

    #[test]
    fn every_tos_byte_goes_outwards_as_it_is() {
        for tos in 0..=255 {
            assert_eq!(encapsulate(tos), tos);
            assert_eq!(Ecn::of(tos) as u8, tos & 3);
        }
    }
}
