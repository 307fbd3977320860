//! The seeds: one valid input for each shape that a target knows. `tests/fuzz_seeds.rs` keeps the files in `seeds/`
//! equal to these; `PORTCULLIS_WRITE_SEEDS=1 cargo test --test fuzz_seeds` writes them.

mod agreement;
mod agreements_of_files;
mod captures;
mod certificates;
mod configurations;
mod explain;
mod flaws;
mod followed;
mod ike;
mod imports;
mod negotiation;
pub mod packets;
pub mod recognise;
mod responder;
mod simulation;
mod tracker;

use super::{eap, steps};

/// A file name and its content.
pub type Seed = (&'static str, Vec<u8>);

/// Every target's seeds.
#[must_use]
pub fn all() -> Vec<(&'static str, Vec<Seed>)> {
    vec![
        ("ike_message", ike::ike_message()),
        ("ike_inner_chain", ike::ike_inner_chain()),
        ("inner_ip", packets::inner_ip()),
        ("selectors", negotiation::selectors()),
        ("proposals", negotiation::proposals()),
        ("fragments", negotiation::fragments()),
        ("segment", packets::segment()),
        ("rewrite", packets::rewrite()),
        ("tcp_tracker", tracker::tcp_tracker()),
        ("esp_open", packets::esp_open()),
        ("responder", responder::responder()),
        ("control_socket", control_socket()),
        ("agreement_state", agreement::agreement_state()),
        ("initiator", responder::responder()),
        ("simulation", simulation::simulation()),
        ("certificate", certificates::certificate()),
        ("eap", eap()),
        ("config_file", config_file()),
        ("import_file", imports::import_file()),
        ("explain", explain::explain()),
        ("capture", captures::capture()),
        ("recognise_mq", recognise::mq()),
        ("recognise_ssh", recognise::ssh()),
        ("recognise_smtp", recognise::smtp()),
        ("recognise_tls", recognise::tls()),
    ]
}

fn eap() -> Vec<Seed> {
    let list = |mode: u8, things: &[(u8, &[u8])]| {
        let mut bytes = vec![mode];
        for (what, with) in things {
            steps::put(&mut bytes, *what, with);
        }
        bytes
    };
    let deliver = |times| vec![(eap::DELIVER, &[][..]); times];
    let success: &[u8] = &[3, 1, 0, 4];
    let mut early = deliver(2);
    early.push((eap::TO_PEER, success));
    let mut changed = deliver(1);
    changed.extend([(eap::CHANGE, &[9, 1][..]), (eap::AGAIN, &[]), (eap::LOSE, &[])]);
    // A byte of the server's flight is another one; and an acknowledgement where none is due.
    let mut forged = deliver(3);
    forged.extend([(eap::CHANGE, &[60, 1][..])]);
    forged.extend(deliver(6));
    let mut ended = deliver(2);
    ended.extend([(eap::TO_SERVER, &[2, 0, 0, 6, 13, 0][..]), (eap::TO_PEER, success)]);
    vec![
        ("honest", list(0, &deliver(8))),
        ("asked", list(eap::ASKED, &deliver(10))),
        ("wrong_password", list(eap::WRONG_PASSWORD, &deliver(8))),
        ("unknown_user", list(eap::UNKNOWN_USER, &deliver(8))),
        ("tls", list(eap::TLS | eap::ASKED, &deliver(8))),
        ("certified", list(eap::CERTIFIED, &deliver(24))),
        ("certified_asked", list(eap::CERTIFIED | eap::ASKED, &deliver(24))),
        ("certified_other_client", list(eap::CERTIFIED | eap::WRONG_PASSWORD, &deliver(24))),
        ("certified_other_server", list(eap::CERTIFIED | eap::UNKNOWN_USER, &deliver(24))),
        ("certified_too_early", list(eap::CERTIFIED | eap::TOO_EARLY, &deliver(24))),
        ("certified_unlisted", list(eap::CERTIFIED | eap::LISTED, &deliver(24))),
        ("certified_forged", list(eap::CERTIFIED, &forged)),
        ("certified_ended", list(eap::CERTIFIED, &ended)),
        ("early_success", list(0, &early)),
        ("changed", list(0, &changed)),
        ("from_nowhere", list(0, &[(eap::TO_SERVER, &[2, 0, 0, 6, 26, 3][..]), (eap::TO_PEER, &[1, 0, 0, 5, 13])])),
    ]
}

fn control_socket() -> Vec<Seed> {
    let status = br#"{"version":"0.1.0","pid":1,"uptime_s":2,"policy":"ab","tun":"t0","tunnels":[{"name":"t"}],"rules":{"mq":{"packets_out":1}},"drops":{"no_rule":1},"ike_refused":{}}
"#;
    let lines: [(&str, &[u8]); 13] = [
        ("status", b"{\"op\":\"status\"}\n"),
        ("up", b"{\"op\":\"up\",\"tunnel\":\"cbp\"}\n"),
        ("down", b"{\"op\":\"down\",\"tunnel\":\"cbp\"}\n"),
        ("policy", b"{\"op\":\"policy\"}\n"),
        ("reload", b"{\"op\":\"reload\"}\n"),
        ("monitor", b"{\"op\":\"monitor\"}\n"),
        ("agreements", b"{\"op\":\"agreements\",\"name\":\"cbp\"}\n"),
        ("suspend", b"{\"op\":\"agreement\",\"name\":\"cbp\",\"wish\":{\"act\":\"suspend\",\"reason\":\"r\"}}\n"),
        (
            "renew",
            b"{\"op\":\"agreement\",\"name\":\"cbp\",\"wish\":{\"act\":\"renew\",\"date\":\"2026-05-01\",\"authorisation\":\"a\"}}\n",
        ),
        ("answer", status),
        ("answer_done", b"{\"ok\":true}\n"),
        ("answer_refused", b"{\"error\":\"no such tunnel\"}\n"),
        ("escapes", b"{ \"tunnel\" : \"\\u0063\\n\\ud83d\\ude00\", \"op\":\"up\" }\n"),
    ];
    lines.map(|(name, line)| (name, line.to_vec())).to_vec()
}

/// A configuration for a real agreement.
pub const REAL: &str = r#"
[gateway]
state_dir = "/var/lib/portcullis"
control_socket = "/run/portcullis/control.sock"

[agreement.cbp]
document = "CBP Interconnection Security Agreement"
organisation = "Example Brokers"
basis = "acknowledgement"
date = 2025-03-01
years = 3

[tunnel.cbp]
agreement = "cbp"
local = "198.51.100.10"
peer = "203.0.113.5"
auth = { method = "psk", secret = "file:/etc/portcullis/cbp.psk" }
ike = ["aes256gcm16-prfsha384-ecp384", "aes256-sha384-ecp384"]
esp = ["aes256gcm16-ecp384-esn", "aes256gcm16-ecp384"]

[[rule]]
name = "mq"
tunnel = "cbp"
clause = "1a"
from = ["192.0.2.10"]
to = ["203.0.113.20"]
service = "mq"
"#;

/// One for a laboratory, in IPv6.
pub const LAB: &str = r#"
[agreement.lab]
kind = "lab"

[tunnel.lab]
agreement = "lab"
local = "2001:db8::1"
peer = "2001:db8::2"
local_id = "gw.example"
peer_id = "other.example"
start = "on-demand"
selectors = "service"
weak_psk = "a test"
auth = { method = "psk", secret = "hex:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f" }
preset = "cisco-ios-xe"

[[rule]]
name = "dns"
tunnel = "lab"
clause = "1"
from = ["2001:db8:2::/64"]
to = ["2001:db8:1::10"]
allow_network = "a test"
service = "udp"
udp = [53, 5353]
direction = "inbound"
"#;

/// One that has every key, and most words.
pub const EVERY: &str = r#"
[gateway]
tun = "tun0"
mtu = 1400
tun_offload = "auto"
udp_send = "sendmmsg"
udp_gro = "off"

[agreement.lab]
kind = "lab"

[tunnel.a]
agreement = "lab"
local = "198.51.100.10"
peer = "203.0.113.5"
local_id = "keyid:00ff"
peer_id = "vpn@host.example"
auth = { method = "psk", secret = "base64:0Sj9aKpCanZWK17i6b+yRQCHrsdpvmZqmrMfTKL3XFM=" }
ike = ["aes128gcm16-prfsha256-x25519", "aes256-sha512-modp2048", "chacha20poly1305-prfsha512-ecp521"]
esp = ["aes256-sha256-modp3072", "aes128gcm16-esn", "chacha20poly1305"]
start = "manual"
encapsulation = "forced"
selectors = "service"
replay_window = 64
liveness = 5

[tunnel.b]
agreement = "lab"
local = "198.51.100.10"
peer = "203.0.113.6"
peer_id = "dn:3000"
auth = { method = "psk", secret = "credential:b" }
preset = "cnsa"

[[rule]]
name = "ssh"
tunnel = "a"
clause = "1"
from = ["192.0.2.10", "192.0.2.11"]
to = ["203.0.113.20"]
service = "tcp"
tcp = [22, 2222]

[[rule]]
name = "ping"
tunnel = "b"
clause = "2"
from = ["203.0.113.30"]
to = ["192.0.2.10"]
service = "echo"
direction = "inbound"

[[rule]]
name = "files"
tunnel = "b"
clause = "3"
from = ["192.0.2.10"]
to = ["203.0.113.30"]
service = "sftp"

[[rule]]
name = "mail"
tunnel = "b"
clause = "3"
from = ["192.0.2.10"]
to = ["203.0.113.30"]
service = "smtp"
"#;

/// One with hosts that a peer knows under other addresses, for captures.
pub const TRANSLATED: &str = r#"
[agreement.lab]
kind = "lab"

[tunnel.t]
agreement = "lab"
local = "198.51.100.10"
peer = "203.0.113.5"
auth = { method = "psk", secret = "base64:0Sj9aKpCanZWK17i6b+yRQCHrsdpvmZqmrMfTKL3XFM=" }
preset = "strongswan"

[[translate]]
tunnel = "t"
inside = "10.1.0.10"
outside = "192.0.2.10"

[[translate]]
tunnel = "t"
inside = ["10.2.0.10", "10.2.0.11"]
outside = "192.0.2.11"
inbound = "10.2.0.10"

[[rule]]
name = "mq"
tunnel = "t"
clause = "1"
from = ["192.0.2.10"]
to = ["203.0.113.20"]
service = "mq"
inspect = "observe"

[[rule]]
name = "files"
tunnel = "t"
clause = "2"
from = ["192.0.2.11"]
to = ["203.0.113.20"]
service = "sftp"

[[rule]]
name = "ping"
tunnel = "t"
clause = "3"
from = ["192.0.2.11"]
to = ["203.0.113.20"]
service = "echo"

[[rule]]
name = "back"
tunnel = "t"
clause = "4"
from = ["203.0.113.20"]
to = ["192.0.2.11"]
service = "udp"
udp = [53]
direction = "inbound"
"#;

fn config_file() -> Vec<Seed> {
    // Names as people write them who do not write in English.
    let names = "[agreement.lab]\nkind = \"учебное соглашение о взаимодействии шлюзов\"\n\
                 [tunnel.überall]\nagreement = \"учебное соглашение о взаимном подключении сетей\"\n\
                 [[rule]]\nname = \"Größenänderung\"\nservice = \"очередь сообщений и передача файлов\"\n";
    let wrong = "[tunel.cbp]\nlocal = 5\n[[rule]]\nname = \"a\"\nfrom = \"192.0.2.300\"\n";
    let syntax = "[gateway\nstate_dir = \"";
    [("real", REAL), ("lab", LAB), ("every", EVERY), ("names", names), ("wrong", wrong), ("syntax", syntax)]
        .map(|(name, text)| (name, text.as_bytes().to_vec()))
        .into_iter()
        .chain(edits())
        .chain(configurations::more())
        .chain(agreements_of_files::agreements_of_files())
        .chain(followed::followed())
        .collect()
}

/// Files that load, with some values changed: the mark, which file, then (which line, value).
fn edits() -> Vec<Seed> {
    let edited = |base: u8, edits: &[(&str, &[u8])]| {
        let text = [REAL, LAB, EVERY][usize::from(base)];
        let mut bytes = vec![0, base];
        for (key, value) in edits {
            let line = text.lines().position(|line| line.starts_with(key)).expect("a line of that key");
            steps::put(&mut bytes, line as u8, value);
        }
        bytes
    };
    vec![
        ("edited_numbers", edited(2, &[("replay_window", &[1, 0]), ("liveness", &[10]), ("mtu", &[2, 64])])),
        ("edited_suites", edited(0, &[("ike", b"*\x01\x03\x03\x00\x04\x01"), ("esp", b"*\x00\x00\x82\x01\x01\x00")])),
        ("edited_hosts", edited(1, &[("from", b"[\"2001:db8:3::1\"]"), ("allow_network", b"~"), ("udp", b"[1]")])),
    ]
}
