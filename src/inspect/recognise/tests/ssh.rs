//! SSH.

use super::*;

const BANNER: &[u8] = b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n";
/// What OpenSSH 9.2 offers by itself.
const USUAL: &str =
    "chacha20-poly1305@openssh.com,aes128-ctr,aes192-ctr,aes256-ctr,aes128-gcm@openssh.com,aes256-gcm@openssh.com";
const STRONG: &str = "aes256-gcm@openssh.com,aes256-ctr";

fn packet(payload: &[u8]) -> Vec<u8> {
    let padding = 4 + (8 - (payload.len() + 9) % 8) % 8;
    let length = u32::try_from(1 + payload.len() + padding).unwrap();
    let mut out = length.to_be_bytes().to_vec();
    out.push(u8::try_from(padding).unwrap());
    out.extend(payload);
    out.resize(out.len() + padding, 0x77);
    out
}

fn kexinit(there: &str, back: &str) -> Vec<u8> {
    let mut payload = vec![20];
    payload.extend([0x55; 16]);
    let macs = "hmac-sha2-256-etm@openssh.com,hmac-sha2-512";
    for list in ["curve25519-sha256,ecdh-sha2-nistp384", "ssh-ed25519", there, back, macs, macs, "none", "none", "", ""]
    {
        payload.extend(u32::try_from(list.len()).unwrap().to_be_bytes());
        payload.extend(list.as_bytes());
    }
    payload.extend([0; 5]);
    packet(&payload)
}

fn any() -> Inspection {
    Inspection::of(crate::policy::Service::Sftp)
}

/// A whole key exchange, with what each side offers both ways.
fn exchange(client: &str, server: &str) -> Vec<Turn> {
    vec![
        responder(BANNER),
        opener(BANNER),
        opener(kexinit(client, client)),
        responder(kexinit(server, server)),
        opener(packet(&[30; 40])),
        responder([packet(&[31; 300]), packet(&[21])].concat()),
        opener(packet(&[21])),
        opener(b"\xee\x02 sealed"),
        responder(b"sealed as well"),
    ]
}

#[test]
fn a_key_exchange_with_aes_256_passes_and_what_follows_is_not_heard() {
    for (client, server) in [(STRONG, USUAL), (STRONG, STRONG), ("unknown@x,aes256-ctr", USUAL)] {
        assert_eq!(verdict(&any(), 22, &exchange(client, server)), Heard::Passed { settled: true });
    }
    // Either side may be first with everything.
    let mut turns = exchange(STRONG, USUAL);
    turns.swap(0, 1);
    turns.swap(2, 3);
    assert_eq!(verdict(&any(), 22, &turns), Heard::Passed { settled: true });
    let mut recogniser = Recogniser::of(&any(), 22).unwrap();
    for (place, (by, bytes)) in turns.iter().enumerate() {
        assert_eq!(recogniser.settled(), place > 6);
        recogniser.hear(&any(), *by, bytes).unwrap();
    }
    assert_eq!([Speaker::Opener, Speaker::Responder].map(|side| recogniser.unheard(side)), [FOR_EVER; 2]);
}

#[test]
fn the_first_of_the_clients_ciphers_that_the_server_has_decides_each_way() {
    let told = |client, server| match verdict(&any(), 22, &exchange(client, server)) {
        Heard::Stopped { reason, by, .. } => Some((reason, by)),
        Heard::Passed { .. } => None,
    };
    let cipher = Some((DropReason::SshCipher, Speaker::Responder));
    assert_eq!(told(USUAL, USUAL), cipher, "ChaCha20 comes first");
    assert_eq!(told(USUAL, STRONG), None, "the server has nothing else");
    assert_eq!(told("aes128-ctr,aes256-ctr", USUAL), cipher);
    assert_eq!(told("aes128-ctr,aes256-ctr", "aes256-ctr"), None);
    assert_eq!(told("aes128-ctr,aes256-ctr", "aes256-ctr,aes128-ctr"), cipher, "the client's order counts");
    assert_eq!(told("aes256-ctr,aes128-ctr", "aes128-ctr,aes256-ctr"), None);
    assert_eq!(told("aes256-ctr", "aes128-ctr"), cipher, "none in common");
    assert_eq!(told("odd@x,aes256-ctr", "odd@x"), cipher, "one that nobody knows");
    assert_eq!(told("aes256-ctrx", "aes256-ctrx"), cipher);
    assert_eq!(told("aes256-ct", "aes256-ct"), cipher);
    // Only the way back is weak.
    let turns =
        [responder(BANNER), opener(BANNER), responder(kexinit(USUAL, USUAL)), opener(kexinit(STRONG, "aes128-ctr"))];
    let Heard::Stopped { by: Speaker::Opener, reason: DropReason::SshCipher, at } = verdict(&any(), 22, &turns) else {
        panic!("it passed")
    };
    let end = kexinit(STRONG, "aes128-ctr").windows(10).position(|part| part == b"aes128-ctr").unwrap() + 9;
    assert_eq!(at, BANNER.len() + end, "where the second list ends");
    let weak = Inspection::Ssh(SshLimits { ciphers: List::exact(["chacha20-poly1305@openssh.com"]) });
    assert_eq!(verdict(&weak, 22, &exchange(USUAL, USUAL)), Heard::Passed { settled: true });
}

