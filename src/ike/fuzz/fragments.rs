//! Putting fragments together (RFC 7383 §2.6) against a model that keeps a list of what was authentic.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use crate::crypto::suite::{Additional, Cipher, Group, IkeSuite, Mac, PrfAlg};
use crate::entropy::SeededEntropy;
use crate::event::IkeReason;
use crate::ike::fragment::Fragments;
use crate::ike::keymat::{IkeKeys, Nonces, Spis, ike_keys};
use crate::ike::limits;
use crate::ike::path::Path;
use crate::ike::protect::Protection;
use crate::secret::Secret;
use crate::time::Instant;
use crate::wire::ike::chain;
use crate::wire::ike::header::{Flags, Header};
use crate::wire::ike::message::Message;
use crate::wire::ike::numbers::{ExchangeType, PayloadType};
use crate::wire::ike::payload::{Payload, Vendor};
use crate::wire::ike::sealed::FragmentNumber;

/// Things that happen in one input.
const MOST_STEPS: usize = 64;
/// Lengths of what a fragment carries: with the longest ones a few are more than is kept.
const LENGTHS: [usize; 8] = [0, 1, 2, 3, 16, 500, 1_400, 30_000];

/// Keys of an AEAD cipher, and of one that is authenticated apart.
static KEYS: LazyLock<[(IkeSuite, IkeKeys); 2]> = LazyLock::new(|| {
    [(Cipher::Aes256Gcm16, None), (Cipher::Aes256Cbc, Some(Mac::HmacSha256))].map(|(cipher, mac)| {
        let additional = Additional::NONE;
        let suite = IkeSuite { cipher, mac, prf: PrfAlg::HmacSha256, group: Group::Curve25519, additional };
        let nonces = Nonces { initiator: &[1; 32], responder: &[2; 32] };
        (suite, ike_keys(suite, &Secret::copy_of(&[7; 32]), nonces, Spis { initiator: 3, responder: 4 }))
    })
});

/// A message that is being put together.
struct Kept {
    id: u32,
    total: u16,
    pieces: BTreeMap<u16, Vec<u8>>,
    first: PayloadType,
    until: Instant,
}

/// One side that seals and one that takes.
struct Line {
    from: Protection,
    to: Protection,
    fragments: Fragments,
    /// Of requests and of responses.
    model: [Option<Kept>; 2],
    now: Instant,
}

/// The first byte says which cipher, and whether fragments were negotiated; then things that happen, four bytes each.
pub fn fragments(data: &[u8]) {
    let Some((options, mut rest)) = data.split_first() else { return };
    let (suite, keys) = &KEYS[usize::from(options & 1)];
    let supported = options & 0x80 == 0;
    let mut line = Line {
        from: Protection::new(*suite, keys, true),
        to: Protection::new(*suite, keys, false),
        fragments: Fragments::new(supported),
        model: [None, None],
        now: Instant::from_nanos(1),
    };
    for _ in 0..MOST_STEPS {
        let Some((&[act, a, b, c], more)) = rest.split_first_chunk() else { break };
        rest = more;
        let header = header(u32::from(a & 3), a & 0x80 != 0);
        match act % 8 {
            0..=3 => {
                let datagram = line.one(&header, act, [b, c]);
                line.take(&datagram, supported, true);
            }
            4 => {
                let mut datagram = line.one(&header, 0, [b & 15, c & 15]);
                let bit = (usize::from(b) << 8 | usize::from(c)) % (8 * datagram.len());
                datagram[bit / 8] ^= 1 << (bit % 8);
                line.take(&datagram, supported, false);
            }
            5 => line.message(&header, [act, a, b, c], supported),
            6 => {
                line.now = line.now + Duration::from_millis(100 * u64::from(b));
                if c & 1 == 0 {
                    line.fragments.on_time(line.now);
                    line.model.iter_mut().for_each(|kept| drop(kept.take_if(|kept| kept.until <= line.now)));
                }
            }
            _ => {
                line.fragments.drop_pieces(header.flags.response);
                line.model[usize::from(header.flags.response)] = None;
            }
        }
        let deadline = line.model.iter().flatten().map(|kept| kept.until).min();
        assert_eq!(line.fragments.deadline(), deadline, "something else is kept");
        let kept: usize = line.model.iter().flatten().flat_map(|kept| kept.pieces.values()).map(Vec::len).sum();
        assert!(kept <= 2 * limits::MAX_REASSEMBLED, "more is kept than is allowed");
    }
}

fn header(message_id: u32, response: bool) -> Header {
    Header {
        initiator_spi: 3,
        responder_spi: 4,
        next_payload: PayloadType::NONE,
        major: 2,
        minor: 0,
        exchange: ExchangeType::IKE_AUTH,
        flags: Flags { initiator: true, version: false, response },
        message_id,
        length: 0,
    }
}

impl Line {
    /// A fragment by itself, with a number and a total that may be anything; one kind is of a message of 70, more than are taken.
    fn one(&mut self, header: &Header, act: u8, [number, total]: [u8; 2]) -> Vec<u8> {
        let total = if act % 8 == 3 { 70 } else { u16::from(total) };
        let fragment = FragmentNumber { number: number.into(), total };
        let piece = vec![number ^ total as u8; LENGTHS[usize::from(act >> 3) % 8]];
        self.from.seal_chain(header, PayloadType::IDI, &piece, Some(fragment), &mut SeededEntropy::new(1))
    }

