//! Elements of DER (X.690), read one by one: what the parsers of whole certificates do not show.

/// The tag, the content and the rest behind one element. Definite lengths of up to four bytes, in the shortest form.
pub(super) fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    // High tag numbers stand nowhere in what is read here.
    if tag & 0x1f == 0x1f {
        return None;
    }
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let len = digits.iter().fold(0_usize, |len, digit| (len << 8) | usize::from(*digit));
            let shortest = len > 0x7f && digits.first() != Some(&0);
            (shortest.then_some(len)?, rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(len)?;
    Some((tag, content, rest))
}

/// The content of an element with this tag, and what follows it.
pub(super) fn expect(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = element(bytes)?;
    (found == tag).then_some((content, rest))
}

/// SEQUENCE.
pub(super) const SEQUENCE: u8 = 0x30;
/// INTEGER.
pub(super) const INTEGER: u8 = 0x02;

/// The content of the AlgorithmIdentifier of a SubjectPublicKeyInfo.
pub(super) fn algorithm_of(spki: &[u8]) -> Option<&[u8]> {
    let (content, _) = expect(SEQUENCE, spki)?;
    Some(expect(SEQUENCE, content)?.0)
}

/// Modulus and exponent of an RSAPublicKey, without leading zeros.
pub(super) fn rsa_key(bits: &[u8]) -> Option<(&[u8], &[u8])> {
    let (content, rest) = expect(SEQUENCE, bits)?;
    let (modulus, behind) = expect(INTEGER, content)?;
    let (exponent, end) = expect(INTEGER, behind)?;
    (rest.is_empty() && end.is_empty()).then_some((positive(modulus)?, positive(exponent)?))
}

/// A number above zero, without its sign byte.
fn positive(integer: &[u8]) -> Option<&[u8]> {
    match integer {
        [0, digits @ ..] if digits.first().is_some_and(|byte| byte & 0x80 != 0) => Some(digits),
        [first, ..] if (1..0x80).contains(first) => Some(integer),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_those_of_der_alone() {
        assert_eq!(element(&[4, 2, 1, 2, 9]), Some((4, &[1, 2][..], &[9][..])));
        let long = [&[4, 0x81, 0x80][..], &[7; 0x80]].concat();
        assert_eq!(element(&long).unwrap().1.len(), 0x80);
        for wrong in [
            &[][..],
            &[4],
            &[4, 3, 1, 2],
            &[4, 0x80, 0, 0],
            &[4, 0x81, 1, 0],
            &[4, 0x82, 0, 0x80],
            &[4, 0x85, 1, 0, 0, 0, 0],
            &[0x1f, 1, 0],
        ] {
            assert_eq!(element(wrong), None, "{wrong:?}");
        }
    }
}
