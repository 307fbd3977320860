//! What is said inside, through a real tunnel and with real programs: what the rules allow works, and what they do not does not,
//! for the reason that is told.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod system_common;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use portcullis::lab::mq_dialect::{self, Dialect, Names};
use portcullis::lab::topology::V4;
use system_common::lab_common::not_run;
use system_common::programs::{PYTHON, assert_refused, certificate, client, missing, refused, server};
use system_common::{Pair, Setup, Side, Site, drops, rule, site, wait_until};

/// Two gateways with one rule between the hosts.
fn pair(site: &Site, name: &str, demands: &str) -> Pair {
    let end = [Side::A, Side::B].map(|side| rule(side, name, V4.host_a, V4.host_b, demands));
    site.pair(&Setup { inner: Vec::new(), end, ..Setup::default() })
}

#[test]
fn sftp_works_with_the_ciphers_of_the_rule_and_with_no_other() {
    const NAME: &str = "sftp_works_with_the_ciphers_of_the_rule_and_with_no_other";
    if missing(NAME, &["sshd", "sftp", "ssh", "ssh-keygen"]) {
        return;
    }
    let separation = Path::new("/run/sshd");
    if !separation.is_dir() && fs::create_dir(separation).is_err() || !nix::unistd::Uid::effective().is_root() {
        return not_run(NAME, "sshd runs as root only");
    }
    let Some(site) = site(NAME) else { return };
    let pair = pair(&site, "sftp", "service = \"sftp\"");
    let folder = site.folder(Side::B);
    for key in ["host", "user"] {
        let made =
            Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(folder.join(key)).status();
        assert!(made.unwrap().success());
    }
    let config = folder.join("sshd_config");
    let text = format!(
        "HostKey {0}/host\nAuthorizedKeysFile {0}/user.pub\nListenAddress {1}\nPidFile none\nStrictModes no\nUsePAM no\n\
         PermitRootLogin yes\nSubsystem sftp internal-sftp\n",
        folder.display(),
        V4.host_b
    );
    fs::write(&config, text).unwrap();
    let sshd = ["/usr/sbin/sshd", "/sbin/sshd"].into_iter().find(|path| Path::new(path).is_file()).unwrap_or("sshd");
    let _server = server(&site, 22, Command::new(sshd).args(["-D", "-e", "-f"]).arg(&config));

    let user = format!("root@{}", V4.host_b);
    let identity = format!("IdentityFile={}/user", folder.display());
    let common = [
        "-F",
        "none",
        "-o",
        &identity,
        "-o",
        "BatchMode=yes",
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
    ];
    let (up, back) = (folder.join("up"), folder.join("back"));
    let content: Vec<u8> = (0..2_000_000_u32).map(|number| (number * 7 / 3) as u8).collect();
    fs::write(&up, &content).unwrap();
    let batch = format!("put {0} {0}.there\nget {0}.there {1}\n", up.display(), back.display());
    for cipher in ["aes256-gcm@openssh.com", "aes256-ctr"] {
        let cipher = format!("Ciphers={cipher}");
        let arguments = [&common[..], &["-o", &cipher, "-b", "-", &user]].concat();
        let done = client(&site.topology.host_a, "sftp", &arguments, batch.as_bytes());
        assert!(done.status.success(), "{}\n{}", String::from_utf8_lossy(&done.stderr), pair.logs());
        assert!(fs::read(&back).unwrap() == content, "it comes back as it went");
        fs::remove_file(&back).unwrap();
    }
    assert!(!refused(&pair, "ssh-cipher"));
    for ciphers in ["chacha20-poly1305@openssh.com", "aes128-ctr,aes256-ctr"] {
        let arguments = [&common[..], &["-c", ciphers, &user, "true"]].concat();
        let refused = client(&site.topology.host_a, "ssh", &arguments, b"");
        assert!(!refused.status.success(), "{ciphers} passes");
        assert_refused(&pair, "ssh-cipher");
    }
    pair.stop();
}

/// A mail server that wants STARTTLS before a mail, or not, and writes the mails to a file.
const MAIL_SERVER: &str = r#"
import ssl, sys, time
from aiosmtpd.controller import Controller

host, certificate, key, mails = sys.argv[1:]

class Handler:
    async def handle_DATA(self, server, session, envelope):
        with open(mails, "ab") as out:
            out.write(envelope.content)
        return "250 written"

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
Controller(Handler(), hostname=host, port=25, tls_context=context, require_starttls=False).start()
while True:
    time.sleep(1)
"#;

