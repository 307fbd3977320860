//! Seeds for the configuration: files that load and have what the smaller ones have not, and files that are wrong in every place.

use super::Seed;

/// Every way to prove oneself, and every key that the others leave out.
pub(super) const MORE: &str = r#"
[gateway]
state_dir = "/var/lib/portcullis"
puzzles = "on"
reset_peers = "off"
workers = 4
tun_offload = "off"
udp_send = "gso"
udp_gro = "auto"

[agreement.lab]
kind = "lab"
zone = "-05:00"
grace_days = 14
reviewed = 2026-03-01
activation = "operator"
classification = "unclassified"
document_digest = "sha256:9f2c4d1e8b7a60535c1d2e3f405162738495a6b7c8d9eafb0c1d2e3f40516273"
contacts = { primary = "a@example.com", technical = "b", incident = "c", authorising-official = "d" }

[approval]
approver = "J. Doe"
ticket = "CHG-1"

[tunnel.heads]
agreement = "lab"
local = "198.51.100.10"
peer = ["203.0.113.5", "203.0.113.6"]
peer_id = "gn:8203616263"
fail_back = 0
auth = { method = "psk", secret = ["file:/etc/portcullis/new.psk", "credential:old"] }
ppk = { id = "a", secret = "base64:0Sj9aKpCanZWK17i6b+yRQCHrsdpvmZqmrMfTKL3XFM=", required = false }
ike = ["aes256gcm16-prfsha384-ecp384-ke1_mlkem768"]
esp = ["aes256gcm16-ecp384-ke1_mlkem768-esn"]
start = "on-demand"
fragmentation = "off"
lanes = 4
childless = "prefer"
mobike = true
child_lifetime = { time = 600, bytes = 1073741824, packets = 100000 }
ike_lifetime = 7200
rekey = { at = 80, jitter = 5 }

[tunnel.client]
agreement = "lab"
local = "198.51.100.10"
peer = "203.0.113.7"
local_id = "vpn@example.com"
auth = { method = "eap-mschapv2", user = "cbp", password = "file:/etc/portcullis/cbp.password", allow_weak = "4b" }
peer_auth = { method = "psk", secret = "file:/etc/portcullis/cbp.psk" }
preset = "strongswan"
request_address = true

[tunnel.server]
agreement = "lab"
local = "198.51.100.10"
peer = "203.0.113.8"
local_id = "gw.example"
auth = { method = "certificate", certificate = "file:/etc/portcullis/gw.pem", key = "file:/etc/portcullis/gw.key" }
peer_auth = { method = "eap-mschapv2", users = "file:/etc/portcullis/cbp.users", allow_weak = "4b", ask_identity = true }
preset = "cisco-asa"
start = "manual"
pool = ["10.9.0.0/24", "2001:db8:9::/64"]
dns = ["192.0.2.53"]
childless = "off"

[tunnel.tls]
agreement = "lab"
local = "198.51.100.10"
peer = "203.0.113.9"
local_id = "gw.example"
peer_id = "other.example"
auth = { method = "eap-tls", certificate = "file:/a.pem", key = "file:/a.key", ca = "file:/ca.pem", crl = ["file:/a.crl"], name = "other.example", user = "a" }
peer_auth = { method = "certificate", ca = ["file:/ca.pem"], crl = ["file:/a.crl"], ocsp = ["file:/a.ocsp"], revocation = "soft-fail" }
preset = "cnsa"

[tunnel.served]
agreement = "lab"
local = "198.51.100.10"
peer = "203.0.113.10"
local_id = "gw.example"
peer_id = "other.example"
auth = { method = "certificate", certificate = "file:/a.pem", key = "file:/a.key" }
peer_auth = { method = "eap-tls", certificate = "file:/a.pem", key = "file:/a.key", ca = ["file:/ca.pem"], ask_identity = false }
preset = "cnsa"
start = "manual"

[[rule]]
name = "mq"
tunnel = "heads"
clause = "1"
from = ["192.0.2.10"]
to = ["203.0.113.20"]
service = "mq"
inspect = "observe"
roles = ["client", "server"]
channels = ["CBP.*"]
queue_managers = ["QM1"]
queues = ["A", "B.*"]
tls = "required"
tls_versions = ["1.2", "1.3"]
ciphers = ["aes256-gcm"]
sni = ["to2e-qmgr1.chl.mq.ibm.com"]

[[rule]]
name = "files"
tunnel = "heads"
clause = "2"
from = ["192.0.2.10"]
to = ["203.0.113.21"]
service = "sftp"
ciphers = ["aes256-ctr"]

[[rule]]
name = "feed"
tunnel = "heads"
clause = "3"
from = ["192.0.2.10"]
to = ["203.0.113.22"]
service = "tls"
tls_versions = ["1.3"]
sni = ["feed.example"]
ciphers = ["TLS_AES_256_GCM_SHA384"]

[[rule]]
name = "mail"
tunnel = "heads"
clause = "4"
from = ["192.0.2.10"]
to = ["203.0.113.23"]
service = "smtp"
tls = "refused"

[[rule]]
name = "inner"
tunnel = "client"
clause = "5"
from = ["10.8.0.0/24"]
to = ["203.0.113.30"]
allow_network = "inner addresses"
service = "tls"

