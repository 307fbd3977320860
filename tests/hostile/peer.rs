//! A peer of the daemon that holds the keys: our own IKE endpoint over a real socket, and SAs that seal anything.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use portcullis::config;
use portcullis::crypto::aead::{AeadKey, TAG_LEN};
use portcullis::crypto::suite::Cipher;
use portcullis::esp::inbound_sa::InboundSa;
use portcullis::ike::api::{Input, KeyLog, Output};
use portcullis::ike::config::Config;
use portcullis::ike::endpoint::Endpoint;
use portcullis::platform::clock;
use portcullis::platform::entropy::OsEntropy;
use portcullis::sa::child::OutboundSpec;
use portcullis::sa::command::SadCommand;
use portcullis::sa::spi::Spi;
use portcullis::time::Instant;
use portcullis::wire::esp::{EspHeader, TRAILER_LEN, padding_for};
use portcullis::wire::ike::chain;
use portcullis::wire::ike::header::{Flags, Header};
use portcullis::wire::ike::numbers::{ExchangeType, NotifyType, PayloadType};
use portcullis::wire::ike::payload::{Delete, Notify, Payload};
use portcullis::wire::ike::sealed::{self, CipherShape};

use super::packets::{Content, Dice};

const SHAPE: CipherShape = CipherShape { iv_len: 8, block_len: 1, icv_len: TAG_LEN };

/// An IKE message on its way.
pub struct Message {
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub bytes: Vec<u8>,
}

/// The sending half of a child SA that seals whatever it is given.
pub struct Sealer {
    spi: Spi,
    key: AeadKey,
    esn: bool,
    last: u64,
    pub v6: bool,
}

impl Sealer {
    fn new(spec: &OutboundSpec) -> Self {
        assert_eq!(spec.child.cipher, Cipher::Aes256Gcm16, "the one suite of the file");
        Self {
            spi: spec.spi,
            key: AeadKey::new(Cipher::Aes256Gcm16, spec.keys.cipher.expose()),
            esn: spec.child.esn,
            last: 0,
            v6: spec.child.local.iter().any(|selector| selector.start.is_ipv6()),
        }
    }

    pub fn spi(&self) -> u32 {
        self.spi.get()
    }

    /// The last sequence number used.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// An ESP packet with the next number (RFC 4303 §2, RFC 4106).
    pub fn seal(&mut self, content: &Content) -> Vec<u8> {
        self.last += 1;
        let sequence = self.last;
        let inner = &content.inner;
        let padding = padding_for(inner.len(), 4);
        let first = inner.first().map_or(4, |first| first >> 4);
        let mut plaintext = Vec::with_capacity(inner.len() + padding + TRAILER_LEN);
        plaintext.extend(inner);
        plaintext.extend((1..=padding as u8).map(|byte| if content.bad_padding { !byte } else { byte }));
        // A pad length beyond the packet is wrong also where there is no padding.
        plaintext.push(if content.bad_padding { 255 } else { padding as u8 });
        plaintext.push(content.next_header.unwrap_or(if first == 6 { 41 } else { 4 }));

        let header = EspHeader { spi: self.spi.get(), sequence: sequence as u32 }.encode();
        let mut aad = self.spi.get().to_be_bytes().to_vec();
        aad.extend(if self.esn { sequence.to_be_bytes().to_vec() } else { (sequence as u32).to_be_bytes().to_vec() });
        let iv = sequence.to_be_bytes();
        let tag = self.key.seal(iv, &aad, &mut plaintext);
        let mut out = Vec::with_capacity(plaintext.len() + 40);
        for part in [&header[..], &iv, &plaintext, &tag] {
            out.extend(part);
        }
        out
    }
}

/// The keys of an IKE SA, as the key log gives them, and where its window stands.
struct IkeKeys {
    spis: [u64; 2],
    ours: AeadKey,
    next_id: u32,
}

/// The receiving and the sending half of one child SA.
pub struct Child {
    inbound: InboundSa,
    pub sealer: Option<Sealer>,
}