    /// What `datagram` is taken for, by both; the message that is whole with it.
    fn take(&mut self, datagram: &[u8], supported: bool, authentic: bool) -> Option<(PayloadType, Vec<u8>)> {
        let message = Message::decode(datagram).ok()?;
        let Some(Payload::Skf(fragment)) = message.payloads.last() else { return None };
        let opened = self.to.open(datagram, &fragment.content).ok().map(|opened| opened.stripped().expect("padding"));
        assert_eq!(opened.is_some(), authentic, "what nobody sealed, or not what was");
        let taken = self.fragments.take(self.now, &self.to, &message.header, datagram, fragment);
        let fields = (&message.header, fragment.number, fragment.total, fragment.first_inner);
        let expected = if supported { self.modelled(fields, opened) } else { Err(IkeReason::Fragment) };
        let taken = taken.map_err(|refusal| refusal.reason);
        assert_eq!(taken, expected);
        taken.ok().flatten()
    }

    /// The same by the words of §2.6, with `piece` if it is authentic.
    fn modelled(
        &mut self,
        (header, number, total, first): (&Header, u16, u16, PayloadType),
        piece: Option<Vec<u8>>,
    ) -> Result<Option<(PayloadType, Vec<u8>)>, IkeReason> {
        assert!(number >= 1 && number <= total, "fragment {number} of {total}");
        if usize::from(total) > limits::MAX_FRAGMENTS {
            return Err(IkeReason::Fragment);
        }
        let (now, place) = (self.now, &mut self.model[usize::from(header.flags.response)]);
        let same = place.as_ref().filter(|kept| kept.id == header.message_id && now < kept.until);
        let anew = match same {
            Some(kept) if total < kept.total => return Err(IkeReason::Fragment),
            Some(kept) if total == kept.total && kept.pieces.contains_key(&number) => {
                return Err(IkeReason::Retransmitted);
            }
            Some(kept) => total > kept.total,
            None => true,
        };
        let piece = piece.ok_or(IkeReason::IntegrityFailed)?;
        let until = now + limits::REASSEMBLY_TIME;
        let fresh = || Kept { id: header.message_id, total, pieces: BTreeMap::new(), first: PayloadType::NONE, until };
        if anew {
            *place = Some(fresh());
        }
        let kept = place.get_or_insert_with(fresh);
        kept.pieces.insert(number, piece);
        if number == 1 {
            kept.first = first;
        }
        let length: usize = kept.pieces.values().map(Vec::len).sum();
        if length > limits::MAX_REASSEMBLED {
            *place = None;
            return Err(IkeReason::Fragment);
        }
        if kept.pieces.len() < usize::from(total) {
            return Ok(None);
        }
        let whole = (kept.first, kept.pieces.values().flatten().copied().collect());
        *place = None;
        Ok(Some(whole))
    }

    /// A message as the endpoint cuts it, its datagrams in some order and some of them twice.
    fn message(&mut self, header: &Header, [act, a, b, c]: [u8; 4], supported: bool) {
        let host = if c & 1 == 0 { "192.0.2.1:500" } else { "[2001:db8::1]:4500" };
        let end = host.parse().expect("an address");
        let (path, length) = (Path { local: end, remote: end }, usize::from(b) * 40);
        let payloads = [Payload::Vendor(Vendor(vec![a; length])), Payload::Vendor(Vendor(vec![b; 8]))];
        let entropy = &mut SeededEntropy::new(2);
        let outgoing = if header.flags.response {
            self.fragments.seal_response(&mut self.from, header, &payloads, path, entropy)
        } else {
            self.fragments.seal_request(&mut self.from, header, &payloads, path, entropy)
        };
        let narrow = limits::WIDE_TRANSMISSIONS + u32::from(act & 8 != 0);
        let datagrams = outgoing.datagrams(narrow).to_vec();
        let room = if path.remote.is_ipv4() { limits::UNFRAGMENTED_DATAGRAM } else { 1280 };
        assert!(
            !supported || datagrams.iter().all(|datagram| datagram.len() + 28 <= room),
            "longer than a path carries"
        );
        if datagrams.len() == 1 {
            // It is whole: no fragment.
            return;
        }
        assert!(supported, "cut for nobody");
        let turn = usize::from(c >> 1) % datagrams.len();
        let (last, first) = datagrams.split_at(turn);
        let id_is_free = self.model[usize::from(header.flags.response)].as_ref().is_none_or(|kept| {
            kept.id != header.message_id || kept.until <= self.now || usize::from(kept.total) < datagrams.len()
        });
        let datagrams = first.iter().chain(first.first()).chain(last);
        let whole = datagrams.filter_map(|datagram| self.take(datagram, supported, true)).last();
        if id_is_free {
            let (kind, inner) = chain::encode(&payloads);
            assert_eq!(whole, Some((kind, inner)), "cut, and not put together");
        }
    }
}
