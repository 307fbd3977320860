//! The extensions of a hello: which may stand in it, once at most, and what their bytes look like. What they mean is judged
//! elsewhere (`hello`), or by nobody.
//!
//! A client may say what nobody knows; a server answers what it was asked, and so has a list that is closed (IANA, "TLS ExtensionType
//! Values", the column of TLS 1.3; for TLS 1.2 the documents that are named beside each).

pub(super) const SERVER_NAME: u32 = 0;
pub(super) const PRE_SHARED_KEY: u32 = 41;
pub(super) const EARLY_DATA: u32 = 42;
pub(super) const SUPPORTED_VERSIONS: u32 = 43;
pub(super) const COOKIE: u32 = 44;
const KEY_SHARE: u32 = 51;
const RENEGOTIATION_INFO: u32 = 0xff01;
/// RFC 9001 §8.2: "A fatal unsupported_extension alert MUST be sent by an implementation that supports this extension if the extension is
/// received when the transport is not QUIC."
pub(super) const QUIC: u32 = 57;
/// Encrypted ClientHello.
pub(super) const ECH: u32 = 0xfe0d;
/// Its predecessor, the encrypted server name.
pub(super) const ESNI: u32 = 0xffce;

/// Extensions with a low number, and the one that has a high one and that servers answer with; others are in no set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Set(u64);

impl Set {
    const fn bit(kind: u32) -> u64 {
        match kind {
            // 63 is not assigned.
            RENEGOTIATION_INFO => 1 << 63,
            0..63 => 1 << kind,
            _ => 0,
        }
    }

    const fn of(kinds: &[u32]) -> Self {
        let (mut bits, mut at) = (0, 0);
        while at < kinds.len() {
            bits |= Self::bit(kinds[at]);
            at += 1;
        }
        Self(bits)
    }

    pub(super) fn has(self, kind: u32) -> bool {
        self.0 & Self::bit(kind) != 0
    }

    /// Adds one; whether it was not in it.
    pub(super) fn add(&mut self, kind: u32) -> bool {
        let new = !self.has(kind);
        self.0 |= Self::bit(kind);
        new
    }

    fn within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }
}

/// What a server may answer in TLS 1.3 (RFC 8446 §4.2); everything else it says sealed.
const TLS13: Set = Set::of(&[PRE_SHARED_KEY, SUPPORTED_VERSIONS, KEY_SHARE]);
/// And in a HelloRetryRequest.
const RETRY: Set = Set::of(&[SUPPORTED_VERSIONS, COOKIE, KEY_SHARE]);
/// Those that belong to TLS 1.3 alone.
const NEW: Set = Set::of(&[PRE_SHARED_KEY, SUPPORTED_VERSIONS, COOKIE, KEY_SHARE]);
/// What a server may say unasked: RFC 8446 §4.2 makes "the exception of the "cookie" extension in the HelloRetryRequest"; RFC 5746 §3.4 lets
/// a client ask by a suite.
const UNASKED: Set = Set::of(&[COOKIE, RENEGOTIATION_INFO]);

/// Whether a server may say `said` to a client that said `asked`.
pub(super) fn answers(said: Set, asked: Set, newest: bool, retry: bool) -> bool {
    // RFC 8446 §4.2: "Implementations MUST NOT send extension responses if the remote endpoint did not send the corresponding extension
    // requests"; RFC 5246 §7.4.1.4 likewise.
    let asked = said.within(Set(asked.0 | UNASKED.0));
    asked
        && match (newest, retry) {
            (true, true) => said.within(RETRY),
            (true, false) => said.within(TLS13),
            (false, _) => said.0 & NEW.0 == 0,
        }
}

/// A part of an extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// So many bytes, one at least.
    Bytes(u32),
    /// A length in so many bytes, and as many bytes: so many at least.
    Vector(u32, u32),
    /// A length in so many bytes, so many at least, and parts like these until it is reached.
    List(u32, u32, &'static [Self]),
}

use Piece::{Bytes, List, Vector};

