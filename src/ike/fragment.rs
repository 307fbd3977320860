//! IKE fragmentation (RFC 7383): an encrypted message that is longer than a path may carry goes out in fragments, each
//! protected by itself; fragments that come in are put together again.
//!
//! Each fragment is authenticated before it is kept: who does not hold the keys can neither fill the memory nor put anything
//! in a fragment's place. Left out: discovery of the path's MTU. There are two sizes at most, and the second is tried when the
//! first one gets no answer (§2.5.2).

use super::error::Refusal;
use super::limits;
use super::path::{NAT_PORT, Path};
use super::protect::Protection;
use crate::entropy::Entropy;
use crate::event::IkeReason;
use crate::time::Instant;
use crate::wire::ike::chain;
use crate::wire::ike::header::Header;
use crate::wire::ike::numbers::PayloadType;
use crate::wire::ike::payload::{EncryptedFragment, Payload};
use crate::wire::ike::sealed::{self, FragmentNumber};

/// Bytes of headers around an IKE message: IP, UDP and, on port 4500, the non-ESP marker.
fn around(path: Path) -> usize {
    let ip = if path.remote.is_ipv4() { 20 } else { 40 };
    let marker = if path.local.port() == NAT_PORT || path.remote.port() == NAT_PORT { 4 } else { 0 };
    ip + 8 + marker
}

/// The longest messages that go out whole: at first, and when that gets no answer.
///
/// RFC 7383 §2.5.1 recommends datagrams of at most 1280 bytes for IPv6, and 576 for IPv4 where nothing more is known of the
/// path. No IPv4 path of today is that narrow, so 576 comes second.
fn sizes(path: Path) -> (usize, Option<usize>) {
    let room = |datagram: usize| datagram - around(path);
    let narrow = path.remote.is_ipv4().then(|| room(limits::NARROW_DATAGRAM));
    (room(limits::UNFRAGMENTED_DATAGRAM), narrow)
}

/// A message as it goes out: one datagram, or one for each fragment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outgoing {
    wide: Vec<Vec<u8>>,
    narrow: Option<Vec<Vec<u8>>>,
}

impl Outgoing {
    /// A message that is never cut.
    pub fn whole(datagram: Vec<u8>) -> Self {
        Self { wide: vec![datagram], narrow: None }
    }

    /// The datagrams of the transmission with this number, from 1.
    pub fn datagrams(&self, transmission: u32) -> &[Vec<u8>] {
        // RFC 7383 §2.5.2: after several transmissions without an answer the message is sent in smaller fragments. Their
        // number grows, so that the peer drops what it has of the wider ones (§2.6.1).
        match &self.narrow {
            Some(narrow) if transmission > limits::WIDE_TRANSMISSIONS => narrow,
            _ => &self.wide,
        }
    }
}

/// What is negotiated, and what has come in of the peer's messages.
#[derive(Default)]
pub struct Fragments {
    /// Both sides have said that they take fragments.
    pub supported: bool,
    requests: Option<Assembly>,
    responses: Option<Assembly>,
    /// The longest fragment of the last message that came in pieces.
    peer_sends: Option<usize>,
}

impl Fragments {
    /// Nothing has come in yet.
    pub fn new(supported: bool) -> Self {
        Self { supported, ..Self::default() }
    }

    /// Seals a request for `path`.
    pub fn seal_request(
        &self,
        protection: &mut Protection,
        header: &Header,
        payloads: &[Payload],
        path: Path,
        entropy: &mut dyn Entropy,
    ) -> Outgoing {
        let (first, inner) = chain::encode(payloads);
        let (wide, narrow) = sizes(path);
        let mut cut = |limit| self.cut(protection, header, (first, &inner), limit, entropy);
        let wide = cut(wide);
        let narrow = narrow.filter(|limit| self.supported && wide.iter().any(|datagram| datagram.len() > *limit));
        // Both are made at once: what is inside need not be kept, and the keys may have changed until the second is sent.
        Outgoing { wide, narrow: narrow.map(cut) }
    }

    /// Seals a response for `path`. If the request came in fragments, they say what the path carries: the response is
    /// always the same, so that there is no second size for it.
    pub fn seal_response(
        &mut self,
        protection: &mut Protection,
        header: &Header,
        payloads: &[Payload],
        path: Path,
        entropy: &mut dyn Entropy,
    ) -> Outgoing {
        let (first, inner) = chain::encode(payloads);
        let (wide, narrow) = sizes(path);
        let narrowest = narrow.unwrap_or(wide);
        let limit = self.peer_sends.take().map_or(wide, |length| length.clamp(narrowest, wide));
        Outgoing { wide: self.cut(protection, header, (first, &inner), limit, entropy), narrow: None }
    }

    /// The datagrams of one message, none longer than `limit` if the peer takes fragments.
    fn cut(
        &self,
        protection: &mut Protection,
        header: &Header,
        (first, inner): (PayloadType, &[u8]),
        limit: usize,
        entropy: &mut dyn Entropy,
    ) -> Vec<Vec<u8>> {
        let shape = protection.shape();
        if !self.supported || inner.len() <= sealed::inner_room(limit, false, shape) {
            return vec![protection.seal_chain(header, first, inner, None, entropy)];
        }
        let room = sealed::inner_room(limit, true, shape).max(1);
        let total = u16::try_from(inner.len().div_ceil(room)).expect("our own messages are far below 64 KiB");
        (1..=total)
            .zip(inner.chunks(room))
            .map(|(number, piece)| {
                let fragment = FragmentNumber { number, total };
                protection.seal_chain(header, first, piece, Some(fragment), entropy)
            })
            .collect()
    }

