//! Which high half belongs to a received low half (RFC 4303 Appendix A2.2)?
//!
//! Resynchronisation after a loss of 2^32 packets (Appendix A3) is left out: such an SA is renewed by IKE.

/// The 64-bit sequence number nearest to a window of `width` numbers that ends at `top`; `None` where there is none
/// (below zero at the start of an SA, or past the end of its life).
#[must_use]
pub fn infer(top: u64, width: u64, low: u32) -> Option<u64> {
    let (top_low, high) = (top as u32, top >> 32);
    let width = u32::try_from(width).unwrap_or(u32::MAX);
    // The window's bottom modulo 2^32; it wraps if the window spans two subspaces.
    let bottom = top_low.wrapping_sub(width.wrapping_sub(1));
    let high = if top_low >= width.wrapping_sub(1) {
        // Case A: the window lies in one subspace. Left of it, the number can only be of the next one.
        if low >= bottom { Some(high) } else { high.checked_add(1) }
    } else {
        // Case B: the window spans two subspaces. From the bottom up, the number is of the earlier one.
        if low >= bottom { high.checked_sub(1) } else { Some(high) }
    }?;
    u32::try_from(high).is_ok().then_some((high << 32) | u64::from(low))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_two_cases_of_the_appendix() {
        const G: u64 = 1 << 32;
        // Case A: top far from the border.
        assert_eq!(infer(5 * G + 10_000, 4096, 10_001), Some(5 * G + 10_001));
        assert_eq!(infer(5 * G + 10_000, 4096, 5_905), Some(5 * G + 5_905), "bottom of the window");
        assert_eq!(infer(5 * G + 10_000, 4096, 5_904), Some(6 * G + 5_904), "left of it");
        // Case B: the window spans the border.
        assert_eq!(infer(5 * G + 10, 4096, u32::MAX), Some(5 * G - 1));
        assert_eq!(infer(5 * G + 10, 4096, 11), Some(5 * G + 11));
        assert_eq!(infer(5 * G - 1, 4096, 0), Some(5 * G));
        // The ends of the number space.
        assert_eq!(infer(0, 4096, 1), Some(1));
        assert_eq!(infer(0, 4096, u32::MAX), None);
        assert_eq!(infer(u64::MAX, 4096, 5), None);
    }

    proptest! {
        #[test]
        fn any_number_within_reach_of_the_window_is_inferred(
            top in prop_oneof![0u64..1 << 34, (1u64 << 32) - 9000..(1 << 32) + 9000, any::<u64>()],
            width in 64u64..=65_536,
            offset in prop_oneof![-65_535i64..65_536, -65_535i64..(1 << 32) - 65_536],
        ) {
            // From the window's bottom to just before its bottom one subspace later, the answer is unique.
            prop_assume!(offset > -width.cast_signed() && offset < (1 << 32) - width.cast_signed());
            let Some(sequence) = top.checked_add_signed(offset) else { return Ok(()) };
            prop_assert_eq!(infer(top, width, sequence as u32), Some(sequence));
        }
    }
}
