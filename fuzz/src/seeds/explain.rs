//! Seeds for what `portcullis explain` reads: captures, proposals in the words of other gateways, and what was written down of
//! exchanges of every kind.

use portcullis::event::IkeReason;
use portcullis::wire::ike::chain;
use portcullis::wire::ike::numbers::{
    AuthMethod, Encr, Esn, IdType, Integ, KeMethod, NotifyType, Prf, ProtocolId, TransformType,
};
use portcullis::wire::ike::payload::{Auth, Id, Ke, Notify, Payload, Proposal, Sa, Transform};

use super::super::{explain as target, steps};
use super::{Seed, captures, ike};

/// A suite with every algorithm that such a text may name.
const ALGORITHMS: &str = "des-md5-modp768 3des-sha1-modp1024,aes128-sha256-modp1536 aes192gcm8-aesxcbc-prfaescmac-modp2048 \
    aes256gcm64-prfsha1-modp3072 aes128gcm12-prfmd5-modp4096 aesgcm96256-sha384-modp6144 aesgcm-sha512-modp8192 \
    aes256ctr/sha2_256_128/ecp256 aes256ccm16/sha2_512_256/ecp384 aes256ccm128-sha96-ecp521 aescbc256-prfaesxcbc-x448 \
    chacha20poly1305-prfsha512-x25519 null/md5_96/modp2048s256! aes256gcm128-esn aes256/sha384_192/noesn none-default \
    aes256/sha2_384/group14 aes256/sha256_128/dh19 aes256//sha1_96 ike:aes256-sha512-curve25519 ESP:NULL/HMAC_SHA1_96/EXT_SEQ";
/// Lines as they stand in the configuration of a Cisco device, and around it.
const CONFIGURED: &str = "crypto ikev2 proposal P\n encryption aes-cbc-256 aes-gcm-256\n integrity sha256 none null\n prf sha384 md5\n \
    group 19 20\n dh group 14\n encryption 3des\n integrity md5\n\n lifetime 5\n";

pub(super) fn explain() -> Vec<Seed> {
    let words = "aes256gcm16-prfsha384-ecp384,aes256-sha256-modp2048 3des-sha1-modp1024";
    let log = "received proposals: IKE:AES_CBC_256/HMAC_SHA2_256_128/PRF_HMAC_SHA2_256/MODP_2048, ESP:AES_GCM_16_256/NO_EXT_SEQ";
    let shown = " IKEv2 proposal: P1\n     Encryption : AES-CBC-256 AES-GCM-256\n     Integrity  : SHA256 none\n     PRF        : \
                 SHA256\n     DH Group   : DH_GROUP_2048_MODP/Group 14\n";
    let message = ike::ike_message().into_iter().map(|(_, bytes)| bytes).find(|bytes| bytes.get(18) == Some(&34));
    let message = message.unwrap_or_default();
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 198, 51, 100, 1];
    for word in [500, 500, message.len() as u16 + 8, 0] {
        packet.extend(word.to_be_bytes());
    }
    packet.extend(&message);
    let raw = |packets: &[Vec<u8>]| captures::pcap(captures::RAW, packets);
    let capture = raw(&[packet.clone()]);
    // Over IPv6; of other protocols, fragments and ports, shorter than they say, and behind a marker or none.
    let mut v6 = vec![0x60, 0, 0, 0, 0, 0, 17, 64];
    v6.extend([0x20; 32]);
    v6.extend(&packet[20..]);
    let edited = |edits: &[(usize, u8)]| {
        let mut packet = packet.clone();
        for (at, byte) in edits {
            packet[*at] = *byte;
        }
        packet
    };
    let others = [
        edited(&[(9, 6)]),
        edited(&[(6, 0x20)]),
        edited(&[(0, 0x44)]),
        edited(&[(20, 9), (22, 9)]),
        edited(&[(22, 0x11), (23, 0x94)]),
        edited(&[(24, 0), (25, 7)]),
        edited(&[(24, 0xff)]),
        edited(&[(0, 0x70)]),
        packet[..7].to_vec(),
        packet[..14].to_vec(),
        packet[..22].to_vec(),
        Vec::new(),
    ];
    let mut seeds = vec![
        ("words", words.as_bytes().to_vec()),
        ("log", log.as_bytes().to_vec()),
        ("shown", shown.as_bytes().to_vec()),
        ("message", message),
        ("capture", capture),
        ("capture_v6", raw(&[v6.clone(), v6[..44].to_vec()])),
        ("capture_others", raw(&others)),
        ("algorithms", ALGORITHMS.as_bytes().to_vec()),
        ("no_algorithm", b"aes256-rot13\x1b-modp2048".to_vec()),
        ("no_size", b"aes300-sha256".to_vec()),
        ("no_mode", b"aes256xts".to_vec()),
        ("nothing", b" , ".to_vec()),
        ("configured", CONFIGURED.as_bytes().to_vec()),
        ("configured_other", b"encryption aes-cbc-256\nintegrity aes256\n".to_vec()),
        ("many", "encryption des\n".repeat(70).into_bytes()),
    ];
    seeds.extend(accounts());
    seeds
}

/// What one page holds: the byte that names its topic, how it ended, and payloads.
fn page(what: u8, end: u8, payloads: &[Payload]) -> (u8, Vec<u8>) {
    let mut with = vec![end];
    for payload in payloads {
        let (kind, bytes) = chain::encode(std::slice::from_ref(payload));
        steps::put(&mut with, kind.0, &bytes[4..]);
    }
    (what, with)
}

