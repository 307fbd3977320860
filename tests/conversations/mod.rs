//! Honest beginnings of TLS, SSH and mail, written from their RFCs and not with the recognisers' tables.
#![allow(dead_code, clippy::unwrap_used)] // each test binary uses its part; a helper may panic as a test may

/// One side's bytes; whether the side that opened the connection says them.
pub type Turn = (bool, Vec<u8>);

/// What a ClientHello asks for.
#[derive(Clone, Copy)]
pub struct Hello<'a> {
    /// `server_name` (RFC 6066 §3).
    pub name: Option<&'a str>,
    /// `supported_versions` (RFC 8446 §4.2.1); none: TLS 1.2 by its legacy field alone.
    pub versions: &'a [u16],
    /// `legacy_version` (RFC 8446 §4.1.2).
    pub legacy: u16,
    /// Another extension.
    pub more: Option<(u16, &'a [u8])>,
}

impl Default for Hello<'_> {
    fn default() -> Self {
        Self { name: Some("server.example"), versions: &[0x0304, 0x0303], legacy: 0x0303, more: None }
    }
}

/// A vector with its length in two bytes.
fn vector(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

/// A record (RFC 8446 §5.1).
pub fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind, 3, 3][..], &vector(body)].concat()
}

/// A handshake message (RFC 8446 §4).
fn handshake(kind: u8, body: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[kind][..], &length, body].concat()
}

impl Hello<'_> {
    /// The ClientHello, in a record of its own.
    pub fn client(&self) -> Vec<u8> {
        let mut extensions = Vec::new();
        let mut extension = |kind: u16, body: &[u8]| {
            extensions.extend(kind.to_be_bytes());
            extensions.extend(vector(body));
        };
        if let Some(name) = self.name {
            extension(0, &vector(&[&[0][..], &vector(name.as_bytes())].concat()));
        }
        extension(10, &vector(&[0, 29, 0, 24]));
        extension(13, &vector(&[8, 4, 4, 3]));
        if !self.versions.is_empty() {
            let list: Vec<u8> = self.versions.iter().flat_map(|version| version.to_be_bytes()).collect();
            extension(43, &[&[u8::try_from(list.len()).unwrap()][..], &list].concat());
            extension(51, &vector(&[&[0, 29][..], &vector(&[9; 32])].concat()));
        }
        if let Some((kind, body)) = self.more {
            extension(kind, body);
        }
        let suites = vector(&[0x13, 0x02, 0x13, 0x01, 0xc0, 0x30, 0xc0, 0x2f]);
        let body = [&self.legacy.to_be_bytes()[..], &[7; 32], &[32], &[5; 32], &suites, &[1, 0], &vector(&extensions)];
        record(22, &handshake(1, &body.concat()))
    }
}

/// A ServerHello (RFC 8446 §4.1.3, RFC 5246 §7.4.1.3); TLS 1.3 where a version is chosen by extension.
pub fn server_hello(version: Option<u16>, suite: u16) -> Vec<u8> {
    let chosen = version.map(|version| {
        let chosen = [&43_u16.to_be_bytes()[..], &vector(&version.to_be_bytes())].concat();
        let share = [&51_u16.to_be_bytes()[..], &vector(&[&[0, 29][..], &vector(&[8; 32])].concat())].concat();
        vector(&[chosen, share].concat())
    });
    let body = [&[3, 3][..], &[6; 32], &[32], &[5; 32], &suite.to_be_bytes(), &[0], &chosen.unwrap_or_default()];
    record(22, &handshake(2, &body.concat()))
}

/// A TLS 1.3 handshake up to sealed data both ways.
pub fn tls13() -> Vec<Turn> {
    let sealed = |len| record(23, &vec![0xa7; len]);
    vec![
        (true, Hello::default().client()),
        (false, [server_hello(Some(0x0304), 0x1302), record(20, &[1]), sealed(900)].concat()),
        (true, [record(20, &[1]), sealed(80), sealed(200)].concat()),
        (false, sealed(1200)),
    ]
}

