//! A peer that holds the keys and says what no exchange would: it opens what its own gateway sends, changes it and seals it again,
//! and it makes up requests. The keys come from the key log, so the endpoint needs no door for this.

use super::dice::Dice;
use super::network::{Body, Frame};
use super::world::{Origin, World};
use crate::crypto::aead::{AeadKey, TAG_LEN};
use crate::crypto::cbc_hmac::CbcHmacKey;
use crate::crypto::suite::{Cipher, Mac};
use crate::wire::ike::chain;
use crate::wire::ike::header::{Flags, Header};
use crate::wire::ike::message::Message;
use crate::wire::ike::numbers::{ExchangeType, KeMethod, NotifyType, PayloadType, ProtocolId};
use crate::wire::ike::payload::{Delete, Ke, Nonce, Notify, Payload, Proposal, Sa, Transform, Ts, TsRange};
use crate::wire::ike::sealed::{self, CipherShape, FragmentNumber, SealedParts};

/// Which gateway it is.
pub const GATEWAY: usize = 1;

/// The keys of one direction of an IKE SA.
enum Key {
    Aead(AeadKey),
    CbcHmac(CbcHmacKey),
}

/// Seals and opens with the keys of a line of the key log.
pub struct Sealer {
    key: Key,
    shape: CipherShape,
}

impl Sealer {
    /// From a line of Wireshark's table; `initiator`: the keys of what the original initiator sends.
    #[must_use]
    pub fn from_line(line: &str, initiator: bool) -> Option<Self> {
        let fields: Vec<&str> = line.split(',').collect();
        let [_, _, ei, er, encryption, ai, ar, integrity] = fields[..] else { return None };
        let bytes = |of: [&str; 2]| hex::decode(of[usize::from(!initiator)]).ok();
        let (encryption_key, integrity_key) = (bytes([ei, er])?, bytes([ai, ar])?);
        let mac = [("256_128", Mac::HmacSha256), ("384_192", Mac::HmacSha384), ("512_256", Mac::HmacSha512)];
        let mac = mac.into_iter().find(|(name, _)| integrity.contains(name)).map(|(_, mac)| mac);
        let cipher = match encryption {
            name if name.contains("GCM-256") => Cipher::Aes256Gcm16,
            name if name.contains("GCM-128") => Cipher::Aes128Gcm16,
            _ => Cipher::Aes256Cbc,
        };
        let shape = CipherShape {
            iv_len: cipher.iv_len(),
            block_len: cipher.block_len(),
            icv_len: mac.map_or(TAG_LEN, Mac::icv_len),
        };
        let key = match mac {
            Some(mac) if !cipher.is_aead() => Key::CbcHmac(CbcHmacKey::new(mac, &encryption_key, &integrity_key)),
            _ => Key::Aead(AeadKey::new(cipher, &encryption_key)),
        };
        Some(Self { key, shape })
    }

    /// What is inside a message.
    #[must_use]
    pub fn open(&self, datagram: &[u8]) -> Option<(PayloadType, Vec<u8>)> {
        let message = Message::decode(datagram).ok()?;
        let Some(Payload::Sk(sk)) = message.payloads.last() else { return None };
        let parts = sealed::parts(&sk.content, self.shape)?;
        let mut plain = datagram.get(parts.ciphertext)?.to_vec();
        let iv = datagram.get(parts.iv)?;
        match &self.key {
            Key::Aead(key) => {
                let tag = datagram.get(parts.icv)?.try_into().ok()?;
                key.open(iv.try_into().ok()?, datagram.get(parts.associated)?, &mut plain, tag).ok()?;
            }
            Key::CbcHmac(key) => key.decrypt(iv.try_into().ok()?, &mut plain),
        }
        Some((sk.first_inner, sealed::strip_padding(&plain).ok()?.to_vec()))
    }

