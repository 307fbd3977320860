//! What client and server say to each other, and how it lies on the wire.
//!
//! Every number that comes from the other end is held against a bound before anything is done with it.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Version of this protocol.
pub const PROTOCOL: u32 = 1;
/// The longest message in bytes: an environment with all its mitigations is a tenth of it.
pub const LONGEST: usize = 64 << 10;
/// Data connections of one measurement.
pub const MOST_STREAMS: u16 = 128;
/// A measurement lasts no longer, in milliseconds.
pub const LONGEST_RUN: u64 = 600_000;
/// Nobody waits longer for stragglers, in milliseconds.
pub const LONGEST_PATIENCE: u64 = 10_000;

/// What the client says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ask {
    /// The first message of a control connection.
    Hello {
        /// [`PROTOCOL`].
        protocol: u32,
    },
    /// The first message of a data connection.
    Data {
        /// The session's number, from the server's hello.
        session: u64,
        /// Whether the server sends and the client receives.
        server_sends: bool,
    },
    /// Data connections come now; when all are there, both ends send for so long.
    Streams {
        /// How many.
        count: u16,
        /// Milliseconds that do not count.
        warm_ms: u64,
        /// Milliseconds that do.
        ms: u64,
    },
    /// Datagrams come now.
    Begin {},
    /// No more of them are sent.
    End {
        /// How many were.
        sent: u64,
        /// For so many milliseconds without a datagram the server waits for those that are missing.
        quiet_ms: u64,
    },
    /// How long the server has been up, which says nothing but that the way is open.
    Alive {},
}

/// What the server says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Answer {
    /// To a hello.
    Hello {
        /// [`PROTOCOL`].
        protocol: u32,
        /// The number that opens everything else.
        session: u64,
        /// The machine (`fingerprint::environment`).
        environment: Value,
    },
    /// All data connections are there; the time runs.
    Ready {},
    /// What the server received over them.
    Streams(Received),
    /// Datagrams with this number are counted.
    Begin {
        /// The trial's number.
        trial: u32,
    },
    /// What came.
    End(Tally),
    /// To `Alive`.
    Alive {},
    /// It will not.
    Refused {
        /// Why, in a sentence.
        why: String,
    },
}

/// What one end received over streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Received {
    /// Bytes in the time that counts.
    pub bytes: u64,
    /// That time.
    pub nanos: u64,
    /// Bytes from the first to the last.
    pub total: u64,
}

impl Received {
    /// Megabits a second.
    #[must_use]
    pub fn megabits(self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "a rate")]
        let (bits, nanos) = (self.bytes as f64 * 8.0, self.nanos.max(1) as f64);
        bits * 1e3 / nanos
    }
}

/// What came of a trial's datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tally {
    /// Different ones.
    pub datagrams: u64,
    /// Their payloads.
    pub bytes: u64,
    /// Those that came again.
    pub again: u64,
    /// Those that came after a later one.
    pub overtaken: u64,
    /// Those that the receiver's own kernel threw away because its socket was full: not the device's fault.
    pub overrun: u64,
    /// When the marked one came, in nanoseconds of the server's monotonic clock: of use where that is the client's too.
    pub marked_at: Option<u64>,
    /// From the first to the last, in nanoseconds.
    pub span: u64,
}

/// Sends one message.
pub fn tell(to: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_vec(message).map_err(io::Error::other)?;
    let length = u32::try_from(text.len()).ok().filter(|_| text.len() <= LONGEST);
    let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the message is too long"))?;
    let mut whole = length.to_be_bytes().to_vec();
    whole.extend(text);
    to.write_all(&whole)
}

/// Reads one message. What is longer than [`LONGEST`], or no message, is an error and not read to its end.
pub fn hear<T: DeserializeOwned>(from: &mut impl Read) -> io::Result<T> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a message of {length} bytes")));
    }
    let mut text = Vec::new();
    from.take(length as u64).read_to_end(&mut text)?;
    if text.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    serde_json::from_slice(&text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_heard() {
        let mut wire = Vec::new();
        let messages =
            [Ask::Hello { protocol: 1 }, Ask::Begin {}, Ask::Streams { count: 8, warm_ms: 1, ms: 2 }, Ask::Alive {}];
        for message in &messages {
            tell(&mut wire, message).unwrap();
        }
        let mut wire = wire.as_slice();
        for message in &messages {
            assert_eq!(hear::<Ask>(&mut wire).unwrap(), *message);
        }
        assert_eq!(hear::<Ask>(&mut wire).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_length_beyond_the_bound_is_refused_before_anything_is_read() {
        let mut wire = u32::MAX.to_be_bytes().to_vec();
        wire.extend([b' '; 100]);
        let mut rest = wire.as_slice();
        assert_eq!(hear::<Ask>(&mut rest).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(rest.len(), 100);
    }

    #[test]
    fn what_is_cut_short_or_means_nothing_is_an_error() {
        let told = |text: &str| {
            let mut wire = (text.len() as u32).to_be_bytes().to_vec();
            wire.extend(text.as_bytes());
            wire
        };
        let cut = told(r#"{"ask":"begin"}"#);
        for end in 0..cut.len() {
            assert!(hear::<Ask>(&mut &cut[..end]).is_err(), "{end} bytes");
        }
        for text in [
            "",
            "{}",
            r#"{"ask":"dance"}"#,
            r#"{"ask":"begin","twice":1}"#,
            r#"{"ask":"streams","count":70000,"warm_ms":0,"ms":1}"#,
        ] {
            assert!(hear::<Ask>(&mut told(text).as_slice()).is_err(), "{text}");
        }
    }

    #[test]
    fn megabits_are_bits_over_microseconds() {
        assert!((Received { bytes: 125_000, nanos: 1_000_000_000, total: 0 }.megabits() - 1.0).abs() < 1e-9);
        assert!(Received::default().megabits() < 1e-9);
    }
}
