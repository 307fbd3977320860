//! Hosts on private addresses behind an outside one, with two gateways, real TUN devices and the kernel's own TCP: the far host
//! sees the outside address alone, files arrive as they were sent, and so does what the way says of their size.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod system_common;

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use ipnet::IpNet;
use portcullis::lab::topology::{Addresses, V4, V6};
use portcullis::platform::netlink::{Netlink, Route};
use socket2::{Domain, Protocol, Socket, Type};
use system_common::{
    PATIENCE, PORT, Pair, Setup, Side, Site, assert_nothing_in_clear, drops, exchange, rule, site, wait_until,
};

const FILE: usize = 4 << 20;
const CALLED: u16 = 7100;
const ASKED: u16 = 7200;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The host's private addresses in place of the one that the rules name; the gateway has the first one of their network.
fn move_host(site: &Site, outside: Addresses, private: &[&str], router: &str) {
    let length = if outside.host_a.is_ipv4() { 24 } else { 64 };
    let net = |address: IpAddr| IpNet::new(address, length).unwrap();
    let any = IpNet::new(if outside.host_a.is_ipv4() { ip("0.0.0.0") } else { ip("::") }, 0).unwrap();
    site.topology
        .gateway_a
        .run(|| {
            let mut netlink = Netlink::open()?;
            let link = netlink.index_of("inside")?;
            netlink.add_address(link, net(ip(router)))
        })
        .unwrap()
        .unwrap();
    site.topology
        .host_a
        .run(|| {
            let mut netlink = Netlink::open()?;
            let link = netlink.index_of("eth0")?;
            netlink.delete_address(link, net(outside.host_a))?;
            for address in private {
                netlink.add_address(link, net(ip(address)))?;
            }
            netlink.replace_route(&Route::by_gateway(any, ip(router)))
        })
        .unwrap()
        .unwrap();
}

fn translate(inside: &str, outside: IpAddr, inbound: Option<&str>) -> String {
    let inbound = inbound.map(|host| format!("inbound = \"{host}\"\n")).unwrap_or_default();
    format!("\n[[translate]]\ntunnel = \"t\"\ninside = {inside}\noutside = \"{outside}\"\n{inbound}")
}

fn flows(side: Side, family: Addresses) -> String {
    let v6 = if family.host_a.is_ipv6() { "-v6" } else { "" };
    let called = format!("service = \"tcp\"\ntcp = [{CALLED}]");
    let asked = format!("service = \"udp\"\nudp = [{ASKED}]");
    let other = if side == Side::A { Side::B } else { Side::A };
    // B's host opens `called`, so the sides change places.
    rule(other, &format!("called{v6}"), family.host_b, family.host_a, &called)
        + &rule(side, &format!("asked{v6}"), family.host_a, family.host_b, &asked)
        + &rule(side, &format!("echo{v6}"), family.host_a, family.host_b, "service = \"echo\"")
}

fn start(site: &Site, families: &[Addresses], translations: &str) -> Pair {
    let mut setup = Setup::between(V4, families);
    for (side, end) in [Side::A, Side::B].into_iter().zip(&mut setup.end) {
        for family in families {
            end.push_str(&flows(side, *family));
        }
    }
    setup.end[0].push_str(translations);
    site.pair(&setup)
}

/// A connection from one of host A's addresses and port to host B's listener.
fn connect(site: &Site, from: (IpAddr, u16), to: SocketAddr) -> TcpStream {
    let open = || -> std::io::Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
        socket.bind(&SocketAddr::from(from).into())?;
        socket.connect_timeout(&to.into(), PATIENCE)?;
        Ok(socket.into())
    };
    site.topology.host_a.run(open).unwrap().expect("a connection through the tunnel")
}

#[test]
fn a_host_on_a_private_address_is_its_outside_address_to_the_partner() {
    let Some(site) = site("a_host_on_a_private_address_is_its_outside_address_to_the_partner") else { return };
    move_host(&site, V4, &["10.1.0.10"], "10.1.0.1");
    move_host(&site, V6, &["fd00:a::10"], "fd00:a::1");
    let list = translate("\"10.1.0.10\"", V4.host_a, None) + &translate("\"fd00:a::10\"", V6.host_a, None);
    let pair = start(&site, &[V4, V6], &list);
    let watch = site.watch();
    let events = pair.a.monitor().unwrap();
    for (family, private) in [(V4, "10.1.0.10"), (V6, "fd00:a::10")] {
        // Out: the partner sees the outside address.
        let target = SocketAddr::new(family.host_b, PORT);
        let listener = site.topology.host_b.run(|| TcpListener::bind(target)).unwrap().unwrap();
        let client = connect(&site, (ip(private), 0), target);
        let (server, seen) = listener.accept().unwrap();
        assert_eq!(seen, SocketAddr::new(family.host_a, client.local_addr().unwrap().port()));
        exchange(&client, &server, FILE, &|_| {});
        let opened = events.find(PATIENCE, |event| {
            event["event"] == "flow-opened" && event["flow"]["source"] == family.host_a.to_string()
        });
        assert_eq!(opened.unwrap()["inside"]["address"], private);
        // In: the partner calls the outside address.
        let listener = site.topology.host_a.run(|| TcpListener::bind((ip(private), CALLED))).unwrap().unwrap();
        let call = SocketAddr::new(family.host_a, CALLED);
        let call = || TcpStream::connect_timeout(&call, PATIENCE);
        let client = site.topology.host_b.run(call).unwrap().expect("a call");
        let (server, seen) = listener.accept().unwrap();
        assert_eq!(seen.ip(), family.host_b);
        exchange(&client, &server, FILE, &|_| {});
    }
    assert_nothing_in_clear(&watch.stop().unwrap());
    for gateway in [&pair.a, &pair.b] {
        for reason in ["bad-offload", "bad-transport", "bad-ip-checksum", "no-mapping", "selector"] {
            assert_eq!(drops(gateway, reason), 0, "{reason}");
        }
    }
    // Where no rule leads the host is told by its own name: the kernel believes it at once.
    let refused = system_common::connect(&site.topology.host_a, SocketAddr::new(V4.host_b, PORT + 1), PATIENCE);
    assert_eq!(refused.unwrap_err(), std::io::ErrorKind::HostUnreachable);
    pair.stop();
}

