//! What real clients say, to every recogniser: each passes its own and is stopped by the others.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use portcullis::event::DropReason;
use portcullis::inspect::recognise::{Recogniser, Speaker};
use portcullis::policy::inspection::{MqLimits, SshLimits, Wrapping};
use portcullis::policy::{Inspection, Service};

mod lab_common;

/// A program, its arguments with `PORT` for the port, what the server says first, and to whom it is no stranger.
struct Client {
    program: &'static str,
    arguments: &'static str,
    greeting: &'static str,
    speaks: Option<Service>,
}

const fn client(program: &'static str, arguments: &'static str) -> Client {
    Client { program, arguments, greeting: "", speaks: None }
}

#[expect(clippy::needless_pass_by_value, reason = "a constant is put together")]
const fn greeted(client: Client, greeting: &'static str) -> Client {
    Client { greeting, ..client }
}

#[expect(clippy::needless_pass_by_value, reason = "a constant is put together")]
const fn speaking(client: Client, service: Service) -> Client {
    Client { speaks: Some(service), ..client }
}

const SSH: &str =
    "-p PORT -F none -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null 127.0.0.1";
const MAIL: &str = "220 mail.example ESMTP\r\n";

const CLIENTS: [Client; 25] = [
    speaking(client("openssl", "s_client -connect 127.0.0.1:PORT -tls1_3 -servername mq.example"), Service::Tls),
    speaking(client("openssl", "s_client -connect 127.0.0.1:PORT -tls1_2 -noservername"), Service::Tls),
    speaking(client("openssl", "s_client -connect 127.0.0.1:PORT -alpn h2,http/1.1"), Service::Tls),
    speaking(client("curl", "-sk https://127.0.0.1:PORT/"), Service::Tls),
    speaking(client("curl", "-sk --tlsv1.3 ftps://127.0.0.1:PORT/"), Service::Tls),
    speaking(client("curl", "-sk imaps://127.0.0.1:PORT/"), Service::Tls),
    speaking(greeted(client("ssh", SSH), "SSH-2.0-x\r\n"), Service::Sftp),
    speaking(
        greeted(client("curl", "-s smtp://127.0.0.1:PORT/ --mail-from a@b --mail-rcpt c@d -T /dev/null"), MAIL),
        Service::Smtp,
    ),
    speaking(greeted(client("openssl", "s_client -connect 127.0.0.1:PORT -starttls smtp"), MAIL), Service::Smtp),
    speaking(greeted(client("msmtp", "-C /dev/null --host=127.0.0.1 --port=PORT --from=a@b c@d"), MAIL), Service::Smtp),
    client("curl", "-s http://127.0.0.1:PORT/"),
    client("curl", "-s --http2-prior-knowledge http://127.0.0.1:PORT/"),
    client("curl", "-s -p -x 127.0.0.1:PORT http://192.0.2.1:1414/"),
    client("curl", "-s --socks5 127.0.0.1:PORT http://192.0.2.1/"),
    client("curl", "-s --socks4 127.0.0.1:PORT http://192.0.2.1/"),
    client("curl", "-s dict://127.0.0.1:PORT/d:word"),
    client("curl", "-s gopher://127.0.0.1:PORT/1selector"),
    client("curl", "-s mqtt://127.0.0.1:PORT/topic"),
    client("curl", "-s rtsp://127.0.0.1:PORT/"),
    client("curl", "-s ldap://127.0.0.1:PORT/"),
    greeted(client("curl", "-s ftp://127.0.0.1:PORT/"), "220 ftp.example\r\n"),
    greeted(client("curl", "-s pop3://127.0.0.1:PORT/"), "+OK ready\r\n"),
    greeted(client("curl", "-s imap://127.0.0.1:PORT/"), "* OK ready\r\n"),
    client("mosquitto_pub", "-h 127.0.0.1 -p PORT -t t -m m"),
    client("amqp-publish", "--server=127.0.0.1 --port=PORT -r key -b body"),
];

/// What the program says to a server that greets and then listens.
fn said(client: &Client) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let arguments = client.arguments.split(' ').map(|word| word.replace("PORT", &port));
    let mut program = Command::new(client.program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let patience = Instant::now() + Duration::from_secs(10);
    let mut heard = Vec::new();
    while Instant::now() < patience {
        let Ok((mut stream, _)) = listener.accept() else {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        stream.set_nonblocking(false).unwrap();
        stream.write_all(client.greeting.as_bytes()).unwrap();
        // What comes at once belongs together; the program waits for an answer then.
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut room = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut room) {
            heard.extend(&room[..count]);
            stream.set_read_timeout(Some(Duration::from_millis(150))).unwrap();
        }
        break;
    }
    let _ = program.kill();
    let _ = program.wait();
    heard
}

/// What a service's recogniser says to the client's bytes behind the server's greeting.
fn told(demands: &Inspection, port: u16, greeting: &str, bytes: &[u8]) -> Result<(), (Speaker, usize, DropReason)> {
    let mut recogniser = Recogniser::of(demands, port).unwrap();
    for (by, bytes) in [(Speaker::Responder, greeting.as_bytes()), (Speaker::Opener, bytes)] {
        recogniser.hear(demands, by, bytes).map_err(|objection| (by, objection.at, objection.reason))?;
    }
    Ok(())
}

#[test]
fn real_clients_pass_their_own_recogniser_and_are_stopped_by_all_others() {
    const NAME: &str = "real_clients_pass_their_own_recogniser_and_are_stopped_by_all_others";
    let (here, missing): (Vec<&Client>, Vec<&Client>) =
        CLIENTS.iter().partition(|client| lab_common::has_program(client.program));
    for client in missing {
        lab_common::not_run(&format!("{NAME} ({})", client.program), "it is not installed");
    }
    let services = [
        (Service::Mq, Inspection::Mq(MqLimits { wrapping: Wrapping::Refused, ..MqLimits::default() }), 1414),
        (Service::Sftp, Inspection::Ssh(SshLimits::default()), 22),
        (Service::Smtp, Inspection::of(Service::Smtp), 25),
        (Service::Tls, Inspection::of(Service::Tls), 443),
    ];
    let heard: Vec<(&Client, Vec<u8>)> = std::thread::scope(|scope| {
        let threads: Vec<_> = here.into_iter().map(|client| (client, scope.spawn(move || said(client)))).collect();
        threads.into_iter().map(|(client, thread)| (client, thread.join().unwrap())).collect()
    });
    for (client, bytes) in &heard {
        let name = format!("{} {}: {}", client.program, client.arguments, bytes.escape_ascii());
        assert!(bytes.len() > 2, "it said nothing: {name}");
        for (service, demands, port) in &services {
            // Alone, and behind what its own server would say.
            for greeting in ["", client.greeting] {
                let verdict = told(demands, *port, greeting, bytes);
                let own = client.speaks == Some(*service) && greeting == client.greeting;
                // SSH's banner may come from either side first.
                let own = own || (client.speaks == Some(Service::Sftp) && *service == Service::Sftp);
                if own {
                    assert_eq!(verdict, Ok(()), "{service:?} {name}");
                } else {
                    let (by, at, _) = verdict.expect_err(&format!("{service:?} passes {name}"));
                    // Others differ from the first byte on; a mail server and one of FTP greet alike.
                    let alike = *service == Service::Smtp && greeting.starts_with("220");
                    assert!(at == 0 || alike && by == Speaker::Opener, "{service:?} at {at} of {name}");
                }
            }
        }
    }
    assert!(heard.len() > 10 || heard.is_empty(), "{}", heard.len());
}
