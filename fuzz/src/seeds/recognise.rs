//! Conversations for the recognisers.

use portcullis::lab::mq_dialect::{self, Dialect, Names, Said};

use super::super::steps;
use super::Seed;

/// Options, the seed of the cuts, and who says what.
fn input(options: u8, turns: &[(bool, &[u8])]) -> Vec<u8> {
    let mut out = vec![options, 1];
    for (by_opener, bytes) in turns {
        for part in bytes.chunks(255) {
            steps::put(&mut out, u8::from(!by_opener), part);
        }
    }
    out
}

fn spoken(options: u8, said: &[Said]) -> Vec<u8> {
    let turns: Vec<_> = said.iter().map(|said| (said.by_opener, &said.bytes[..])).collect();
    input(options, &turns)
}

/// The beginnings of conversations in some dialects, with and without lists.
pub fn mq() -> Vec<Seed> {
    let names = Names::default();
    let dialect = |level, little, ebcdic| Dialect { level, little, ebcdic };
    let client = |dialect| mq_dialect::client(dialect, &names, 10);
    let new = dialect(13, false, false);
    let mut opened = client(new);
    opened.truncate(10);
    let mut administered = opened.clone();
    let admin = Names { queue: "SYSTEM.ADMIN.COMMAND.QUEUE", ..names };
    administered.truncate(8);
    administered.push(mq_dialect::put1(new, &admin));
    let mut verb = opened.clone();
    verb.truncate(8);
    verb.push(mq_dialect::spi_open(new, &names));
    vec![
        ("client", spoken(0, &opened)),
        ("client_listed", spoken(4, &opened)),
        ("client_old", spoken(0, &client(dialect(4, true, false))[..10])),
        ("client_ebcdic", spoken(4, &client(dialect(17, true, true))[..10])),
        ("sender", spoken(8, &mq_dialect::sender(dialect(9, false, false), &names, 10))),
        ("administration", spoken(0, &administered)),
        ("verb", spoken(4, &verb)),
        ("wrapped", input(1, &[(true, &client_hello("cbp2e-svrconn.chl.mq.ibm.com"))])),
    ]
}

fn vector(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

fn handshake(kind: u8, body: &[u8]) -> Vec<u8> {
    let [_, high, middle, low] = (body.len() as u32).to_be_bytes();
    [&[kind, high, middle, low], body].concat()
}

fn record(content: u8, body: &[u8]) -> Vec<u8> {
    [&[content, 3, 3][..], &vector(body)].concat()
}

fn extension(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[0, kind][..], &vector(body)].concat()
}

fn client_hello(name: &str) -> Vec<u8> {
    let name = extension(0, &vector(&[&[0][..], &vector(name.as_bytes())].concat()));
    client_hello_with(&[name, extension(43, &[4, 3, 4, 3, 3]), extension(16, &vector(b"\x02h2"))])
}

fn client_hello_with(extensions: &[Vec<u8>]) -> Vec<u8> {
    let suites = vector(&[0x13, 2, 0xc0, 0x30]);
    let extensions = vector(&extensions.concat());
    record(22, &handshake(1, &[&[3, 3][..], &[7; 32], &[0], &suites, &[1, 0], &extensions].concat()))
}

fn server_hello(random: &[u8; 32], tls13: bool) -> Vec<u8> {
    let (suite, extensions) =
        if tls13 { ([0x13, 2], vector(&extension(43, &[3, 4]))) } else { ([0xc0, 0x30], Vec::new()) };
    record(22, &handshake(2, &[&[3, 3][..], random, &[0], &suite, &[0], &extensions].concat()))
}