#[test]
fn banners_are_of_version_two_printable_and_short() {
    let told = |banner: &[u8]| match verdict(&any(), 22, &[responder(banner)]) {
        Heard::Stopped { at, reason, .. } => Some((at, reason)),
        Heard::Passed { .. } => None,
    };
    assert_eq!(told(b"SSH-2.0-Cisco-1.25\n"), None, "old servers end it like this");
    assert_eq!(told(b"SSH-1.99-Cisco-1.25\r\n"), Some((4, DropReason::SshVersion)));
    assert_eq!(told(b"SSH-1.5-x\r\n"), Some((4, DropReason::SshVersion)));
    assert_eq!(told(b"SSH-2.1-x\r\n"), Some((6, DropReason::SshVersion)));
    assert_eq!(told(b"Welcome\r\nSSH-2.0-x\r\n"), Some((0, DropReason::NotSsh)));
    assert_eq!(told(b"SSH-2.0-x\rx"), Some((10, DropReason::NotSsh)));
    assert_eq!(told(b"SSH-2.0-\x07\r\n"), Some((8, DropReason::NotSsh)));
    let long = [b"SSH-2.0-".to_vec(), vec![b'x'; 245], b"\r\n".to_vec()].concat();
    assert_eq!(told(&long), None, "255 bytes");
    let longer = [b"SSH-2.0-".to_vec(), vec![b'x'; 248], b"\r\n".to_vec()].concat();
    assert_eq!(told(&longer), Some((255, DropReason::NotSsh)));
}

#[test]
fn what_follows_the_banner_is_the_key_exchange_and_nothing_else() {
    let told = |bytes: &[u8]| match verdict(&any(), 22, &[opener(BANNER), opener(bytes)]) {
        Heard::Stopped { at, reason: DropReason::SshKexinit, .. } => Some(at - BANNER.len()),
        Heard::Stopped { reason, .. } => panic!("{reason}"),
        Heard::Passed { .. } => None,
    };
    assert_eq!(told(b"GET / HTTP/1.1\r\n"), Some(0));
    assert_eq!(told(&[0, 0, 0x90]), Some(2), "longer than a packet may be");
    assert_eq!(told(&[0, 0, 0, 8]), Some(3), "shorter");
    assert_eq!(told(&[0, 0, 0, 13]), Some(3), "no multiple of eight");
    assert_eq!(told(&[0, 0, 0, 12, 3]), Some(4), "too little padding");
    assert_eq!(told(&[0, 0, 0, 12, 12]), Some(4), "no message");
    assert_eq!(told(&packet(&[50; 10])), Some(5), "authentication in the clear");
    assert_eq!(told(&packet(&[21])), Some(5), "NEWKEYS before KEXINIT");
    assert_eq!(told(&[packet(&[2, 0, 0]), kexinit(STRONG, STRONG)].concat()), None, "IGNORE may stand anywhere");
    let good = kexinit(STRONG, STRONG);
    assert_eq!(told(&[good.clone(), good.clone()].concat()), Some(good.len() + 5), "twice");
    assert_eq!(told(&[good.clone(), packet(&[21])].concat()), Some(good.len() + 5), "NEWKEYS without an exchange");
    let exchanged = [good.clone(), packet(&[30; 20])].concat();
    assert_eq!(told(&[exchanged.clone(), packet(&[21])].concat()), None);
    assert_eq!(told(&[exchanged.clone(), packet(&[21, 0])].concat()), Some(exchanged.len() + 5), "NEWKEYS and more");
    for list in ["aes256-ctr,", ",aes256-ctr", "a,,b", "aes\u{7f}"] {
        assert!(told(&kexinit(list, STRONG)).is_some(), "{list}");
    }
    let many = |count: usize| (0..count).map(|number| format!("c{number}")).collect::<Vec<_>>().join(",");
    assert_eq!(told(&kexinit(&many(32), STRONG)), None);
    assert!(told(&kexinit(&many(33), STRONG)).is_some());
    // A list that goes beyond its packet.
    let mut long = good;
    long[5 + 17..5 + 21].copy_from_slice(&[0, 0, 4, 0]);
    assert_eq!(told(&long), Some(5 + 20));
}
