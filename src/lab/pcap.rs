//! Writes captures in the classic pcap format (Ethernet, nanoseconds), which every analyser reads.

use std::io::{self, Write};
use std::time::Duration;

/// Magic number of files whose times are in nanoseconds.
const MAGIC: u32 = 0xa1b2_3c4d;
/// LINKTYPE_ETHERNET.
const ETHERNET: u32 = 1;

/// An open capture file.
pub struct PcapWriter<W> {
    out: W,
}

impl<W: Write> PcapWriter<W> {
    /// Writes the file header.
    pub fn new(mut out: W) -> io::Result<Self> {
        out.write_all(&MAGIC.to_ne_bytes())?;
        out.write_all(&2_u16.to_ne_bytes())?;
        out.write_all(&4_u16.to_ne_bytes())?;
        out.write_all(&[0; 8])?; // time zone and accuracy, never used
        out.write_all(&65_535_u32.to_ne_bytes())?;
        out.write_all(&ETHERNET.to_ne_bytes())?;
        Ok(Self { out })
    }

    /// Writes one frame: its bytes, its length on the wire, its time since the epoch.
    pub fn frame(&mut self, bytes: &[u8], length: usize, at: Duration) -> io::Result<()> {
        let number = |value: u64| u32::try_from(value).unwrap_or(u32::MAX).to_ne_bytes();
        self.out.write_all(&number(at.as_secs()))?;
        self.out.write_all(&at.subsec_nanos().to_ne_bytes())?;
        self.out.write_all(&number(bytes.len() as u64))?;
        self.out.write_all(&number(length as u64))?;
        self.out.write_all(bytes)
    }

    /// Flushes what is still in memory.
    pub fn finish(mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capture_has_the_headers_that_analysers_expect() {
        let mut file = Vec::new();
        let mut writer = PcapWriter::new(&mut file).unwrap();
        writer.frame(&[1, 2, 3], 1500, Duration::new(7, 9)).unwrap();
        writer.finish().unwrap();
        assert_eq!(file.len(), 24 + 16 + 3);
        let word = |at: usize| u32::from_ne_bytes(file[at..at + 4].try_into().unwrap());
        assert_eq!((word(0), word(20)), (0xa1b2_3c4d, 1));
        assert_eq!((word(24), word(28), word(32), word(36)), (7, 9, 3, 1500));
    }
}