const NOTHING: &[Piece] = &[];
const WORDS: &[Piece] = &[List(2, 1, &[Bytes(2)])];
const NAMES: &[Piece] = &[List(2, 1, &[Vector(1, 1)])];
const SHARE: &[Piece] = &[Bytes(2), Vector(2, 1)];

/// What an extension of a client looks like; `None`: nobody looks.
pub(super) fn of_client(kind: u32) -> Option<&'static [Piece]> {
    Some(match kind {
        // RFC 6066 §4 and §8, RFC 6520 §2.
        1 | 15 => &[Bytes(1)],
        5 => &[Bytes(1), Vector(2, 0), Vector(2, 0)],
        // Groups (RFC 8446 §4.2.7), signatures (§4.2.3; RFC 9345 §4.1.1).
        10 | 13 | 34 | 50 => WORDS,
        // RFC 4681, 5878, 6091, 8422 §5.1.2, 5054 §2.8.1, 7250 §3; psk_key_exchange_modes (RFC 8446 §4.2.9).
        6..=9 | 11 | 12 | 19 | 20 | 45 => &[Vector(1, 1)],
        // RFC 5746 §3.2, RFC 9146 §3.
        RENEGOTIATION_INFO | 53 | 54 => &[Vector(1, 0)],
        // RFC 5764 §4.1.1.
        14 => &[List(2, 1, &[Bytes(2)]), Vector(1, 0)],
        // RFC 7301 §3.1, and what Chromium says of settings in the same form.
        16 | 17513 | 17613 => NAMES,
        // RFC 6961 §2.2.
        17 => &[List(2, 1, &[Bytes(1), Vector(2, 4)])],
        // RFC 6066 §5 and §7, RFC 6962 §3.3.1, RFC 7366 §2, RFC 7627 §5.1, early_data and post_handshake_auth (RFC 8446 §4.2).
        2 | 4 | 18 | 22 | 23 | EARLY_DATA | 49 => NOTHING,
        // RFC 8472 §2.
        24 => &[Bytes(2), Vector(1, 1)],
        // RFC 8879 §3, RFC 8449 §4, RFC 9149 §2, RFC 9102 §2.
        27 => &[List(1, 1, &[Bytes(2)])],
        28 | 58 | 59 => &[Bytes(2)],
        // RFC 8446 §4.2.11, §4.2.2, §4.2.4, §4.2.5, §4.2.8; RFC 7924 §3, RFC 6066 §6.
        PRE_SHARED_KEY => &[List(2, 1, &[Vector(2, 1), Bytes(4)]), List(2, 1, &[Vector(1, 32)])],
        25 | COOKIE => &[Vector(2, 1)],
        47 => &[List(2, 1, &[Vector(2, 1)])],
        3 | 48 => &[Vector(2, 0)],
        // A client may leave the choice of a group to the server.
        KEY_SHARE => &[List(2, 0, &[Bytes(2), Vector(2, 1)])],
        _ => return None,
    })
}

/// What an extension of a server looks like, in a HelloRetryRequest or not; `None`: it may not stand there.
pub(super) fn of_server(kind: u32, retry: bool) -> Option<&'static [Piece]> {
    Some(match kind {
        // RFC 6066 §3, §5, §7, §8; RFC 6961 §2.2; RFC 7366 §2, RFC 7627 §5.1, RFC 5077 §3.2.
        SERVER_NAME | 2 | 4 | 5 | 17 | 22 | 23 | 35 => NOTHING,
        // RFC 6066 §4, RFC 6520 §2, RFC 7250 §3.
        1 | 15 | 19 | 20 => &[Bytes(1)],
        // Not for a server to say (RFC 8422 §5.2), and said by some all the same.
        10 => WORDS,
        11 => &[Vector(1, 1)],
        // RFC 7301 §3.1: "MUST contain exactly one "ProtocolName"", which is left to the client.
        16 => NAMES,
        // RFC 6962 §3.3.
        18 => &[List(2, 1, &[Vector(2, 1)])],
        // RFC 8449 §4; RFC 8446 §4.2.1, §4.2.11.
        28 | SUPPORTED_VERSIONS | PRE_SHARED_KEY => &[Bytes(2)],
        COOKIE => &[Vector(2, 1)],
        KEY_SHARE if retry => &[Bytes(2)],
        KEY_SHARE => SHARE,
        RENEGOTIATION_INFO => &[Vector(1, 0)],
        _ => return None,
    })
}