    /// One message, or one fragment of it, under an IV of its own.
    #[must_use]
    pub fn seal(
        &self,
        header: &Header,
        (first, inner): (PayloadType, &[u8]),
        fragment: Option<FragmentNumber>,
        iv: u64,
    ) -> Option<Vec<u8>> {
        let mut message = sealed::lay_out(header, first, inner, fragment, self.shape).ok()?;
        let SealedParts { associated, iv: iv_at, ciphertext, icv } = message.parts.clone();
        match &self.key {
            Key::Aead(key) => {
                // Far from where the gateway itself counts.
                let counter = (iv | 1 << 63).to_be_bytes();
                message.bytes[iv_at].copy_from_slice(&counter);
                let (head, tail) = message.bytes.split_at_mut(ciphertext.start);
                let tag = key.seal(counter, &head[associated], &mut tail[..ciphertext.len()]);
                message.bytes[icv].copy_from_slice(&tag);
            }
            Key::CbcHmac(key) => {
                let vector: [u8; 16] = [iv.to_be_bytes(), iv.to_be_bytes()].concat().try_into().ok()?;
                message.bytes[iv_at].copy_from_slice(&vector);
                key.encrypt(&vector, &mut message.bytes[ciphertext]);
                let tag = key.mac(&[&message.bytes[..icv.start]]);
                message.bytes[icv].copy_from_slice(tag.as_bytes());
            }
        }
        Some(message.bytes)
    }
}

impl World {
    fn sealer(&self, header: &Header) -> Option<Sealer> {
        let spis = [header.initiator_spi, header.responder_spi].map(|spi| format!("{spi:016x}"));
        let lines = self.ledger.ike_keys.get(&spis)?;
        let line = lines.get(&GATEWAY).or_else(|| lines.values().next())?;
        Sealer::from_line(line, header.flags.initiator)
    }

    /// The hostile gateway sends a frame: it may become another one.
    pub(super) fn corrupt_from_within(&mut self, _gateway: usize, frame: &mut Frame) -> Origin {
        let hostility = self.plan.hostility;
        if !self.hostile_dice.chance(hostility) {
            return Origin::Gateway;
        }
        let Body::Ike(bytes) = &mut frame.body else { return Origin::Gateway };
        let Ok(header) = Header::decode(bytes) else { return Origin::Gateway };
        if header.exchange == ExchangeType::IKE_SA_INIT {
            let Ok(mut message) = Message::decode(bytes) else { return Origin::Gateway };
            twist(&mut message.payloads, &mut self.hostile_dice);
            *bytes = message.encode();
            return Origin::Hostile;
        }
        let Some(sealer) = self.sealer(&header) else { return Origin::Gateway };
        let Some((first, mut inner)) = sealer.open(bytes) else { return Origin::Gateway };
        let dice = &mut self.hostile_dice;
        let mut first = first;
        if dice.chance(250) && !inner.is_empty() {
            for _ in 0..dice.between(1, 3) {
                let at = dice.index(inner.len());
                inner[at] ^= 1 << dice.below(8);
            }
        } else if let Ok(mut payloads) = chain::decode_inner(first, &inner) {
            twist(&mut payloads, dice);
            (first, inner) = chain::encode(&payloads);
        }
        let iv = dice.next();
        if let Some(changed) = sealer.seal(&header, (first, &inner), None, iv) {
            *bytes = changed;
        }
        Origin::Hostile
    }

