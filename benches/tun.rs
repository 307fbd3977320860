//! Reading a long packet from a TUN device, root only: in one piece, which is then moved apart, or in pieces right to where
//! its segments are sealed. Both in turn, each timed until every segment lies apart. `cargo bench --bench tun`.

use std::fs::File;
use std::io::{self, IoSliceMut, Read};
use std::net::UdpSocket as StdUdp;
use std::os::fd::AsFd;
use std::time::{Duration, Instant as Clock};

use portcullis::dataplane::buffer::{Batch, Path};
use portcullis::dataplane::offload::TunOffload;
use portcullis::platform::namespace::Namespace;
use portcullis::platform::netlink::Netlink;
use portcullis::platform::tun::Tun;
use portcullis::platform::udp::UdpSocket;
use portcullis::wire::vnet;

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

fn measure() -> io::Result<()> {
    let tun = Tun::open("bench0", 1438, TunOffload::TcpAndUdp)?;
    let mut file = File::from(tun.as_fd().try_clone_to_owned()?);
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
    let mut slab = vec![0_u8; DISTANCE * (SEGMENTS + 1)];
    let mut header = [0; vnet::LEN];
    let mut times: [Vec<Duration>; 2] = [Vec::new(), Vec::new()];
    for round in 0..ROUNDS {
        assert_eq!(socket.send_batch(&sent, 0).sent, SEGMENTS);
        let start = Clock::now();
        let len = if round % 2 == 0 {
            let len = file.read_vectored(&mut [IoSliceMut::new(&mut header), IoSliceMut::new(&mut slab)])?;
            for index in (0..SEGMENTS).rev() {
                let from = HEADERS + index * SEGMENT;
                slab.copy_within(from..from + SEGMENT, HEADERS + index * DISTANCE);
            }
            len
        } else {
            let mut pieces: [IoSliceMut<'_>; SEGMENTS + 1] = std::array::from_fn(|_| IoSliceMut::new(&mut []));
            pieces[0] = IoSliceMut::new(&mut header);
            for (index, (piece, slot)) in pieces[1..].iter_mut().zip(slab.chunks_mut(DISTANCE)).enumerate() {
                *piece = IoSliceMut::new(if index == 0 {
                    &mut slot[..HEADERS + SEGMENT]
                } else {
                    &mut slot[HEADERS..][..SEGMENT]
                });
            }
            file.read_vectored(&mut pieces)?
        };
        times[round % 2].push(start.elapsed());
        assert_eq!(len, vnet::LEN + HEADERS + SEGMENTS * SEGMENT);
        assert_eq!(slab[HEADERS + (SEGMENTS - 1) * DISTANCE..][..SEGMENT], [0x33; SEGMENT]);
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
