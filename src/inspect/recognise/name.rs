//! A name that is heard letter by letter and held against a list, without being kept.

use crate::policy::inspection::Names;

/// How far a name in a field of fixed length has been heard: the names of the list that it can still be.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heard {
    alive: u64,
    /// Its letters so far.
    len: u16,
    /// Whether its end has been heard: all that follows is padding.
    ended: bool,
}

impl Heard {
    /// Nothing was heard yet.
    pub(super) fn begin() -> Self {
        Self { alive: u64::MAX, len: 0, ended: false }
    }

    /// Whether no letter was heard.
    pub(super) fn is_blank(self) -> bool {
        self.len == 0
    }

    /// Whether its end was heard.
    pub(super) fn is_over(self) -> bool {
        self.ended
    }

    /// Hears one letter. `false`: the name is none of `names`.
    pub(super) fn letter(&mut self, names: &Names, letter: u8) -> bool {
        self.letter_as(names, letter, |text, at| text.get(at).copied())
    }

    /// The name is over. `false`: it is none of `names`.
    pub(super) fn end(&mut self, names: &Names) -> bool {
        self.end_as(names, <[u8]>::len)
    }

    /// The same where names are spelt in another way: `spelt` is the letter at a place of a known name.
    pub(super) fn letter_as(&mut self, names: &Names, letter: u8, spelt: impl Fn(&[u8], usize) -> Option<u8>) -> bool {
        let at = usize::from(self.len);
        self.len = self.len.saturating_add(1);
        self.keep(names, |text, open| spelt(text, at).map_or(open, |known| known == letter))
    }

    /// The same, with the length of a known name as it is spelt.
    pub(super) fn end_as(&mut self, names: &Names, length: impl Fn(&[u8]) -> usize) -> bool {
        self.ended = true;
        let len = usize::from(self.len);
        self.keep(names, |text, open| length(text) == len || (open && length(text) < len))
    }

    fn keep(&mut self, names: &Names, fits: impl Fn(&[u8], bool) -> bool) -> bool {
        if names.is_any() {
            return true;
        }
        let mut left = 0;
        for (place, name) in names.as_slice().iter().enumerate() {
            let bit = 1_u64.checked_shl(u32::try_from(place).unwrap_or(u32::MAX)).unwrap_or(0);
            if self.alive & bit != 0 && fits(&name.text, name.open) {
                left |= bit;
            }
        }
        self.alive = left;
        left != 0
    }

    /// Hears one byte of a padded field: a letter, or a blank (space or NUL) that ends the name. A name without any letter is
    /// no name and always fits.
    pub(super) fn padded(&mut self, names: &Names, byte: u8) -> bool {
        match byte {
            _ if self.ended => true,
            b' ' | 0 if self.is_blank() => {
                self.ended = true;
                true
            }
            b' ' | 0 => self.end(names),
            letter => self.letter(names, letter),
        }
    }

    /// The field is over. `false`: the name fills it, and is none of `names`.
    pub(super) fn close(&mut self, names: &Names) -> bool {
        self.ended || self.end(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_wrong(names: &[&str], field: &[u8]) -> Option<usize> {
        let names = Names::generic(names.iter().copied()).unwrap();
        let mut heard = Heard::begin();
        if let Some(at) = field.iter().position(|byte| !heard.padded(&names, *byte)) {
            return Some(at);
        }
        (!heard.close(&names)).then(|| field.len() - 1)
    }

    #[test]
    fn the_first_letter_that_fits_no_name_is_found() {
        let names = ["CBP.IN", "CBP.OUT", "REPLY*"];
        assert_eq!(first_wrong(&names, b"CBP.IN   "), None);
        assert_eq!(first_wrong(&names, b"CBP.IN\0XY"), None, "what follows a NUL is nothing");
        assert_eq!(first_wrong(&names, b"CBP.OUT"), None, "it may fill the field");
        assert_eq!(first_wrong(&names, b"CBP.INX  "), Some(6));
        assert_eq!(first_wrong(&names, b"CBP.I    "), Some(5));
        assert_eq!(first_wrong(&names, b"CBP.I"), Some(4));
        assert_eq!(first_wrong(&names, b"cbp.IN   "), Some(0));
        assert_eq!(first_wrong(&names, b"REPLY.12 "), None);
        assert_eq!(first_wrong(&names, b"REPLY    "), None);
        assert_eq!(first_wrong(&names, b"         "), None, "no name");
        assert_eq!(first_wrong(&[], b"ANYTHING "), None);
    }
}
