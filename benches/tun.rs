//! Reading a long packet from a TUN device, root only: in one piece, which then has to be moved apart, or in pieces right
//! to where its segments will be sealed. Both in turn, each timed until every segment lies apart. `cargo bench --bench tun`.

use std::net::UdpSocket as StdUdp;
use std::time::{Duration, Instant as Clock};

use portcullis::dataplane::buffer::{Batch, Layout, Path};
use portcullis::dataplane::offload::TunOffload;
use portcullis::platform::namespace::Namespace;
use portcullis::platform::netlink::Netlink;
use portcullis::platform::tun::Tun;
use portcullis::platform::udp::UdpSocket;

const SEGMENT: usize = 1398;
const SEGMENTS: usize = 44;
const HEADERS: usize = 28;
const ROUNDS: usize = 20_000;
/// As the data path spaces them.
const DISTANCE: usize = 1600;

fn main() {
    let place = match Namespace::new() {
        Ok(place) => place,
        Err(error) => return println!("NOT RUN: tun: no network namespace: {error}"),
    };
    let result = place.run(measure);
    assert!(matches!(result, Ok(Ok(()))), "{result:?}");
}

fn measure() -> std::io::Result<()> {
    let mut tun = Tun::open("bench0", 1438, TunOffload::TcpAndUdp)?;
    let mut netlink = Netlink::open()?;
    let index = netlink.index_of("bench0")?;
    netlink.add_address(index, "192.0.2.1/24".parse().expect("a network"))?;
    let mut socket = UdpSocket::bind("192.0.2.1".parse().expect("an address"), 7000)?;
    let _keeps_icmp_away = StdUdp::bind("192.0.2.1:9000")?;
    let path = Path {
        local: "192.0.2.1:7000".parse().expect("an address"),
        remote: "192.0.2.2:9000".parse().expect("an address"),
        tos: 0,
    };
    let mut sent = Batch::new(SEGMENTS, SEGMENT);
    for _ in 0..SEGMENTS {
        sent.vacant().expect("room").fill(0x33);
        sent.push(SEGMENT, 0, Some(path));
    }
    let mut batch = Batch::with_trains(64, 9728);
    let mut times: [Vec<Duration>; 2] = [Vec::new(), Vec::new()];
    for round in 0..ROUNDS {
        let apart = round % 2;
        assert_eq!(socket.send_batch(&sent, 0).sent, SEGMENTS);
        batch.clear();
        let segment = if apart == 1 { SEGMENT } else { 0 };
        batch.expect(Layout { header_len: HEADERS, segment });
        let start = Clock::now();
        let count = tun.read_batch(&mut batch)?;
        if apart == 0 {
            let (packets, slab) = batch.parts_mut();
            let from = packets[0].start + HEADERS;
            for index in (0..SEGMENTS).rev() {
                let piece = from + index * SEGMENT;
                slab.copy_within(piece..piece + SEGMENT, from + index * DISTANCE);
            }
        }
        times[apart].push(start.elapsed());
        assert_eq!((count, batch.packets()[0].spread), (1, apart == 1));
    }
    let [together, apart] = times.map(|mut times| {
        times.sort_unstable();
        [times[0], times[times.len() / 10], times[times.len() / 2]].map(|time| time.as_nanos())
    });
    println!("{SEGMENTS} segments of {SEGMENT} bytes, ns: best, tenth percentile, median");
    println!("read in one piece and moved apart {together:?}");
    println!("read apart                        {apart:?}");
    Ok(())
}
