//! Names and structure IDs come in ASCII or in EBCDIC; both are judged as ASCII.

/// The ASCII letter of a byte of EBCDIC, for the letters that names and structure IDs are made of; NUL and space among them.
/// What is no such letter becomes a byte that no name has.
pub(super) fn ascii(byte: u8, ebcdic: bool) -> u8 {
    if !ebcdic {
        return byte;
    }
    match byte {
        0 => 0,
        0x40 => b' ',
        0x4b => b'.',
        0x5c => b'*',
        0x61 => b'/',
        0x6c => b'%',
        0x6d => b'_',
        0x81..=0x89 => byte - 0x81 + b'a',
        0x91..=0x99 => byte - 0x91 + b'j',
        0xa2..=0xa9 => byte - 0xa2 + b's',
        0xc1..=0xc9 => byte - 0xc1 + b'A',
        0xd1..=0xd9 => byte - 0xd1 + b'J',
        0xe2..=0xe9 => byte - 0xe2 + b'S',
        0xf0..=0xf9 => byte - 0xf0 + b'0',
        _ => 0xff,
    }
}

/// Whether a letter may stand in the name of an MQ object.
pub(super) fn is_name(letter: u8) -> bool {
    letter.is_ascii_alphanumeric() || b"._/%".contains(&letter)
}

/// A structure ID, as far as its bytes may be ASCII or EBCDIC: `Some(ebcdic)` if these four bytes spell `id`.
pub(super) fn spells(bytes: u32, id: [u8; 4]) -> Option<bool> {
    let bytes = bytes.to_be_bytes();
    [false, true].into_iter().find(|ebcdic| bytes.iter().zip(id).all(|(byte, letter)| ascii(*byte, *ebcdic) == letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structure_ids_are_known_in_both_alphabets() {
        assert_eq!(spells(0x4f44_2020, *b"OD  "), Some(false));
        assert_eq!(spells(0xd6c4_4040, *b"OD  "), Some(true));
        assert_eq!(spells(0xd6c4_2020, *b"OD  "), None, "not one half each");
        let every: Vec<u8> = (0..=255).filter(|byte| is_name(ascii(*byte, true))).collect();
        assert_eq!(every.len(), 26 + 26 + 10 + 4);
    }
}