    /// A fragment has come in, of a message that is awaited. Gives the message once it is whole: its first payload's type, and
    /// what is inside. `Err` leaves everything as it was.
    pub fn take(
        &mut self,
        now: Instant,
        protection: &Protection,
        header: &Header,
        datagram: &[u8],
        fragment: &EncryptedFragment,
    ) -> Result<Option<(PayloadType, Vec<u8>)>, Refusal> {
        if !self.supported {
            return Err(Refusal::silent(IkeReason::Fragment).with("fragmentation was not negotiated"));
        }
        if usize::from(fragment.total) > limits::MAX_FRAGMENTS {
            return Err(Refusal::silent(IkeReason::Fragment).with("too many fragments"));
        }
        let response = header.flags.response;
        let place = if response { &mut self.responses } else { &mut self.requests };
        let current = place.as_ref().filter(|assembly| assembly.id == header.message_id && now < assembly.until);
        if let Some(assembly) = current {
            // RFC 7383 §2.6.1: of a message that is being put together, fragments with a smaller total, and those that are
            // there, are dropped. This costs less than a look at the checksum, so it comes first.
            if fragment.total < assembly.total {
                return Err(Refusal::silent(IkeReason::Fragment).with("fewer fragments than before"));
            }
            if fragment.total == assembly.total && assembly.has(fragment.number) {
                return Err(Refusal::silent(IkeReason::Retransmitted));
            }
        }
        let grows = current.is_none_or(|assembly| assembly.total < fragment.total);
        // §2.6: the fragment is authenticated first; what is forged must neither be kept nor make anything else go.
        let piece = protection.open(datagram, &fragment.content).map_err(Refusal::silent)?.stripped()?;
        if grows {
            // §2.6.1: more fragments than before mean that the peer has cut the message anew; the old ones go.
            *place = Some(Assembly::new(header.message_id, fragment.total, now + limits::REASSEMBLY_TIME));
        }
        let Some(assembly) = place else { return Ok(None) };
        if assembly.length + piece.len() > limits::MAX_REASSEMBLED {
            *place = None;
            return Err(Refusal::silent(IkeReason::Fragment).with("the message is too long"));
        }
        assembly.put(fragment, piece, datagram.len());
        if assembly.missing > 0 {
            return Ok(None);
        }
        let whole = place.take().map(Assembly::join);
        if let (false, Some((_, _, longest))) = (response, &whole) {
            self.peer_sends = Some(*longest);
        }
        Ok(whole.map(|(first, bytes, _)| (first, bytes)))
    }

    /// The message that was being put together has come whole, or another one has taken its place.
    pub fn drop_pieces(&mut self, response: bool) {
        *(if response { &mut self.responses } else { &mut self.requests }) = None;
    }

    /// When pieces are to be forgotten.
    pub fn deadline(&self) -> Option<Instant> {
        [&self.requests, &self.responses].into_iter().flatten().map(|assembly| assembly.until).min()
    }

    /// Pieces of messages that never became whole are forgotten.
    pub fn on_time(&mut self, now: Instant) {
        for place in [&mut self.requests, &mut self.responses] {
            if place.as_ref().is_some_and(|assembly| assembly.until <= now) {
                *place = None;
            }
        }
    }
}

/// The pieces of one message.
struct Assembly {
    id: u32,
    total: u16,
    first: PayloadType,
    pieces: Vec<Option<Vec<u8>>>,
    missing: usize,
    length: usize,
    /// The longest datagram that brought a piece.
    longest: usize,
    until: Instant,
}

impl Assembly {
    fn new(id: u32, total: u16, until: Instant) -> Self {
        let missing = usize::from(total);
        let first = PayloadType::NONE;
        Self { id, total, first, pieces: vec![None; missing], missing, length: 0, longest: 0, until }
    }

    fn has(&self, number: u16) -> bool {
        self.pieces.get(usize::from(number).wrapping_sub(1)).is_some_and(Option::is_some)
    }

    fn put(&mut self, fragment: &EncryptedFragment, piece: Vec<u8>, datagram: usize) {
        let Some(place) = self.pieces.get_mut(usize::from(fragment.number).wrapping_sub(1)) else { return };
        if place.is_some() {
            return;
        }
        self.length += piece.len();
        self.longest = self.longest.max(datagram);
        self.missing -= 1;
        *place = Some(piece);
        if fragment.number == 1 {
            // RFC 7383 §2.5: the Next Payload field of the first fragment is that of the whole message.
            self.first = fragment.first_inner;
        }
    }

    fn join(self) -> (PayloadType, Vec<u8>, usize) {
        let whole: Vec<u8> = self.pieces.into_iter().flatten().flatten().collect();
        (self.first, whole, self.longest)
    }
}

#[cfg(test)]
#[path = "tests/reassembly.rs"]
mod tests;
