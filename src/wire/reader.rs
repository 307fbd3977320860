//! Reads fields from bytes that a stranger sent: every step is checked, nothing is indexed.

/// The bytes ended before the field did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("truncated: {needed} bytes needed, {left} left")]
pub struct Truncated {
    /// How many bytes the field has.
    pub needed: usize,
    /// How many there were.
    pub left: usize,
}

/// A cursor over borrowed bytes; integers are in network byte order.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// How many bytes are left.
    #[must_use]
    pub const fn left(&self) -> usize {
        self.bytes.len()
    }

    /// Whether all bytes have been read.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Truncated> {
        let (taken, rest) =
            self.bytes.split_at_checked(count).ok_or(Truncated { needed: count, left: self.bytes.len() })?;
        self.bytes = rest;
        Ok(taken)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Truncated> {
        let (taken, rest) =
            self.bytes.split_first_chunk::<N>().ok_or(Truncated { needed: N, left: self.bytes.len() })?;
        self.bytes = rest;
        Ok(*taken)
    }

    /// A reader of the next `count` bytes alone.
    pub fn sub(&mut self, count: usize) -> Result<Reader<'a>, Truncated> {
        self.take(count).map(Reader::new)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, Truncated> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Result<u16, Truncated> {
        self.array().map(u16::from_be_bytes)
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32, Truncated> {
        self.array().map(u32::from_be_bytes)
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Result<u64, Truncated> {
        self.array().map(u64::from_be_bytes)
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_in_network_byte_order_and_in_turn() {
        let bytes = [1, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4, 5, 6, 7];
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(reader.u16(), Ok(2));
        assert_eq!(reader.u32(), Ok(3));
        assert_eq!(reader.u64(), Ok(4));
        assert_eq!(reader.array(), Ok([5, 6]));
        assert_eq!(reader.left(), 1);
        assert_eq!(reader.rest(), [7]);
        assert!(reader.is_empty());
    }

    #[test]
    fn a_read_past_the_end_says_what_it_lacked_and_consumes_nothing() {
        let mut reader = Reader::new(&[1, 2, 3]);
        assert_eq!(reader.u32(), Err(Truncated { needed: 4, left: 3 }));
        assert_eq!(reader.take(usize::MAX), Err(Truncated { needed: usize::MAX, left: 3 }));
        assert_eq!(reader.u16(), Ok(0x0102));
    }

    #[test]
    fn a_sub_reader_cannot_leave_its_part() {
        let mut reader = Reader::new(&[1, 2, 3]);
        let mut part = reader.sub(2).expect("two bytes are there");
        assert_eq!(part.rest(), [1, 2]);
        assert_eq!(part.u8(), Err(Truncated { needed: 1, left: 0 }));
        assert_eq!(reader.rest(), [3]);
    }
}