/// Where in an extension the next byte stands.
#[derive(Clone, Debug)]
pub(super) struct Walk {
    /// The part that is heard, and those behind it; in a list, the list and those behind it.
    outer: &'static [Piece],
    /// In a list: the part of an element that is heard, and those behind it.
    inner: &'static [Piece],
    /// Bytes of the list that are to come.
    list: Option<u32>,
    /// Bytes of a length that are to come.
    length: u32,
    value: u32,
    /// Bytes that are to come and mean nothing here.
    body: u32,
}

impl Walk {
    pub(super) fn through(pieces: &'static [Piece]) -> Self {
        let mut walk = Self { outer: pieces, inner: &[], list: None, length: 0, value: 0, body: 0 };
        walk.begin();
        walk
    }

    /// Whether it may end here.
    pub(super) fn is_over(&self) -> bool {
        self.outer.is_empty()
    }

    /// Hears one byte, behind which `left` of the extension are to come; whether it may stand there.
    pub(super) fn byte(&mut self, byte: u8, left: u32) -> bool {
        if self.is_over() {
            return false;
        }
        if let Some(list) = &mut self.list {
            *list = list.saturating_sub(1);
        }
        if self.length == 0 {
            self.body = self.body.saturating_sub(1);
            return self.body > 0 || self.end_of_piece();
        }
        self.value = self.value << 8 | u32::from(byte);
        self.length -= 1;
        self.length > 0 || self.has_length(left)
    }

    fn piece(&self) -> Option<Piece> {
        if self.list.is_some() { self.inner.first() } else { self.outer.first() }.copied()
    }

    fn begin(&mut self) {
        (self.length, self.value, self.body) = match self.piece() {
            Some(Bytes(count)) => (0, 0, count),
            Some(Vector(width, _) | List(width, ..)) => (width, 0, 0),
            None => (0, 0, 0),
        };
    }

    fn has_length(&mut self, left: u32) -> bool {
        let room = self.list.unwrap_or(left);
        let fits = self.value <= room;
        match self.piece() {
            Some(Vector(_, least)) => {
                self.body = self.value;
                fits && self.value >= least && (self.body > 0 || self.end_of_piece())
            }
            Some(List(_, least, _)) if self.value == 0 => least == 0 && self.end_of_piece(),
            Some(List(_, least, element)) => {
                let fits = fits && self.value >= least;
                (self.list, self.inner) = (Some(self.value), element);
                self.begin();
                fits
            }
            _ => false,
        }
    }