#[test]
fn mail_goes_behind_starttls_and_not_in_the_clear() {
    const NAME: &str = "mail_goes_behind_starttls_and_not_in_the_clear";
    if missing(NAME, &["msmtp", "openssl"]) {
        return;
    }
    let has_server = Command::new(PYTHON).args(["-c", "import aiosmtpd"]).output();
    if !has_server.is_ok_and(|output| output.status.success()) {
        return not_run(NAME, "python3-aiosmtpd is not installed");
    }
    let Some(site) = site(NAME) else { return };
    let pair = pair(&site, "mail", "service = \"smtp\"\ntls = \"required\"");
    let folder = site.folder(Side::B);
    let [certificate, key] = certificate(&folder);
    let mails = folder.join("mails");
    let host = V4.host_b.to_string();
    let mut command = Command::new(PYTHON);
    command.args(["-c", MAIL_SERVER, &host]).arg(&certificate).arg(&key).arg(&mails);
    let _server = server(&site, 25, &mut command);

    let to = format!("--host={host}");
    let config = folder.join("msmtprc");
    fs::write(&config, "").unwrap();
    let config = format!("--file={}", config.display());
    let send = |tls: &[&str], mail: &str| {
        let arguments =
            [&[config.as_str(), &to, "--port=25", "--from=a@client.example"], tls, &["b@server.example"]].concat();
        client(&site.topology.host_a, "msmtp", &arguments, mail.as_bytes())
    };
    let sent = send(&["--tls=on", "--tls-starttls=on", "--tls-certcheck=off"], "Subject: one\n\nin TLS\n");
    assert!(sent.status.success(), "{}\n{}", String::from_utf8_lossy(&sent.stderr), pair.logs());
    assert!(fs::read_to_string(&mails).unwrap().contains("in TLS"));
    assert!(!refused(&pair, "tls-required"));
    let sent = send(&["--tls=off"], "Subject: two\n\nin clear\n");
    assert!(!sent.status.success(), "a mail in the clear passes");
    assert_refused(&pair, "tls-required");
    assert!(!fs::read_to_string(&mails).unwrap().contains("in clear"));
    pair.stop();
}

#[test]
fn tls_of_the_versions_suites_and_names_of_the_rule_works_and_no_other() {
    const NAME: &str = "tls_of_the_versions_suites_and_names_of_the_rule_works_and_no_other";
    if missing(NAME, &["openssl", "curl"]) {
        return;
    }
    let Some(site) = site(NAME) else { return };
    let pair =
        pair(&site, "tls", "service = \"tls\"\ntcp = [443, 8443]\nciphers = [\"aes256\"]\nsni = [\"server.example\"]");
    let folder = site.folder(Side::B);
    let [certificate, key] = certificate(&folder);
    let accept = |port: u16, more: &[&str]| {
        let mut command = Command::new("openssl");
        command.args(["s_server", "-quiet", "-www", "-accept", &format!("{}:{port}", V4.host_b), "-cert"]);
        command.arg(&certificate).arg("-key").arg(&key).args(more);
        server(&site, port, &mut command)
    };
    let _server = accept(443, &[]);
    let resolve = format!("server.example:443:{}", V4.host_b);
    for version in [
        &["--tlsv1.3", "--tls13-ciphers", "TLS_AES_256_GCM_SHA384"][..],
        &["--tls-max", "1.2", "--ciphers", "ECDHE-ECDSA-AES256-GCM-SHA384"],
    ] {
        let arguments = [&["-sk", "--resolve", &resolve], version, &["https://server.example/"]].concat();
        let page = client(&site.topology.host_a, "curl", &arguments, b"");
        assert!(page.status.success(), "{version:?} {}\n{}", String::from_utf8_lossy(&page.stderr), pair.logs());
        assert!(String::from_utf8_lossy(&page.stdout).contains("s_server"), "the page of s_server");
    }
    let target = format!("{}:443", V4.host_b);
    let connect = |more: &[&str]| {
        let arguments = [&["s_client", "-brief", "-connect", &target], more].concat();
        client(&site.topology.host_a, "openssl", &arguments, b"Q\n")
    };
    assert!(connect(&["-servername", "server.example"]).status.success());
    for reason in ["tls-server-name", "tls-suite", "tls-version", "not-tls"] {
        assert!(!refused(&pair, reason), "{reason}");
    }
    for (arguments, reason) in [
        (&["-servername", "other.example"][..], "tls-server-name"),
        (&["-noservername", "-tls1_2"], "tls-server-name"),
        (&["-servername", "server.example", "-ciphersuites", "TLS_AES_128_GCM_SHA256"], "tls-suite"),
        (&["-servername", "server.example", "-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"], "tls-suite"),
    ] {
        let before = drops(&pair.a, reason) + drops(&pair.b, reason);
        assert!(!connect(arguments).status.success(), "{arguments:?} passes");
        assert!(
            wait_until(|| drops(&pair.a, reason) + drops(&pair.b, reason) > before),
            "{arguments:?}: {reason}\n{}",
            pair.logs()
        );
    }
    // TLS 1.1 is old enough that both ends have to be told to.
    let old = &["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"];
    let _old = accept(8443, old);
    let target = format!("{}:8443", V4.host_b);
    let arguments = [&["s_client", "-brief", "-connect", &target, "-servername", "server.example"], &old[..]].concat();
    assert!(!client(&site.topology.host_a, "openssl", &arguments, b"Q\n").status.success(), "TLS 1.1 passes");
    assert_refused(&pair, "tls-version");
    // And what is no TLS at all.
    let target = format!("http://{}:443/", V4.host_b);
    assert!(!client(&site.topology.host_a, "curl", &["-s", &target], b"").status.success(), "HTTP passes");
    assert_refused(&pair, "not-tls");
    pair.stop();
}