[[rule]]
name = "pool"
tunnel = "server"
clause = "6"
from = ["10.9.0.0/24"]
to = ["192.0.2.11"]
allow_network = "inner addresses"
service = "tcp"
tcp = [80]
direction = "inbound"

[[rule]]
name = "shared"
tunnel = "tls"
clause = "7"
from = ["203.0.113.40"]
to = ["192.0.2.90"]
service = "tls"
direction = "inbound"

[[translate]]
tunnel = "tls"
inside = ["10.1.0.10", "10.1.1.0/24"]
outside = "192.0.2.90"
inbound = "10.1.0.10"

[[test]]
from = "192.0.2.10"
to = ["203.0.113.20"]
service = "mq"
expect = "allow"

[[test]]
from = "192.0.2.10"
to = "203.0.113.20"
port = 23
expect = "no-rule"
"#;

/// Wrong in every place.
const WRONG: &str = r#"
odd = 1
[gateway]
tun = "a name that is much too long"
mtu = 5
workers = 99
processors = [1, 1]
tun_offload = "no"
udp_send = 3
state_dir = "relative"
puzzles = "maybe"

[agreement.real]
document = ""
basis = "none"
date = "2025-03-01"
years = 11
zone = "CET"
grace_days = 91
document_digest = "md5:00"
classification = "secret"
contacts = { boss = "a", primary = 5 }
reviewed = 2020-01-01
termination = 2020-01-01
activation = "nobody"

[agreement.other]
kind = "real"

[tunnel.a]
agreement = "nowhere"
local = "gw.example"
peer = []
auth = { method = "none" }
peer_auth = 5
preset = "cisco"
ike = ["aes256"]
start = "never"

[tunnel.b]
agreement = "real"
local = "198.51.100.10"
peer = ["203.0.113.5", "203.0.113.5", "2001:db8::1"]
fail_back = 3
local_id = "dn:CN=a"
peer_id = "keyid:x"
auth = { method = "psk", secret = "hex:00", odd = 1 }
weak_psk = ""
ike = ["aes128gcm16-prfsha256-x25519", "aes256gcm16-ecp384", "rot13-sha1"]
esp = []
lanes = 17
mobike = true
pool = ["10.9.0.1/24", "10.9.0.0/24"]
dns = ["x"]
liveness = 1
replay_window = 1
child_lifetime = { time = 1, bytes = 1, packets = 1, odd = 1 }
ike_lifetime = 1
rekey = { at = 10, jitter = 90 }
encapsulation = "no"
fragmentation = "no"
selectors = "no"
childless = "no"
request_address = 5

[tunnel.c]
agreement = "real"
local = "198.51.100.10"
peer = "203.0.113.5"
auth = { method = "eap-mschapv2", user = "", password = "file:relative" }
peer_auth = { method = "eap-tls" }
ppk = { id = "" }
preset = "cnsa"
esp = ["aes256gcm16"]
start = "always"

[tunnel.d]
agreement = "real"
local = "198.51.100.10"
peer = "198.51.100.10"
auth = { method = "certificate" }
peer_auth = { method = "certificate", ca = [], revocation = "no" }
preset = "cnsa"

[[rule]]
name = "a b"
tunnel = "nowhere"
clause = ""
from = ["192.0.2.0/24", "x", "0.0.0.0/0", "127.0.0.1"]
to = []
service = "ftp"

[[rule]]
name = "udp"
tunnel = "b"
clause = "1"
purpose = ["stow-plan", "odd"]
from = ["192.0.2.10"]
to = ["192.0.2.10", "2001:db8::1", "203.0.113.5"]
service = "udp"
tcp = [0, 70000]
direction = "both"
inspect = "no"

[[rule]]
name = "udp"
tunnel = "b"
clause = "1"
from = ["192.0.2.10"]
to = ["203.0.113.20"]
service = "mq"
roles = []
channels = ["*", "a*b", "TOO.LONG.FOR.A.CHANNEL.NAME.*"]
tls = "maybe"
tls_versions = ["1.1"]
ciphers = ["rc4"]
sni = ["*.example", "a b"]

[[rule]]
name = "again"
tunnel = "b"
clause = "1"
from = ["192.0.2.10"]
to = ["203.0.113.20"]
service = "tcp"
tcp = [1414]
queues = ["A"]

[[translate]]
tunnel = "b"
inside = ["192.0.2.10", "2001:db8::9"]
outside = "192.0.2.10"
inbound = "9.9.9.9"

[[translate]]
tunnel = "nowhere"
inside = []
outside = "x"

[[test]]
from = []
to = "x"
service = "ftp"
port = 0
expect = "maybe"

[approval]
approver = ""
policy = "xyz"
"#;

pub(super) fn more() -> Vec<Seed> {
    // The profiles as somebody has filled them in.
    let filled = |text: &str| text.replace("\"\"", "\"J. Doe\"");
    let profiles = [
        ("cbp", include_str!("../../../docs/profiles/cbp.toml")),
        ("taxii", include_str!("../../../docs/profiles/taxii.toml")),
        ("ais", include_str!("../../../docs/profiles/ais.toml")),
    ];
    let others = [("more", MORE), ("translated", super::TRANSLATED), ("wrong_everywhere", WRONG)];
    let others = others.map(|(name, text)| (name, text.to_owned()));
    let profiles = profiles.map(|(name, text)| (name, filled(text)));
    others.into_iter().chain(profiles).map(|(name, text)| (name, text.into_bytes())).collect()
}