#[test]
fn hosts_that_share_an_address_have_their_own_connections_even_from_one_port() {
    let Some(site) = site("hosts_that_share_an_address_have_their_own_connections_even_from_one_port") else { return };
    let hosts = ["10.1.0.10", "10.1.0.11", "10.1.0.12"];
    move_host(&site, V4, &hosts, "10.1.0.1");
    let pair = start(&site, &[V4], &translate("\"10.1.0.0/24\"", V4.host_a, Some("10.1.0.11")));
    let target = SocketAddr::new(V4.host_b, PORT);
    let listener = site.topology.host_b.run(|| TcpListener::bind(target)).unwrap().unwrap();
    let mut open: Vec<(TcpStream, TcpStream)> = Vec::new();
    let mut ports = std::collections::BTreeSet::new();
    for host in hosts {
        let client = connect(&site, (ip(host), 40_000), target);
        let (server, seen) = listener.accept().unwrap();
        assert_eq!(seen.ip(), V4.host_a);
        ports.insert(seen.port());
        open.push((client, server));
    }
    assert!(ports.len() == 3 && ports.contains(&40_000), "{ports:?}");
    std::thread::scope(|scope| {
        for (client, server) in &open {
            scope.spawn(|| exchange(client, server, FILE, &|_| {}));
        }
    });
    assert!(wait_until(|| pair.a.status().unwrap()["mappings"].as_u64() == Some(3)));
    // Datagrams from one port of each, and the answers.
    let far = site.topology.host_b.run(|| UdpSocket::bind((V4.host_b, ASKED))).unwrap().unwrap();
    far.set_read_timeout(Some(PATIENCE)).unwrap();
    let near: Vec<UdpSocket> = hosts
        .iter()
        .map(|host| site.topology.host_a.run(|| UdpSocket::bind((ip(host), 41_000))).unwrap().unwrap())
        .collect();
    let mut buffer = [0; 100];
    for (socket, host) in near.iter().zip(hosts) {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send_to(host.as_bytes(), (V4.host_b, ASKED)).unwrap();
        let (length, from) = far.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from.ip()), (host.as_bytes(), V4.host_a));
        far.send_to(&buffer[..length], from).unwrap();
        let (length, from) = socket.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from.ip()), (host.as_bytes(), V4.host_b));
    }
    // The partner's call comes to the one that is named, and to no other.
    let listeners: Vec<TcpListener> = hosts
        .iter()
        .map(|host| site.topology.host_a.run(|| TcpListener::bind((ip(host), CALLED))).unwrap().unwrap())
        .collect();
    let call = || TcpStream::connect_timeout(&SocketAddr::new(V4.host_a, CALLED), PATIENCE);
    let mut client = site.topology.host_b.run(call).unwrap().expect("a call");
    let (mut server, _) = listeners[1].accept().unwrap();
    client.write_all(b"for the second").unwrap();
    let mut heard = [0; 14];
    server.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"for the second");
    pair.stop();
}

#[test]
fn a_narrow_link_behind_the_partner_is_told_to_the_host_under_its_own_name() {
    let Some(site) = site("a_narrow_link_behind_the_partner_is_told_to_the_host_under_its_own_name") else { return };
    let hosts = ["10.1.0.10", "10.1.0.11"];
    move_host(&site, V4, &hosts, "10.1.0.1");
    let pair = start(&site, &[V4], &translate("[\"10.1.0.10\", \"10.1.0.11\"]", V4.host_a, Some("10.1.0.10")));
    // The last link takes 900 bytes, and only its router knows: it says so, in an ICMP error about the outside address.
    let narrow = || -> std::io::Result<()> {
        let mut netlink = Netlink::open()?;
        let link = netlink.index_of("inside")?;
        netlink.set_mtu(link, 900)
    };
    site.topology.gateway_b.run(narrow).unwrap().unwrap();
    let target = SocketAddr::new(V4.host_b, PORT);
    let listener = site.topology.host_b.run(|| TcpListener::bind(target)).unwrap().unwrap();
    // The first host takes the port, so that the second one has another outside.
    let first = connect(&site, (ip(hosts[0]), 40_000), target);
    let _ = listener.accept().unwrap();
    let mut second = connect(&site, (ip(hosts[1]), 40_000), target);
    let (mut server, seen) = listener.accept().unwrap();
    assert_ne!(seen.port(), 40_000);
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| second.write_all(&vec![7; 1 << 20]).unwrap());
        let mut file = vec![0; 1 << 20];
        server
            .read_exact(&mut file)
            .unwrap_or_else(|error| panic!("{error}: the sender never hears of it\n{}", pair.logs()));
    });
    drop(first);
    pair.stop();
}
