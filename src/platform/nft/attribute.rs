//! Netlink messages and attributes of nf_tables as bytes: lengths in front, padding to four, numbers in network order.

/// `nfgenmsg` behind the netlink header.
const HEADERS: usize = 16 + 4;
/// The flag of an attribute that holds attributes.
const NESTED: u16 = 0x8000;

/// A message under construction.
pub(super) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// A message of netlink type `kind` about `family`.
    pub(super) fn new(kind: u16, flags: u16, sequence: u32, family: u8, resource: u16) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend([0; 4]); // the length, when it is known
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]); // to the kernel
        bytes.extend([family, 0]);
        bytes.extend(resource.to_be_bytes());
        Self { bytes }
    }

    /// An attribute of bytes.
    pub(super) fn bytes(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let length = u16::try_from(4 + value.len()).expect("values are short");
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }

    /// An attribute of a number.
    pub(super) fn number(&mut self, kind: u16, value: u32) -> &mut Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// An attribute of text.
    pub(super) fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes)
    }

    /// An attribute of attributes.
    pub(super) fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.bytes.len();
        self.bytes.extend([0; 2]);
        self.bytes.extend((kind | NESTED).to_ne_bytes());
        fill(self);
        let length = u16::try_from(self.bytes.len() - start).expect("lists are cut into short messages");
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }

    /// The finished message.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len()).expect("messages are short");
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes
    }
}

/// Attributes to be read: those of a received message, or within one of them.
#[derive(Clone, Copy)]
pub(super) struct Attributes<'a> {
    bytes: &'a [u8],
}

impl<'a> Attributes<'a> {
    /// Those of a netlink message of nf_tables.
    pub(super) fn of_message(message: &'a [u8]) -> Self {
        Self { bytes: message.get(HEADERS..).unwrap_or_default() }
    }

    /// Kind and value of each.
    pub(super) fn each(self) -> impl Iterator<Item = (u16, &'a [u8])> {
        let mut rest = self.bytes;
        std::iter::from_fn(move || {
            let length = usize::from(u16::from_ne_bytes(*rest.first_chunk()?));
            let kind = u16::from_ne_bytes(*rest.get(2..)?.first_chunk()?) & 0x3fff;
            let value = rest.get(4..length)?;
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            Some((kind, value))
        })
    }

    /// The value of the first attribute of this kind.
    pub(super) fn get(self, kind: u16) -> Option<&'a [u8]> {
        self.each().find_map(|(found, value)| (found == kind).then_some(value))
    }

    /// The first attribute of this kind as a number.
    pub(super) fn number(self, kind: u16) -> Option<u32> {
        self.get(kind)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
    }

    /// The first attribute of this kind as a long number.
    pub(super) fn long(self, kind: u16) -> Option<u64> {
        self.get(kind)?.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
    }

    /// The first attribute of this kind as text.
    pub(super) fn text(self, kind: u16) -> Option<&'a str> {
        let value = self.get(kind)?;
        std::str::from_utf8(value.strip_suffix(&[0]).unwrap_or(value)).ok()
    }

    /// The attributes within the first attribute of this kind.
    pub(super) fn nested(self, kind: u16) -> Option<Self> {
        self.get(kind).map(|bytes| Self { bytes })
    }

    /// The attributes within each attribute of this kind.
    pub(super) fn list(self, kind: u16) -> impl Iterator<Item = Self> {
        self.each().filter(move |(found, _)| *found == kind).map(|(_, bytes)| Self { bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_is_read_again() {
        let mut message = Message::new(0x0a00, 5, 7, 1, 10);
        message.text(1, "portcullis").number(2, 77).bytes(3, &9_u64.to_be_bytes());
        message.nested(4, |list| {
            for number in 0..3 {
                list.nested(1, |element| {
                    element.number(9, number);
                });
            }
        });
        let bytes = message.finish();
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(u32::from_ne_bytes(*bytes.first_chunk().unwrap()) as usize, bytes.len());
        let read = Attributes::of_message(&bytes);
        assert_eq!(read.text(1), Some("portcullis"));
        assert_eq!((read.number(2), read.long(3), read.number(5)), (Some(77), Some(9), None));
        let list = read.nested(4).unwrap();
        assert_eq!(list.list(1).filter_map(|element| element.number(9)).collect::<Vec<_>>(), [0, 1, 2]);
    }

    proptest! {
        #[test]
        fn junk_ends_the_walk_and_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let attributes = Attributes::of_message(&bytes);
            prop_assert!(attributes.each().count() <= bytes.len() / 4);
        }
    }
}