/// One peer.
pub struct Peer {
    endpoint: Endpoint,
    pub address: IpAddr,
    pub children: Vec<Child>,
    pub outgoing: Vec<Message>,
    /// The first message that it sent: an honest IKE_SA_INIT.
    pub first: Vec<u8>,
    keys: Option<IkeKeys>,
    wake: Option<Instant>,
    /// How many messages of an exchange that is none have been sealed.
    pub garbage: usize,
}

/// Reads a peer's configuration file.
pub fn read(file: &Path) -> Arc<Config> {
    config::load(file).unwrap_or_else(|error| panic!("the peer's file: {error:?}")).ike
}

impl Peer {
    /// Begins to negotiate.
    pub fn start(config: Arc<Config>, address: IpAddr) -> Self {
        let endpoint = Endpoint::new(config, Box::new(OsEntropy), true);
        let mut peer = Self {
            endpoint,
            address,
            children: Vec::new(),
            outgoing: Vec::new(),
            first: Vec::new(),
            keys: None,
            wake: None,
            garbage: 0,
        };
        peer.handle(Input::Timeout);
        peer
    }

    /// Whether it holds keys of `children` child SAs.
    pub fn is_up(&self, children: usize) -> bool {
        self.children.iter().filter(|child| child.sealer.is_some()).count() >= children
    }

    /// Whether its timer is due.
    pub fn tend(&mut self, now: Instant) {
        if self.wake.is_some_and(|at| at <= now) {
            self.handle(Input::Timeout);
        }
    }

    fn handle(&mut self, input: Input<'_>) {
        let now = clock::now();
        self.endpoint.handle(now, input);
        loop {
            match self.endpoint.poll_output() {
                Output::Transmit { local, remote, bytes } => {
                    if self.first.is_empty() {
                        self.first.clone_from(&bytes);
                    }
                    self.outgoing.push(Message { local, remote, bytes });
                }
                Output::Sad(command) => self.obey(now, command),
                Output::KeyLog(KeyLog::Ike(line)) => self.learn(&line),
                Output::KeyLog(KeyLog::Esp(_))
                | Output::Event(_)
                | Output::Keepalive { .. }
                | Output::Addresses { .. } => {}
                Output::Timeout(at) => {
                    self.wake = at;
                    return;
                }
            }
        }
    }

    fn obey(&mut self, now: Instant, command: SadCommand) {
        match command {
            SadCommand::InstallInbound(spec) => {
                self.children.push(Child { inbound: InboundSa::new(*spec, now), sealer: None });
            }
            SadCommand::InstallOutbound(spec) => {
                let child = self.children.iter_mut().find(|child| child.inbound.spi() == spec.inbound);
                child.expect("the inbound half comes first").sealer = Some(Sealer::new(&spec));
            }
            SadCommand::RemoveInbound(spi) => self.children.retain(|child| child.inbound.spi() != spi),
            SadCommand::ExpectInbound(_) | SadCommand::RemoveOutbound { .. } | SadCommand::Redirect { .. } => {}
        }
    }

    /// An IKE message of the daemon.
    pub fn hear(&mut self, local: SocketAddr, remote: SocketAddr, bytes: &[u8]) {
        if let (Some(keys), Ok(header)) = (&mut self.keys, Header::decode(bytes))
            && header.flags.response
            && header.initiator_spi == keys.spis[0]
        {
            keys.next_id = keys.next_id.max(header.message_id.wrapping_add(1));
        }
        // After the first garbage the endpoint and the daemon do not speak of the same exchanges any more.
        if self.garbage == 0 {
            self.handle(Input::Datagram { local, remote, bytes });
        }
    }