fn proposal(esp: bool, transforms: &[Transform]) -> Payload {
    let protocol = if esp { ProtocolId::ESP } else { ProtocolId::IKE };
    let spi = if esp { vec![1, 2, 3, 4] } else { Vec::new() };
    Payload::Sa(Sa { proposals: vec![Proposal { number: 1, protocol, spi, transforms: transforms.to_vec() }] })
}

/// Everything that a peer may say in one message of an exchange, by a name.
fn said() -> Vec<(&'static str, Vec<Payload>)> {
    let (gcm, short) = (Transform::encr(Encr::AES_GCM_16, Some(256)), Transform::encr(Encr::AES_GCM_16, Some(128)));
    let cbc = Transform::encr(Encr::AES_CBC, Some(256));
    let (prf, group) = (Transform::prf(Prf::HMAC_SHA2_384), Transform::ke(KeMethod::ECP_384));
    let (md5, old) = (Transform::prf(Prf::HMAC_MD5), Transform::ke(KeMethod::MODP_1024));
    let mac = Transform::integ(Integ::HMAC_SHA2_256_128);
    let ids = |initiator: &str, responder: &str, method| {
        vec![
            Payload::IdI(Id::new(IdType::FQDN, initiator.as_bytes().to_vec())),
            Payload::IdR(Id::new(IdType::FQDN, responder.as_bytes().to_vec())),
            Payload::Auth(Auth { method, data: vec![7; 8] }),
        ]
    };
    let hosts = |local, remote| {
        vec![
            proposal(true, &[gcm.clone(), group.clone(), Transform::esn(Esn::YES)]),
            Payload::TsI(ike::ts_v4(local)),
            Payload::TsR(ike::ts_v4(remote)),
        ]
    };
    let odd = [gcm.clone(), prf.clone(), group.clone(), Transform::new(TransformType(200), 7)];
    let more = [gcm.clone(), prf.clone(), group.clone(), Transform::additional(1, KeMethod::ML_KEM_768)];
    vec![
        ("said_nothing", vec![]),
        ("said_error", vec![Payload::Notify(Notify::error(NotifyType::NO_PROPOSAL_CHOSEN))]),
        ("said_failed", vec![Payload::Notify(Notify::error(NotifyType::AUTHENTICATION_FAILED))]),
        ("said_group", vec![Payload::Notify(Notify::invalid_ke(KeMethod::CURVE25519))]),
        (
            "said_fitting",
            vec![
                proposal(false, &[gcm.clone(), prf.clone(), group.clone()]),
                Payload::Ke(Ke { method: KeMethod::MODP_2048, data: vec![1] }),
            ],
        ),
        ("said_shorter", vec![proposal(false, &[short.clone(), prf.clone(), group.clone()])]),
        ("said_cbc", vec![proposal(false, &[cbc.clone(), mac.clone(), prf.clone(), group.clone()])]),
        ("said_prf", vec![proposal(false, &[gcm.clone(), md5, group.clone()])]),
        (
            "said_mac",
            vec![proposal(false, &[cbc.clone(), Transform::integ(Integ::HMAC_MD5_96), prf.clone(), group.clone()])],
        ),
        ("said_old_group", vec![proposal(false, &[gcm.clone(), prf.clone(), old.clone()])]),
        ("said_odd", vec![proposal(false, &odd)]),
        ("said_more", vec![proposal(false, &more)]),
        ("said_esp", vec![proposal(true, &[gcm.clone(), Transform::esn(Esn::NO)])]),
        ("said_esp_short", vec![proposal(true, &[short, group.clone(), Transform::esn(Esn::YES)])]),
        ("said_esp_cbc", vec![proposal(true, &[cbc, mac, old, Transform::esn(Esn::YES)])]),
        ("said_hosts", hosts([192, 0, 2, 10], [203, 0, 113, 20])),
        ("said_our_host", hosts([192, 0, 2, 10], [9, 9, 9, 9])),
        ("said_their_host", hosts([203, 0, 113, 20], [9, 9, 9, 9])),
        ("said_no_host", hosts([9, 9, 9, 9], [9, 9, 9, 9])),
        ("said_names", ids("other.example", "gw.example", AuthMethod::SHARED_KEY)),
        ("said_wrong_name", ids("somebody", "gw.example", AuthMethod::SHARED_KEY)),
        ("said_other_name", ids("other.example", "somebody", AuthMethod::SHARED_KEY)),
        ("said_certificate", ids("other.example", "gw.example", AuthMethod::ECDSA_384)),
        ("said_no_proof", ids("other.example", "gw.example", AuthMethod::NULL)),
    ]
}

/// Each of it in exchanges of every kind, with every end that is explained in words of its own.
fn accounts() -> Vec<Seed> {
    let reasons = [
        IkeReason::NoProposalChosen,
        IkeReason::InvalidKe,
        IkeReason::TsUnacceptable,
        IkeReason::AuthenticationFailed,
        IkeReason::TimedOut,
        IkeReason::WrongIdentity,
    ];
    let place = |reason: &IkeReason| IkeReason::ALL.iter().position(|of| of == reason).expect("one of all") as u8 + 2;
    let ends: Vec<u8> = [0, 1].into_iter().chain(reasons.iter().map(place)).collect();
    let seed = |(number, (name, payloads)): (usize, (&'static str, Vec<Payload>))| {
        // Each device after the other, and each tunnel with each of them.
        let mut bytes = vec![target::ACCOUNT, (number * 5 % 16) as u8];
        for (at, end) in ends.iter().enumerate() {
            for topic in 0..6 {
                // Ours and theirs, proved or not, with and without words, in turn.
                let flags = ((at as u8 + topic) % 8) << 3;
                let (what, with) = page(topic | flags, *end, &payloads);
                steps::put(&mut bytes, what, &with);
            }
        }
        (name, bytes)
    };
    said().into_iter().enumerate().map(seed).collect()
}
