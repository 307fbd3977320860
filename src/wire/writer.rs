//! Writes fields into a growing buffer: the counterpart of `reader`. Integers go out in network byte order; a length
//! or a count that is only known later is filled in at its place.

/// A buffer that is being filled.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

/// The place of a 16-bit length that is not known yet, and where what it measures begins.
#[derive(Debug)]
#[must_use = "a length that is never filled in stays zero on the wire"]
pub struct OpenLength {
    field: usize,
    counted_from: usize,
}

impl Writer {
    /// An empty buffer.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: Vec::new() }
    }

    /// An empty buffer with room for `capacity` bytes.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { bytes: Vec::with_capacity(capacity) }
    }

    /// How many bytes have been written.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing has been written.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    /// Two bytes.
    pub fn u16(&mut self, value: u16) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    /// Four bytes.
    pub fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    /// Eight bytes.
    pub fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    /// Bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// `count` zero bytes: reserved fields, padding.
    pub fn zeros(&mut self, count: usize) {
        self.bytes.resize(self.bytes.len().saturating_add(count), 0);
    }

    /// A length that is filled in by [`close`](Self::close) and counts from `counted_from`, which is usually a few
    /// bytes before the field itself.
    pub fn open_length(&mut self, counted_from: usize) -> OpenLength {
        let field = self.bytes.len();
        self.u16(0);
        OpenLength { field, counted_from }
    }

    /// Fills in a length with what has been written since. A length above 65535 becomes 65535: what this endpoint
    /// builds is far below, and a peer refuses such a message where a panic would have stopped the gateway.
    #[expect(clippy::needless_pass_by_value, reason = "a length is filled in once")]
    pub fn close(&mut self, open: OpenLength) {
        let length = self.bytes.len().saturating_sub(open.counted_from);
        let value = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
        if let Some(place) = self.bytes.get_mut(open.field..).and_then(<[u8]>::first_chunk_mut::<2>) {
            *place = value;
        }
    }

    /// What has been written.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_length_counts_from_where_it_was_told_to() {
        let mut writer = Writer::new();
        writer.u8(0xaa);
        let start = writer.len();
        writer.u16(0x0102);
        let length = writer.open_length(start);
        writer.u32(0x0304_0506);
        writer.u64(1);
        writer.zeros(2);
        writer.close(length);
        assert_eq!(writer.into_bytes(), [0xaa, 1, 2, 0, 18, 3, 4, 5, 6, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn a_length_that_does_not_fit_saturates() {
        let mut writer = Writer::with_capacity(70_000);
        let length = writer.open_length(0);
        writer.zeros(70_000);
        writer.close(length);
        assert_eq!(writer.into_bytes().first_chunk(), Some(&[0xff, 0xff]));
    }
}