    /// Opens an ESP packet of the daemon and gives the inner packet.
    pub fn open<'p>(&mut self, packet: &'p mut [u8]) -> Option<&'p [u8]> {
        let header = EspHeader::parse(packet).ok()?;
        let child = self.children.iter_mut().find(|child| child.inbound.spi().get() == header.spi)?;
        let place = child.inbound.receive(clock::now(), header.sequence, packet).ok()?.inner.ok()?;
        packet.get(place)
    }

    /// The SA for IPv4, or that for IPv6.
    pub fn sealer(&mut self, v6: bool) -> Option<&mut Sealer> {
        self.children.iter_mut().filter_map(|child| child.sealer.as_mut()).find(|sealer| sealer.v6 == v6)
    }

    /// Reads a line of `ikev2_decryption_table`: SPIs, keys of the initiator and of the responder. The peer is always the
    /// initiator.
    fn learn(&mut self, line: &str) {
        let fields: Vec<&str> = line.split(',').collect();
        let spi = |at: usize| u64::from_str_radix(fields[at], 16).expect("an SPI");
        let key = hex::decode(fields[2]).expect("a key");
        // IKE_SA_INIT and IKE_AUTH have taken the first two numbers.
        self.keys = Some(IkeKeys { spis: [spi(0), spi(1)], ours: AeadKey::new(Cipher::Aes256Gcm16, &key), next_id: 2 });
    }

    /// A message that is sealed with the right key and that no exchange has: `None` while there is no key.
    pub fn seal_garbage(&mut self, dice: &mut Dice) -> Option<Vec<u8>> {
        let up = self.is_up(1);
        let keys = self.keys.as_mut().filter(|_| up)?;
        self.garbage += 1;
        let (first, inner) = inner_chain(dice);
        let response = dice.one_in(8);
        let message_id = if dice.one_in(4) { dice.roll() as u32 % 16 } else { keys.next_id };
        let header = Header {
            initiator_spi: keys.spis[0],
            responder_spi: keys.spis[1],
            next_payload: PayloadType::SK,
            major: 2,
            minor: 0,
            exchange: ExchangeType(34 + dice.byte() % 5),
            flags: Flags { initiator: !dice.one_in(16), version: dice.one_in(16), response },
            message_id,
            length: 0,
        };
        let laid = sealed::lay_out(&header, first, &inner, None, SHAPE).expect("it is short");
        let mut bytes = laid.bytes;
        let iv: [u8; 8] = dice.roll().to_be_bytes();
        bytes[laid.parts.iv.clone()].copy_from_slice(&iv);
        let (head, tail) = bytes.split_at_mut(laid.parts.ciphertext.start);
        let len = laid.parts.ciphertext.len();
        let tag = keys.ours.seal(iv, &head[laid.parts.associated], &mut tail[..len]);
        tail[len..].copy_from_slice(&tag);
        Some(bytes)
    }
}

/// A chain of payloads, more or less: honest ones with bytes changed, or none that anybody knows.
fn inner_chain(dice: &mut Dice) -> (PayloadType, Vec<u8>) {
    let notify = Notify::status(NotifyType(dice.word()), dice.bytes(12));
    let payloads = match dice.below(5) {
        0 => vec![],
        1 => vec![Payload::Notify(notify)],
        2 => vec![Payload::Delete(Delete::esp([dice.roll() as u32, dice.roll() as u32]))],
        3 => vec![Payload::Delete(Delete::ike())],
        _ => {
            // Types that exist, lengths that may not.
            let first = PayloadType(33 + dice.byte() % 22);
            let mut inner = Vec::new();
            for _ in 0..dice.below(6) {
                let len = dice.below(60);
                let claimed = if dice.one_in(4) { dice.word() } else { len as u16 + 4 };
                inner.extend([33 + dice.byte() % 22, dice.byte() & 0x80]);
                inner.extend(claimed.to_be_bytes());
                inner.extend(dice.bytes(len));
            }
            return (first, inner);
        }
    };
    let (first, mut inner) = chain::encode(&payloads);
    for _ in 0..dice.below(3) {
        if !inner.is_empty() {
            let at = dice.below(inner.len());
            inner[at] = dice.byte();
        }
    }
    (first, inner)
}