/// Hellos in which every extension stands whose form is known: a client's, and a server's of each version and of a retry.
fn extended() -> [Vec<u8>; 4] {
    let share = [&[0, 29][..], &vector(&[7; 8])].concat();
    let offer = [vector(&[&vector(b"ticket")[..], &[0; 4]].concat()), vector(&[&[32][..], &[6; 32]].concat())].concat();
    let name = vector(&[&[0][..], &vector(b"mq.example")].concat());
    let client = [
        extension(0, &name),
        extension(1, &[2]),
        extension(5, &[1, 0, 0, 0, 0]),
        extension(10, &vector(&[0, 29, 0, 24])),
        extension(11, &[1, 0]),
        extension(13, &vector(&[8, 4, 4, 3])),
        extension(16, &vector(b"\x02h2\x08http/1.1")),
        extension(18, &[]),
        extension(19, &[1, 2]),
        extension(22, &[]),
        extension(23, &[]),
        extension(27, &[2, 0, 2]),
        extension(28, &[64, 1]),
        extension(35, b"old"),
        extension(42, &[]),
        extension(43, &[4, 3, 4, 3, 3]),
        extension(44, &vector(b"cookie")),
        extension(45, &[1, 1]),
        extension(47, &vector(&vector(b"name"))),
        extension(51, &vector(&share)),
        vec![0xff, 1, 0, 1, 0],
        extension(41, &offer),
    ];
    let server = |random: &[u8; 32], suite: [u8; 2], extensions: &[Vec<u8>]| {
        let body = [&[3, 3][..], random, &[0], &suite, &[0], &vector(&extensions.concat())];
        record(22, &handshake(2, &body.concat()))
    };
    let old = [
        extension(0, &[]),
        extension(1, &[2]),
        extension(5, &[]),
        extension(10, &vector(&[0, 29])),
        extension(11, &[1, 0]),
        extension(16, &vector(b"\x02h2")),
        extension(18, &vector(&vector(b"signed"))),
        extension(19, &[2]),
        extension(22, &[]),
        extension(23, &[]),
        extension(28, &[64, 1]),
        extension(35, &[]),
        vec![0xff, 1, 0, 1, 0],
    ];
    let new = [extension(41, &[0, 0]), extension(43, &[3, 4]), extension(51, &share)];
    let retry = [extension(43, &[3, 4]), extension(44, &vector(b"cookie")), extension(51, &[0, 24])];
    [
        client_hello_with(&client),
        server(&[5; 32], [0xc0, 0x30], &old),
        server(&[5; 32], [0x13, 2], &new),
        server(&RETRY, [0x13, 2], &retry),
    ]
}

/// Extensions that are seldom: of DTLS, of other libraries and of drafts, and a key share that leaves the choice of a group to the server.
fn seldom() -> Vec<u8> {
    client_hello_with(&[
        extension(14, &[vector(&[0, 7]), vec![0]].concat()),
        extension(17, &vector(&[&[2][..], &vector(&[0; 4])].concat())),
        extension(24, &[1, 0, 1, 2]),
        extension(25, &vector(b"hash")),
        extension(48, &vector(&[])),
        extension(51, &vector(&[])),
        extension(54, &[2, 8, 8]),
    ])
}

/// SHA-256 of "HelloRetryRequest".
pub const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2, 0xa2, 0x11,
    0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// Handshakes of both versions, with a retry, in several records, and an alert; and hellos that are refused.
pub fn tls() -> Vec<Seed> {
    let hello = client_hello("mq.example");
    let (old, new, again) = (server_hello(&[5; 32], false), server_hello(&[5; 32], true), server_hello(&RETRY, true));
    let (spec, data) = (record(20, &[1]), record(23, &[9; 40]));
    let [asks, old_more, new_more, retry_more] = extended();
    let parts: Vec<u8> = hello[5..].chunks(30).flat_map(|part| record(22, part)).collect();
    vec![
        (
            "tls13",
            input(0, &[(true, &hello), (false, &new), (false, &spec), (false, &data), (true, &spec), (true, &data)]),
        ),
        ("tls12", input(12, &[(true, &hello), (false, &old), (true, &spec), (false, &spec), (true, &data)])),
        ("retry", input(4, &[(true, &hello), (false, &again), (true, &spec), (true, &hello), (false, &new)])),
        ("parts", input(8, &[(true, &parts), (false, &new)])),
        ("extensions12", input(0, &[(true, &asks), (false, &old_more), (true, &spec), (false, &spec), (true, &data)])),
        (
            "extensions13",
            input(0, &[(true, &asks), (false, &retry_more), (true, &asks), (false, &new_more), (false, &data)]),
        ),
        ("alert", input(0, &[(true, &hello), (false, &[21, 3, 3, 0, 2, 2, 40])])),
        ("seldom", input(0, &[(true, &seldom()), (false, &old)])),
        ("none", input(0, &[(true, &client_hello_with(&[])), (false, &old)])),
        ("nameless", input(8, &[(true, &client_hello_with(&[]))])),
        ("longer_name", input(8, &[(true, &client_hello("mq.example.test"))])),
        ("shorter_name", input(8, &[(true, &client_hello("mq.exam"))])),
        ("hidden", input(0, &[(true, &client_hello_with(&[vec![0xfe, 0x0d, 0, 1, 1]]))])),
        ("quic", input(0, &[(true, &client_hello_with(&[extension(57, &[1, 1, 0])]))])),
        ("administration", input(0, &[(true, &client_hello("SYSTEM2e-ADMIN2e-svrconn.chl.mq.ibm.com"))])),
        ("cut_off", input(0, &[(true, &record(22, &handshake(1, &[&[3, 3][..], &[7; 32], &[0]].concat())))])),
    ]
}