/// The hellos of a version with nothing in them but what is looked at, and then sealed data: what a dissector finds wrong in them is
/// wrong in that.
pub fn bare_tls(newest: bool) -> Vec<Turn> {
    let extension = |kind: u16, body: &[u8]| [&kind.to_be_bytes()[..], &vector(body)].concat();
    let name = extension(0, &vector(&[&[0][..], &vector(b"server.example")].concat()));
    let (offered, chosen, suite) = if newest {
        (extension(43, &[4, 3, 4, 3, 3]), extension(43, &[3, 4]), [0x13, 0x02])
    } else {
        (extension(23, &[]), extension(23, &[]), [0xc0, 0x30])
    };
    let suites = vector(&[0x13, 0x02, 0xc0, 0x30]);
    let client = [&[3, 3][..], &[7; 32], &[32], &[5; 32], &suites, &[1, 0], &vector(&[name, offered].concat())];
    let server = [&[3, 3][..], &[6; 32], &[32], &[5; 32], &suite, &[0], &vector(&chosen)];
    vec![
        (true, record(22, &handshake(1, &client.concat()))),
        (false, record(22, &handshake(2, &server.concat()))),
        (true, [record(20, &[1]), record(23, &[4; 80])].concat()),
        (false, [record(20, &[1]), record(23, &[1; 300])].concat()),
    ]
}

/// SSH's first line (RFC 4253 §4.2).
pub const BANNER: &[u8] = b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n";

/// A packet of SSH in the clear (RFC 4253 §6).
pub fn ssh_packet(payload: &[u8]) -> Vec<u8> {
    // "the total length of (packet_length || padding_length || payload || random padding) is a multiple of the cipher block size or 8"
    let padding = 4 + (8 - (payload.len() + 9) % 8) % 8;
    let length = u32::try_from(1 + payload.len() + padding).unwrap();
    let mut out = [&length.to_be_bytes()[..], &[u8::try_from(padding).unwrap()], payload].concat();
    out.resize(out.len() + padding, 0x55);
    out
}

/// SSH_MSG_KEXINIT (RFC 4253 §7.1) with these ciphers both ways.
pub fn kexinit(ciphers: &str) -> Vec<u8> {
    let macs = "hmac-sha2-256,hmac-sha2-512";
    let lists = ["curve25519-sha256", "ssh-ed25519", ciphers, ciphers, macs, macs, "none", "none", "", ""];
    let mut payload = vec![20];
    payload.extend([0x33; 16]);
    for list in lists {
        payload.extend(u32::try_from(list.len()).unwrap().to_be_bytes());
        payload.extend(list.as_bytes());
    }
    payload.extend([0; 5]);
    ssh_packet(&payload)
}

/// A string of SSH (RFC 4251 §5).
fn string(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

/// A whole key exchange of SSH up to sealed data.
pub fn ssh() -> Vec<Turn> {
    // RFC 5656 §4: the host key, the server's public value, the signature; RFC 8709 §4 and §6.
    let named = |value: &[u8]| string(&[string(b"ssh-ed25519"), string(value)].concat());
    let (key, signature) = (named(&[1; 32]), named(&[2; 64]));
    vec![
        (false, BANNER.to_vec()),
        (true, BANNER.to_vec()),
        (true, kexinit("aes256-gcm@openssh.com,aes256-ctr")),
        (false, kexinit("aes256-ctr,aes256-gcm@openssh.com,aes128-ctr")),
        (true, ssh_packet(&[&[30][..], &32_u32.to_be_bytes(), &[7; 32]].concat())),
        (false, [ssh_packet(&[&[31][..], &key, &string(&[3; 32]), &signature].concat()), ssh_packet(&[21])].concat()),
        (true, ssh_packet(&[21])),
        (true, vec![0xc3; 60]),
    ]
}

/// The beginning of every mail conversation (RFC 5321 §3.1, §3.2).
pub fn mail_greeted() -> Vec<Turn> {
    vec![
        (false, b"220 mail.example ESMTP ready\r\n".to_vec()),
        (true, b"EHLO client.example\r\n".to_vec()),
        (false, b"250-mail.example\r\n250-PIPELINING\r\n250-STARTTLS\r\n250 8BITMIME\r\n".to_vec()),
    ]
}

/// A mail in the clear.
pub fn mail() -> Vec<Turn> {
    let envelope = b"MAIL FROM:<a@client.example> SIZE=60\r\nRCPT TO:<b@mail.example>\r\nDATA\r\n";
    let rest = [
        (true, envelope.to_vec()),
        (false, b"250 ok\r\n250 ok\r\n354 go on\r\n".to_vec()),
        (true, b"Subject: a stow plan\r\n\r\n..a dot\r\nand text\r\n.\r\nQUIT\r\n".to_vec()),
        (false, b"250 queued\r\n221 bye\r\n".to_vec()),
    ];
    [mail_greeted(), rest.to_vec()].concat()
}

/// A mail behind STARTTLS (RFC 3207).
pub fn mail_in_tls() -> Vec<Turn> {
    let start = [(true, b"STARTTLS\r\n".to_vec()), (false, b"220 go ahead\r\n".to_vec())];
    [mail_greeted(), start.to_vec(), tls13()].concat()
}