/// The bytes of the client in one conversation; the server answers with its own. How many of the client's arrived.
fn converse(site: &Site, listener: &TcpListener, said: &[mq_dialect::Said]) -> (usize, bool) {
    let target = listener.local_addr().unwrap();
    let mut near = system_common::connect(&site.topology.host_a, target, Duration::from_secs(10)).unwrap();
    let mut far = listener.accept().unwrap().0;
    for stream in [&near, &far] {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.set_nodelay(true).unwrap();
    }
    let mut arrived = 0;
    for said in said {
        let (from, to) = if said.by_opener { (&mut near, &mut far) } else { (&mut far, &mut near) };
        let mut heard = vec![0; said.bytes.len()];
        if from.write_all(&said.bytes).and_then(|()| to.read_exact(&mut heard)).is_err() {
            return (arrived, false);
        }
        assert_eq!(heard, said.bytes, "it arrives as it was sent");
        arrived += usize::from(said.by_opener) * heard.len();
    }
    (arrived, true)
}

#[test]
fn mq_works_with_the_queues_of_the_rule_and_administration_does_not() {
    let Some(site) = site("mq_works_with_the_queues_of_the_rule_and_administration_does_not") else { return };
    let pair = pair(
        &site,
        "mq",
        "service = \"mq\"\nroles = [\"client\"]\nchannels = [\"CBP.SVRCONN\"]\nqueues = [\"CBP.*\"]\ntls = \"refused\"",
    );
    let target = SocketAddr::new(V4.host_b, 1414);
    let listener = site.topology.host_b.run(|| TcpListener::bind(target)).unwrap().unwrap();
    let converse = |said: &[mq_dialect::Said]| converse(&site, &listener, said);
    let names = Names::default();
    for dialect in Dialect::all() {
        let (_, whole) = converse(&mq_dialect::client(dialect, &names, 20_000));
        assert!(whole, "{dialect:?}\n{}\n{}", pair.a.status().unwrap(), pair.logs());
    }
    let dialect = Dialect { level: 13, little: false, ebcdic: false };
    let mut begun = mq_dialect::client(dialect, &names, 10);
    begun.truncate(6);
    for (names, reason) in [
        (Names { queue: "SYSTEM.ADMIN.COMMAND.QUEUE", ..names }, "mq-queue"),
        (Names { queue: "PAYROLL", ..names }, "mq-queue"),
    ] {
        let said = [&begun[..], &[mq_dialect::put1(dialect, &names)]].concat();
        assert!(!converse(&said).1, "{} is opened", names.queue);
        assert_refused(&pair, reason);
    }
    let other = mq_dialect::client(dialect, &Names { channel: "OTHER", ..names }, 10);
    assert!(!converse(&other).1, "another channel");
    assert_refused(&pair, "mq-channel");
    assert!(!converse(&mq_dialect::sender(dialect, &names, 10)).1, "a message channel");
    assert_refused(&pair, "mq-role");
    let said = [&begun[..], &[mq_dialect::lone(dialect, 0xa1, &[0; 40])]].concat();
    assert!(!converse(&said).1, "a distributed transaction");
    assert_refused(&pair, "mq-xa");
    pair.stop();
}

