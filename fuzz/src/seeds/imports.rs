//! Seeds for other gateways' files: every word that is known in them, with values that fit and that do not.

use super::Seed;

/// A connection with every setting.
const SWANCTL: &str = r#"# a comment
include conf.d/*.conf
odd = 1
connections {
  other = 2
  cbp : base, more {
    version = 2
    include more.conf
    local_addrs = 198.51.100.10, 198.51.100.11
    remote_addrs = 203.0.113.5
    proposals = aes256gcm16-prfsha384-ecp384, aes256-sha384-modp2048;ecp384, 3des-sha1-modp1024!, aes128gcm16-sha256-x448, default, aes_cbc_256+prfsha2_256+dh14
    proposals = aesgcm256-sha2-dh1, aesgcm-sha384-dh2, aescbc128-sha2_384-dh5, aescbc256-sha2_512-dh15, aes256gcm-prfsha2_384-dh16, aes128gcm-prfsha2_512-dh19, aes256-sha256-dh20, aes256-sha512-dh21, aes256gcm16-prfsha384-dh31, chacha20_poly1305-sha384-ecp521
    encap = yes
    dpd_delay = 30s
    dpd_timeout = 9
    mobike = no
    unique = replace
    unique = never
    mobike = yes
    keyingtries = 3
    reauth_time = 9
    rekey_time = 9x
    dpd_delay = 1
    dpd_delay = 1d
    keyingtries = 0
    rekey_time = 4h
    over_time = 24m
    reauth_time = 0s
    rand_time = 5
    local_port = 500
    remote_port = 4500
    send_cert = never
    pools = a
    local-1 { auth = psk
      id = @gw.example
      id = "@#0a0b"
      odd = 1
      include = x }
    remote { auth = psk }
    odd { }
    children {
      mq {
        local_ts = 192.0.2.10/32[tcp]
        remote_ts = 203.0.113.20/32[tcp/1414]
        esp_proposals = aes256gcm16-ecp384-esn-noesn, aes256-sha2_256_128
        mode = tunnel
        dpd_action = restart
        policies = yes
        close_action = trap
        start_action = trap
        replay_window = 128
        rekey_time = 1h
        life_time = 66m
        rekey_bytes = 1000000000
        life_bytes = 1100000000
        rekey_packets = 1000000
        life_packets = x
        rand_bytes = 1
        ah_proposals = sha256
        updown = "a \"b\" \n\r\t\q \
c"
        include x
        inner { }
      }
    }
  }
  cbp { version = 2 }
}
secrets {
  odd = 1
  ike-cbp { id-1 = 203.0.113.5
    id-2 = gw.example
    secret = 0x000102030405060708090a0b0c0d0e0f }
}
"#;
/// Children of every protocol and on every side, in both families.
const CHILDREN: &str = r"connections {
  +a.b {
    local_addrs = 198.51.100.10
    remote_addrs = 203.0.113.5
    rekey_time = 10
    over_time = 1
    local { auth = psk
 id = %any }
    remote { auth = psk
 id = keyid:other }
    children {
      all { local_ts = 192.0.2.0/24, 2001:db8:1::1
 remote_ts = 203.0.113.20, 2001:db8:2::1 }
      tcp { remote_ts = 203.0.113.20[6/8080]
 start_action = none }
      tcp { local_ts = 192.0.2.10[tcp/22]
 remote_ts = 203.0.113.20
 start_action = start
 esp_proposals = aes128gcm16 }
      ssh { local_ts = 192.0.2.10[tcp/22]
 remote_ts = 203.0.113.20[tcp/443] }
      dns { local_ts = dynamic[udp/53]
 remote_ts = 203.0.113.20
 esp_proposals = chacha20poly1305 }
      udp { remote_ts = 203.0.113.20[udp] }
      two { local_ts = 192.0.2.10[udp/1]
 remote_ts = 203.0.113.20[tcp/1] }
      ping { remote_ts = 203.0.113.20[icmp]
 life_time = 10
 life_packets = 1
 rekey_bytes = 9 }
      ping6 { local_ts = 2001:db8:1::1[icmpv6]
 remote_ts = 2001:db8:2::1 }
      gre { remote_ts = 203.0.113.20[47] }
      odd { local_ts = 192.0.2.10[tcp/opaque], 192.0.2.10[/5], 192.0.2.10[x], 192.0.2.10[tcp/1-5], 192.0.2.10[tcp, 0.0.0.0/0, 1.2.3.4-1.2.3.9, 192.0.2.10[any/0-65535]
 remote_ts = %dynamic[%any/%any] }
      none { remote_ts = x }
      a234567890123456789012345678901234567890 { remote_ts = 203.0.113.20[tcp/443] }
      a234567890123456789012345678901234567890b { remote_ts = 203.0.113.20[tcp/443]
 replay_window = 1 }
      transport { mode = transport }
    }
  }
}
secrets { ike { secret = 0sRm9v } ike-2 { id = 1.1.1.1
 secret = s } }
";
/// What is refused, each for its reason.
const LEFT_OUT: &str = r#"connections {
  old { version = 1
 mobike = yes
 unique = never
 keyingtries = 3
 reauth_time = 9
 dpd_delay = 1
 rekey_time = 9x
 over_time = 99999999999999999999
 local_port = 5
 local_addrs = %any
 remote_addrs = gw.example
 send_certreq = yes
 encap = no
 reauth_time = 0 }
  any { version = 0
 local_addrs =
 local { auth = psk
 id = "asn1dn:#30:00" }
 remote { auth = psk
 id = "asn1dn:x" } }
  key { local { auth = pubkey } remote { certs = a } }
  half { local { auth = psk } }
  ids { local { auth = psk
 id = @@mail@example.com }
 remote { auth = psk
 id = fqdn:gw.example }
 remote_addrs = 203.0.113.5
 children { d { } e { local_ts = 1.2.3.4
 remote_ts = 5.6.7.8 } } }
  id2 { local { auth = psk
 id = "asn1gn:#00" }
 remote { auth = psk
 id = "keyid:#0x0a" } }
}
authorities { a { } }
"#;
/// Secrets alone.
const SECRETS: &str = r#"secrets {
  eap-a { id = a
 secret = b }
  ike-1 { secret = 0xzz }
  ike-2 { secret = 0s!! }
  ike-3 { id = "@\x01"
 secret = text
 odd = 1
 inner { } }
  ike-4 { id = %any
 secret = other }
  ike-5 { secret = "" }
}
connections { a { local { auth = psk } remote { auth = psk } } b { local { auth = psk } remote { auth = psk } } }
"#;
/// Connections with every setting.
const IPSEC: &str = r#"version 2.0
config setup
	charondebug="ike 1" # a comment
include /etc/ipsec.d/*.conf
ca a
	cacert=x
conn %default
	keyexchange=ikev2
	authby=secret
conn base
	leftsubnet={ 192.0.2.10/32 192.0.2.11/32 }
	also=deeper
conn deeper
	pfs=yes
conn cbp
	also=base
	left=198.51.100.10
	leftid=@gw.example
	leftprotoport=tcp/%any
	leftsourceip=1.2.3.4
	right=203.0.113.5,203.0.113.6
	rightid=%any
	rightsubnets=203.0.113.20/32
	rightprotoport=tcp/1414
	rightauth=psk
	type=tunnel
	ikev2=insist
	mobike=no
	compress=no
	dpdtimeout=1
	dpdaction=restart
	dpddelay=30
	keyingtries=%forever
	rekey=yes
	forceencaps=yes
	ike=aes256-sha2_256-modp2048!
	phase2alg=aes256gcm16
	auto=route
	replay-window=128
	ikelifetime=8h
	keylife=1h
	rekeymargin=9m
conn up
	left=198.51.100.10
	right=203.0.113.7
	auto=up
	encapsulation=auto
	esp=aes256gcm16-ecp384
	pfs=no
	salifetime=9x
	ikelifetime=x
conn ignored
	left=198.51.100.10
	right=203.0.113.8
	auto=ignore
	replay_window=1
	dpddelay=1
conn add
	left=198.51.100.10
	right=203.0.113.9
	auto=add
"#;
const IPSEC_LEFT_OUT: &str = r#"conn old
	left=%defaultroute
	right=gw.example
	leftid="@\x01"
	keyexchange=ikev1
	type=transport
	mobike=yes
	keyingtries=3
	authby=rsasig
	odd=1
	also=nowhere
	leftauth=pubkey
	leftprotoport=x
	rightauth=secret
conn three
	ikev2=never
	left=198.51.100.10 198.51.100.11
	right=203.0.113.9
"#;

pub(super) fn import_file() -> Vec<Seed> {
    let swanctl = "connections {\n  cbp {\n    version = 2\n    local_addrs = 198.51.100.10\n    remote_addrs = 203.0.113.5\n    \
                   proposals = aes256gcm16-prfsha384-ecp384, default\n    local { auth = psk\n id = gw.example }\n    remote { auth = \
                   psk\n id = 203.0.113.5 }\n    children {\n      mq { local_ts = 192.0.2.10/32[tcp]\n remote_ts = \
                   203.0.113.20/32[tcp/1414]\n esp_proposals = aes256gcm16-ecp384-esn\n start_action = start }\n    }\n  \
                   }\n}\nsecrets { ike-cbp { id = 203.0.113.5\n secret = 0sRm9vYmFyYmF6cXV1eA== } }\n";
    let ipsec = "config setup\n  charondebug=all\nconn %default\n  keyexchange=ikev2\nconn cbp\n  left=198.51.100.10\n  \
                 right=203.0.113.5\n  leftsubnet=192.0.2.10/32\n  rightsubnet=203.0.113.20/32,203.0.113.21/32\n  authby=secret\n  \
                 ike=aes256-sha2_256-modp2048!\n  esp=aes256gcm16-ecp384\n  auto=start\n  also=more\nconn more\n  type=tunnel\n";
    let files = [
        ("swanctl", swanctl),
        ("swanctl_every", SWANCTL),
        ("swanctl_children", CHILDREN),
        ("swanctl_left_out", LEFT_OUT),
        ("swanctl_secrets", SECRETS),
        ("ipsec", ipsec),
        ("ipsec_every", IPSEC),
        ("ipsec_left_out", IPSEC_LEFT_OUT),
    ];
    let mut seeds: Vec<Seed> = files.map(|(name, text)| (name, text.as_bytes().to_vec())).to_vec();
    let broken: [(&str, &str); 14] = [
        ("open_quote", "a = \"b"),
        ("open_escape", "a = \"b\\"),
        ("open_section", "a {\n b {\n }\n"),
        ("no_section", "}\n"),
        ("no_name", "connections { = }"),
        ("no_value", "connections \"x\""),
        ("deep", "a{a{a{a{a{a{a{a{a{a{}}}}}}}}}}"),
        ("conn_indented", " left=1.2.3.4\nconn a\n"),
        ("conn_unnamed", "conn\n"),
        ("conn_unknown", "other a\n"),
        ("conn_without", "conn a\n left\n"),
        ("conn_circle", "conn a\n also=b\n left=192.0.2.1\nconn b\n also=a\n right=192.0.2.2\n also=c\n"),
        (
            "conn_two",
            "conn a\n left=192.0.2.1\n right=192.0.2.2\n authby=secret\nconn a\n left=192.0.2.1\nconn +\n right=1.1.1.1\n",
        ),
        ("nothing", ""),
    ];
    seeds.extend(broken.map(|(name, text)| (name, text.as_bytes().to_vec())));
    seeds
}