    /// A part is over: what comes next? False: the list ends within an element.
    fn end_of_piece(&mut self) -> bool {
        match self.list {
            None => self.outer = self.outer.get(1..).unwrap_or_default(),
            Some(left) => {
                self.inner = self.inner.get(1..).unwrap_or_default();
                match (left, self.inner) {
                    (0, []) => (self.list, self.outer) = (None, self.outer.get(1..).unwrap_or_default()),
                    (0, _) => return false,
                    (_, []) => {
                        if let Some(List(.., element)) = self.outer.first() {
                            self.inner = element;
                        }
                    }
                    _ => {}
                }
            }
        }
        self.begin();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether these bytes are what the pieces say, by a walk that ends with them.
    fn walks(pieces: &'static [Piece], bytes: &[u8]) -> bool {
        let mut walk = Walk::through(pieces);
        let left = |at: usize| (bytes.len() - at - 1) as u32;
        bytes.iter().enumerate().all(|(at, byte)| walk.byte(*byte, left(at))) && walk.is_over()
    }

    #[test]
    fn lengths_have_to_fit_and_lists_to_end_with_an_element() {
        assert!(walks(NOTHING, &[]) && !walks(NOTHING, &[0]));
        assert!(walks(&[Bytes(2)], &[1, 2]) && !walks(&[Bytes(2)], &[1]) && !walks(&[Bytes(2)], &[1, 2, 3]));
        assert!(walks(WORDS, &[0, 4, 0, 29, 0, 24]));
        for wrong in [&[0, 0][..], &[0, 3, 0, 29, 0], &[0, 4, 0, 29], &[0, 2, 0, 29, 0], &[0], &[]] {
            assert!(!walks(WORDS, wrong), "{wrong:?}");
        }
        assert!(walks(NAMES, b"\0\x0c\x02h2\x08http/1.1"));
        for wrong in [&b"\0\x0c\x03h2\x08http/1.1"[..], b"\0\x03\0h2", b"\0\x04\x02h2\x01", b"\0\x02\x02h2"] {
            assert!(!walks(NAMES, wrong), "{wrong:?}");
        }
        let status = of_client(5).unwrap();
        assert!(walks(status, &[1, 0, 0, 0, 0]) && walks(status, &[1, 0, 1, 9, 0, 0]));
        assert!(!walks(status, &[1, 0, 1, 0, 0]) && !walks(status, &[1, 0, 0, 0]));
        let shares = of_client(KEY_SHARE).unwrap();
        assert!(walks(shares, &[0, 0]) && walks(shares, &[0, 12, 0, 29, 0, 2, 7, 7, 0, 23, 0, 2, 8, 8]));
        assert!(!walks(shares, &[0, 6, 0, 29, 0, 3, 7, 7]) && !walks(shares, &[0, 6, 0, 29, 0, 1, 7, 7]));
        let offer = of_client(PRE_SHARED_KEY).unwrap();
        let identities = [&[0, 9, 0, 3][..], b"key", &[0; 4]].concat();
        let binders = [&[0, 33, 32][..], &[7; 32]].concat();
        assert!(walks(offer, &[&identities[..], &binders].concat()));
        assert!(!walks(offer, &identities) && !walks(offer, &[&identities[..], &[0, 4, 3, 1, 1, 1]].concat()));
    }

    #[test]
    fn what_a_server_may_answer_is_what_it_was_asked_and_belongs_to_the_version() {
        let set = |kinds: &[u32]| Set::of(kinds);
        let asked = set(&[SERVER_NAME, 10, 16, 23, PRE_SHARED_KEY, SUPPORTED_VERSIONS, KEY_SHARE]);
        for (said, newest, retry, may) in [
            (set(&[]), false, false, true),
            (set(&[SERVER_NAME, 16, 23, RENEGOTIATION_INFO]), false, false, true),
            (set(&[22]), false, false, false),
            (set(&[KEY_SHARE]), false, false, false),
            (set(&[SUPPORTED_VERSIONS, KEY_SHARE, PRE_SHARED_KEY]), true, false, true),
            (set(&[SUPPORTED_VERSIONS, 16]), true, false, false),
            (set(&[SUPPORTED_VERSIONS, RENEGOTIATION_INFO]), true, false, false),
            (set(&[SUPPORTED_VERSIONS, COOKIE]), true, false, false),
            (set(&[SUPPORTED_VERSIONS, COOKIE, KEY_SHARE]), true, true, true),
            (set(&[SUPPORTED_VERSIONS, PRE_SHARED_KEY]), true, true, false),
        ] {
            assert_eq!(answers(said, asked, newest, retry), may, "{said:?} {newest} {retry}");
        }
        assert!(!answers(set(&[SUPPORTED_VERSIONS, KEY_SHARE]), set(&[SUPPORTED_VERSIONS]), true, false));
        let mut set = Set::default();
        assert!(set.add(0) && set.add(62) && set.add(RENEGOTIATION_INFO) && set.add(0xfafa) && set.add(0xfafa));
        assert!(!set.add(0) && !set.add(62) && !set.add(RENEGOTIATION_INFO));
    }
}