fn packet(payload: &[u8]) -> Vec<u8> {
    let padding = 4 + (8 - (payload.len() + 9) % 8) % 8;
    let length = ((1 + payload.len() + padding) as u32).to_be_bytes();
    [&length[..], &[padding as u8], payload, &vec![0; padding]].concat()
}

fn kexinit(ciphers: &str) -> Vec<u8> {
    let mut payload = vec![20];
    payload.extend([7; 16]);
    for list in
        ["curve25519-sha256", "ssh-ed25519", ciphers, ciphers, "hmac-sha2-256", "hmac-sha2-256", "none", "none", "", ""]
    {
        payload.extend((list.len() as u32).to_be_bytes());
        payload.extend(list.bytes());
    }
    payload.extend([0; 5]);
    packet(&payload)
}

/// What the client of a key exchange says that ends well, and what the server says.
#[must_use]
pub fn ssh_sides() -> [Vec<u8>; 2] {
    let banner = &b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"[..];
    let side = |ciphers| [banner, &kexinit(ciphers), &packet(&[30; 20]), &packet(&[21]), b"\xee sealed"].concat();
    ["aes256-gcm@openssh.com,aes256-ctr", "aes128-ctr,aes256-ctr,aes256-gcm@openssh.com"].map(side)
}

/// Key exchanges that end well and badly, and a banner of the old version.
pub fn ssh() -> Vec<Seed> {
    let banner = &b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"[..];
    let exchange = |options, client: &str, server: &str| {
        let (client, server, keys, new) = (kexinit(client), kexinit(server), packet(&[30; 20]), packet(&[21]));
        let turns = [
            (false, banner),
            (true, banner),
            (true, &client[..]),
            (false, &server[..]),
            (true, &keys),
            (false, &keys),
            (true, &new),
            (false, &new),
            (true, &b"\xee sealed"[..]),
        ];
        input(options, &turns)
    };
    let usual = "chacha20-poly1305@openssh.com,aes128-ctr,aes256-ctr,aes256-gcm@openssh.com";
    vec![
        ("strong", exchange(0, "aes256-gcm@openssh.com,aes256-ctr", usual)),
        ("other", exchange(1, "odd@example,aes128-ctr", usual)),
        ("weak", exchange(0, usual, usual)),
        ("old", input(0, &[(false, b"SSH-1.99-x\n")])),
    ]
}

/// Mail in the clear, in chunks, behind STARTTLS, and in TLS from the start.
pub fn smtp() -> Vec<Seed> {
    let begun = [
        (false, &b"220-mail\r\n220 ready\r\n"[..]),
        (true, &b"EHLO a\r\n"[..]),
        (false, &b"250-b\r\n250 STARTTLS\r\n"[..]),
    ];
    let talk = |options, more: &[(bool, &[u8])]| input(options, &[&begun[..], more].concat());
    let (client, server) = (client_hello("mail.example"), server_hello(&[5; 32], true));
    vec![
        (
            "mail",
            talk(
                0,
                &[
                    (true, b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n"),
                    (false, b"250 a\r\n250 b\r\n354 go\r\n"),
                    (true, b"Subject: x\r\n\r\n..\r\n.\r\nQUIT\r\n"),
                    (false, b"250 c\r\n221 bye\r\n"),
                ],
            ),
        ),
        (
            "chunks",
            talk(0, &[(true, b"BDAT 5\r\n\0\r\n.\nBDAT 0 LAST\r\nRSET\r\n"), (false, b"250 a\r\n250 b\r\n250 c\r\n")]),
        ),
        (
            "auth",
            talk(
                2,
                &[(true, b"AUTH LOGIN\r\n"), (false, b"334 VQ==\r\n"), (true, b"dQ==\r\n"), (false, b"235 ok\r\n")],
            ),
        ),
        ("starttls", talk(1, &[(true, b"STARTTLS\r\n"), (false, b"220 go\r\n"), (true, &client), (false, &server)])),
        (
            "cannot",
            talk(1, &[(true, b"STARTTLS\r\n"), (false, b"454 no\r\n"), (true, b"QUIT\r\n"), (false, b"221 bye\r\n")]),
        ),
        ("implicit", input(4, &[(true, &client), (false, &server)])),
    ]
}