    /// The hostile gateway says something of its own in one of its IKE SAs.
    pub(super) fn say_what_is_not_so(&mut self) {
        let probe = match &self.gateways[GATEWAY].endpoint {
            Some(endpoint) => endpoint.probe(),
            None => return,
        };
        if probe.is_empty() {
            return;
        }
        let dice = &mut self.hostile_dice;
        let sa = &probe[dice.index(probe.len())];
        let response = dice.chance(300);
        let exchange = dice.pick(&[
            ExchangeType::CREATE_CHILD_SA,
            ExchangeType::CREATE_CHILD_SA,
            ExchangeType::INFORMATIONAL,
            ExchangeType::IKE_AUTH,
            ExchangeType::IKE_SA_INIT,
            ExchangeType(43),
            ExchangeType(44),
        ]);
        let next = sa.next[usize::from(response)];
        let message_id = next.wrapping_add(dice.pick(&[0, 0, 0, 0, 1, u32::MAX, u32::MAX - 1, 7]));
        let header = Header {
            initiator_spi: sa.spis[0],
            responder_spi: sa.spis[1],
            next_payload: PayloadType::NONE,
            major: 2,
            minor: 0,
            exchange,
            flags: Flags { initiator: sa.initiator, version: false, response },
            message_id,
            length: 0,
        };
        let of = &self.plan.tunnels[usize::from(sa.tunnel.0)];
        let children: Vec<u32> = sa.children.iter().map(|child| child.inbound).collect();
        let victim = if of.ends[0] == GATEWAY { of.ends[1] } else { of.ends[0] };
        let destination =
            std::net::SocketAddr::new(self.plan.public_address(victim, self.gateways[victim].place), sa.path[1].port());
        let source = std::net::SocketAddr::new(self.plan.addresses(GATEWAY)[1], sa.path[0].port());
        let payloads = makes_up(dice, &children);
        let (first, inner) = chain::encode(&payloads);
        let iv = dice.next();
        let Some(sealer) = self.sealer(&header) else { return };
        let Some(bytes) = sealer.seal(&header, (first, &inner), None, iv) else { return };
        let frame = Frame { source, destination, body: Body::Ike(bytes) };
        self.note(|| {
            format!("hostile: {exchange} {} {message_id} {payloads:?}", if response { "response" } else { "request" })
        });
        self.at(self.now + 1_000_000, super::world::Action::Arrive { to: victim, frame, origin: Origin::Hostile });
    }
}

fn range(dice: &mut Dice) -> Ts {
    let wide: [&str; 3] = ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16"];
    let ranges = (0..dice.between(1, 3)).filter_map(|_| {
        let net = dice.pick(&wide).parse().ok()?;
        crate::policy::selector::TrafficSelector::any(net).to_wire()
    });
    Ts::ranges(ranges.collect::<Vec<TsRange>>())
}

fn proposal(dice: &mut Dice, number: u8) -> Proposal {
    use crate::wire::ike::numbers::{Encr, Esn, Integ, Prf};
    let ike = dice.chance(400);
    let mut transforms =
        vec![Transform::encr(dice.pick(&[Encr::AES_GCM_16, Encr::AES_CBC]), dice.pick(&[Some(256), Some(128), None]))];
    if dice.chance(800) {
        transforms.push(Transform::ke(dice.pick(&[
            KeMethod::CURVE25519,
            KeMethod::MODP_2048,
            KeMethod(0),
            KeMethod(1025),
        ])));
    }
    if ike {
        transforms.push(Transform::prf(Prf::HMAC_SHA2_256));
    } else {
        transforms.push(Transform::esn(dice.pick(&[Esn::YES, Esn::NO])));
    }
    if dice.chance(200) {
        transforms.push(Transform::integ(Integ::HMAC_SHA2_256_128));
    }
    let spi_len = if ike { dice.pick(&[8, 8, 8, 0, 4]) } else { dice.pick(&[4, 4, 4, 8, 0]) };
    let spi = dice.next().to_be_bytes()[..spi_len].to_vec();
    Proposal { number, protocol: if ike { ProtocolId::IKE } else { ProtocolId::ESP }, spi, transforms }
}