#[test]
fn a_rule_that_observes_lets_pass_what_is_illegal_and_counts_and_tells_it() {
    let Some(site) = site("a_rule_that_observes_lets_pass_what_is_illegal_and_counts_and_tells_it") else { return };
    let pair = pair(&site, "mq", "service = \"mq\"\nqueues = [\"CBP.*\"]\ninspect = \"observe\"");
    let events = [&pair.a, &pair.b].map(|gateway| gateway.monitor().unwrap());
    let target = SocketAddr::new(V4.host_b, 1414);
    let listener = site.topology.host_b.run(|| TcpListener::bind(target)).unwrap().unwrap();
    let observed = |gateway: &portcullis::lab::gateway::Gateway| {
        gateway.status().unwrap()["rules"]["mq"]["flows_observed"].as_u64().unwrap()
    };
    // What is legal is recognised, and not observed.
    let names = Names::default();
    let dialect = Dialect { level: 13, little: false, ebcdic: false };
    assert!(converse(&site, &listener, &mq_dialect::client(dialect, &names, 2000)).1, "{}", pair.logs());
    assert_eq!([&pair.a, &pair.b].map(observed), [0, 0]);

    let said = |by_opener, bytes: &[u8]| mq_dialect::Said { by_opener, bytes: bytes.to_vec() };
    let http = [
        said(true, b"GET / HTTP/1.1\r\nHost: server.example\r\n\r\n"),
        said(false, b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"),
        said(false, &vec![b'x'; 100_000]),
    ];
    let mut payroll = mq_dialect::client(dialect, &names, 10);
    payroll.truncate(6);
    payroll.push(mq_dialect::put1(dialect, &Names { queue: "PAYROLL", ..names }));
    payroll.push(said(false, b"and what it likes after that"));
    for (number, (said, reason)) in (1..).zip([(&http[..], "not-mq"), (&payroll, "mq-queue")]) {
        assert!(converse(&site, &listener, said).1, "{reason} is stopped\n{}", pair.logs());
        for (gateway, events) in [&pair.a, &pair.b].into_iter().zip(&events) {
            let told = |event: &serde_json::Value| event["event"] == "flow-observed" && event["reason"] == reason;
            let event = events.find(system_common::PATIENCE, told);
            let event = event.unwrap_or_else(|| panic!("{reason}: {:?}", events.so_far()));
            assert_eq!((&event["rule"], &event["clause"]), (&"mq".into(), &"1a".into()), "{event}");
            assert_eq!(event["flow"]["destination_port"], 1414, "{event}");
            // Once for a flow, however much it says, and nothing of it was refused.
            assert!(wait_until(|| observed(gateway) == number), "{}", gateway.status().unwrap());
            assert_eq!(drops(gateway, reason), 0);
        }
    }
    pair.stop();
}

/// nmap knocks at every low port of the other side, and at two above them, with whole connections and with its odd segments.
#[test]
fn nmap_from_the_far_side_finds_nothing_but_what_is_allowed() {
    const NAME: &str = "nmap_from_the_far_side_finds_nothing_but_what_is_allowed";
    if missing(NAME, &["nmap"]) {
        return;
    }
    let Some(site) = site(NAME) else { return };
    // Host A listens at three ports; host B may open one of them.
    let end = [Side::B, Side::A].map(|side| rule(side, "web", V4.host_b, V4.host_a, "service = \"tcp\"\ntcp = [8080]"));
    let pair = site.pair(&Setup { inner: Vec::new(), end, ..Setup::default() });
    let listen =
        |port| site.topology.host_a.run(move || TcpListener::bind(SocketAddr::new(V4.host_a, port))).unwrap().unwrap();
    let _listeners = [22, 80, 8080].map(listen);
    let host = V4.host_a.to_string();
    let scan = |kind: &str| {
        let arguments =
            ["-n", "-Pn", kind, "-T5", "--max-retries", "0", "--open", "-p", "1-100,8080-8081", "-oG", "-", &host];
        let scan = client(&site.topology.host_b, "nmap", &arguments, b"");
        let found = String::from_utf8_lossy(&scan.stdout).into_owned();
        assert!(scan.status.success(), "{kind}: {found} {}", String::from_utf8_lossy(&scan.stderr));
        let words = found.split(&[' ', ','][..]);
        let open: Vec<&str> = words.filter(|word| word.contains("/open/") || word.contains("/unfiltered/")).collect();
        match kind {
            "-sT" | "-sS" => {
                assert!(open.iter().all(|port| port.starts_with("8080/")) && !open.is_empty(), "{kind}: {found}");
            }
            // Segments that begin no connection come through nowhere.
            _ => assert!(open.is_empty(), "{kind}: {found}"),
        }
    };
    std::thread::scope(|scope| {
        for kind in ["-sT", "-sS", "-sF", "-sX", "-sN", "-sA", "-sM"] {
            scope.spawn(|| scan(kind));
        }
    });
    pair.stop();
}