fn one(dice: &mut Dice, children: &[u32]) -> Payload {
    let spi = if children.is_empty() || dice.chance(200) { dice.next() as u32 } else { dice.pick(children) };
    match dice.below(12) {
        0 => {
            Payload::Sa(Sa { proposals: (1..=dice.between(1, 3)).map(|number| proposal(dice, number as u8)).collect() })
        }
        1 => Payload::Nonce(Nonce(vec![dice.next() as u8; dice.pick(&[0, 15, 16, 32, 256, 257])])),
        2 => Payload::Ke(Ke {
            method: dice.pick(&[KeMethod::CURVE25519, KeMethod(1025), KeMethod::MODP_2048]),
            data: vec![dice.pick(&[0, 1, 0xff, 9]); dice.pick(&[0, 31, 32, 256])],
        }),
        3 => Payload::TsI(range(dice)),
        4 => Payload::TsR(range(dice)),
        5 => Payload::Notify(Notify::about_esp(NotifyType::REKEY_SA, spi)),
        6 => Payload::Delete(Delete::esp([spi])),
        7 => Payload::Delete(Delete::ike()),
        8 => Payload::Unknown { kind: PayloadType(200), critical: dice.chance(300), body: vec![1, 2, 3] },
        _ => {
            let kind = dice.pick(&[
                NotifyType::TEMPORARY_FAILURE,
                NotifyType::CHILD_SA_NOT_FOUND,
                NotifyType::NO_ADDITIONAL_SAS,
                NotifyType::INVALID_SYNTAX,
                NotifyType::NO_PROPOSAL_CHOSEN,
                NotifyType::TS_UNACCEPTABLE,
                NotifyType::AUTHENTICATION_FAILED,
                NotifyType::INVALID_KE_PAYLOAD,
                NotifyType::COOKIE,
                NotifyType::INITIAL_CONTACT,
                NotifyType(16_404),
                NotifyType(40_000),
            ]);
            Payload::Notify(Notify::status(kind, vec![0; dice.pick(&[0, 1, 2, 64])]))
        }
    }
}

/// A message out of nothing: often what CREATE_CHILD_SA needs, so that it is looked at.
fn makes_up(dice: &mut Dice, children: &[u32]) -> Vec<Payload> {
    if dice.chance(400) {
        let mut payloads = vec![
            Payload::Sa(Sa { proposals: vec![proposal(dice, 1)] }),
            Payload::Nonce(Nonce(dice.next().to_be_bytes().repeat(4))),
            Payload::Ke(Ke { method: KeMethod::CURVE25519, data: dice.next().to_be_bytes().repeat(4) }),
            Payload::TsI(range(dice)),
            Payload::TsR(range(dice)),
        ];
        if dice.chance(400) {
            payloads.insert(0, one(dice, children));
        }
        return payloads;
    }
    (0..dice.below(5)).map(|_| one(dice, children)).collect()
}

/// Payloads go, come, come twice, change places or contents.
fn twist(payloads: &mut Vec<Payload>, dice: &mut Dice) {
    for _ in 0..dice.between(1, 2) {
        if payloads.is_empty() {
            payloads.push(one(dice, &[]));
            continue;
        }
        let at = dice.index(payloads.len());
        match dice.below(6) {
            0 => {
                payloads.remove(at);
            }
            1 => {
                let copy = payloads[at].clone();
                payloads.push(copy);
            }
            2 => {
                let other = dice.index(payloads.len());
                payloads.swap(at, other);
            }
            3 => payloads[at] = one(dice, &[]),
            4 => payloads.insert(at, one(dice, &[])),
            _ => change(&mut payloads[at], dice),
        }
    }
}

fn change(payload: &mut Payload, dice: &mut Dice) {
    match payload {
        Payload::Sa(sa) => {
            if dice.chance(500) {
                sa.proposals.push(proposal(dice, 2));
            } else if let Some(first) = sa.proposals.first_mut() {
                first.transforms.pop();
            }
        }
        Payload::Ke(ke) => ke.data = vec![dice.pick(&[0, 1, 0xff]); ke.data.len()],
        Payload::Nonce(nonce) => nonce.0.truncate(dice.index(40)),
        Payload::TsI(ts) | Payload::TsR(ts) => *ts = range(dice),
        Payload::Auth(auth) if !auth.data.is_empty() => {
            let at = dice.index(auth.data.len());
            auth.data[at] ^= 1 << dice.below(8);
        }
        Payload::Notify(notify) => notify.kind = NotifyType(dice.next() as u16),
        Payload::Delete(delete) => *delete = Delete::ike(),
        other => *other = one(dice, &[]),
    }
}
