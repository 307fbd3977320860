//! Datagrams that the kernel gives together (`UDP_GRO`), cut short or lied about on the way: they come by the kernel, from a device
//! that says of one packet what it likes, through the socket to the data path. Each that is lost has a name, and what comes behind is
//! taken as always.
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod esp_support;
mod platform_common;

use std::collections::BTreeMap;

use esp_support::{Options, Pair, across, allowed, drops, seal_one};
use platform_common::{claim, net, privileged, wait_until};
use portcullis::dataplane::buffer::{Batch, Path};
use portcullis::dataplane::offload::TunOffload;
use portcullis::event::DropReason;
use portcullis::platform::namespace::Namespace;
use portcullis::platform::netlink::Netlink;
use portcullis::platform::tun::Tun;
use portcullis::platform::udp::UdpSocket;

/// Length of each inner packet's payload but the last one's, and of that.
const PAYLOAD: usize = 300;
const LAST: usize = 100;
/// Datagrams in a train.
const COUNT: usize = 6;

/// A gateway with a real socket, a device behind which its peer is, and the peer.
struct Scene {
    pair: Pair,
    device: Tun,
    socket: UdpSocket,
    path: Path,
}

/// What became of one message.
#[derive(Debug, PartialEq)]
struct Fate {
    let_in: usize,
    dropped: BTreeMap<DropReason, u64>,
    truncated: u64,
}

impl Fate {
    fn of(let_in: usize, dropped: &[(DropReason, u64)]) -> Self {
        Self { let_in, dropped: dropped.iter().copied().collect(), truncated: 0 }
    }
}

impl Scene {
    /// `None` if the kernel's devices do not know messages of many datagrams.
    fn set(test: &str) -> Option<Self> {
        let device = Tun::open("pc0", 1438, TunOffload::TcpAndUdp).unwrap();
        if device.offload() != TunOffload::TcpAndUdp {
            println!("NOT RUN: {test}: no USO before Linux 6.2");
            return None;
        }
        let mut netlink = Netlink::open().unwrap();
        let index = netlink.index_of("pc0").unwrap();
        netlink.add_address(index, net("198.51.100.2/24")).unwrap();
        let mut socket = UdpSocket::bind("0.0.0.0".parse().unwrap(), 4500).unwrap();
        socket.enable_gro();
        assert!(socket.gro());
        let mut pair = Pair::new(Options::default());
        let (_, path) = seal_one(&mut pair.left, pair.now, &allowed(LAST)).unwrap();
        Some(Self { pair, device, socket, path: across(path) })
    }

    /// Datagrams of the peer, all of one length but the last.
    fn sealed(&mut self, count: usize) -> Vec<Vec<u8>> {
        let len = |index| if index + 1 == count { LAST } else { PAYLOAD };
        let sealed = (0..count).map(|index| seal_one(&mut self.pair.left, self.pair.now, &allowed(len(index))));
        sealed.map(|sealed| sealed.unwrap().0).collect()
    }

    /// Lets `bytes` arrive as datagrams of the length `said`, and takes them in by slots of `room` bytes.
    fn arrive(&mut self, bytes: &[u8], said: Option<u16>, room: usize) -> Fate {
        let truncated = self.socket.truncated();
        claim(&self.device, self.path, bytes, said).unwrap();
        let mut batch = Batch::new(4, room);
        assert!(wait_until(|| self.socket.recv_batch(&mut batch).unwrap() == 1), "it did not come");
        let fate = take_in(&mut self.pair, &mut batch);
        Fate { truncated: self.socket.truncated() - truncated, ..fate }
    }
}

/// Lets the right gateway have a batch.
fn take_in(pair: &mut Pair, batch: &mut Batch) -> Fate {
    let before = drops(&pair.right);
    pair.right.inbound(pair.now, batch);
    let mut dropped = drops(&pair.right);
    for (reason, count) in before {
        *dropped.get_mut(&reason).unwrap() -= count;
    }
    dropped.retain(|_, count| *count > 0);
    let let_in = batch.packets().iter().filter(|packet| !packet.done).count();
    Fate { let_in, dropped, truncated: 0 }
}

const ROOM: usize = 65_535;

#[test]
fn a_train_that_is_cut_short_or_lied_about_costs_what_is_missing_and_has_a_name() {
    const NAME: &str = "a_train_that_is_cut_short_or_lied_about_costs_what_is_missing_and_has_a_name";
    if !privileged(NAME) {
        return;
    }
    let scene = || {
        let Some(mut scene) = Scene::set(NAME) else { return };
        let whole = scene.sealed(COUNT);
        let long = whole[0].len() as u16;
        assert!(whole[..COUNT - 1].iter().all(|one| one.len() == usize::from(long)));
        assert!(whole[COUNT - 1].len() < usize::from(long));

        // The last one is shorter: that is how a train ends.
        assert_eq!(scene.arrive(&whole.concat(), Some(long), ROOM), Fate::of(COUNT, &[]));
        // The last one lacks its end, or nearly all.
        for missing in [5, whole[COUNT - 1].len() - 3] {
            let cut = scene.sealed(COUNT).concat();
            let reason = if missing == 5 { DropReason::Forged } else { DropReason::NotIke };
            let fate = scene.arrive(&cut[..cut.len() - missing], Some(long), ROOM);
            assert_eq!(fate, Fate::of(COUNT - 1, &[(reason, 1)]));
        }
        // The length said is not theirs: no two pieces begin where a datagram does.
        for said in [long - 1, long + 1] {
            let bytes = scene.sealed(COUNT).concat();
            let fate = scene.arrive(&bytes, Some(said), ROOM);
            let pieces = bytes.len().div_ceil(usize::from(said)) as u64;
            // Where the zeroes of a sequence number come to lie as an SPI it is taken for IKE, which refuses it.
            let ike = std::iter::from_fn(|| scene.pair.right.poll_ike().map(drop)).count() as u64;
            assert_eq!((fate.let_in, fate.dropped.values().sum::<u64>() + ike), (0, pieces), "{:?}", fate.dropped);
            assert!(fate.dropped.contains_key(&DropReason::Forged), "the first one has its SPI: {:?}", fate.dropped);
        }
        // Nothing is said of many, or more than came.
        for said in [None, Some(60_000)] {
            let bytes = scene.sealed(COUNT).concat();
            assert_eq!(scene.arrive(&bytes, said, ROOM), Fate::of(0, &[(DropReason::Forged, 1)]), "{said:?}");
            let one = scene.sealed(1).concat();
            assert_eq!(scene.arrive(&one, said, ROOM), Fate::of(1, &[]), "{said:?}");
        }
        assert_eq!(scene.arrive(&vec![0x44; 65_000], None, ROOM), Fate::of(0, &[(DropReason::TooLongDatagram, 1)]));
        // What does not fit into a slot is one loss, whatever it was put together of; the runtime names it.
        let bytes = scene.sealed(COUNT).concat();
        assert_eq!(scene.arrive(&bytes, Some(long), bytes.len() - 1), Fate { truncated: 1, ..Fate::of(0, &[]) });
        let honest = scene.sealed(COUNT).concat();
        assert_eq!(scene.arrive(&honest, Some(long), ROOM), Fate::of(COUNT, &[]));
    };
    Namespace::new().unwrap().run(scene).unwrap();
}

#[test]
fn datagrams_of_a_byte_each_are_taken_as_many_as_a_kernel_puts_together_and_no_more() {
    const NAME: &str = "datagrams_of_a_byte_each_are_taken_as_many_as_a_kernel_puts_together_and_no_more";
    if !privileged(NAME) {
        return;
    }
    let scene = || {
        let Some(mut scene) = Scene::set(NAME) else { return };
        let keepalives = |scene: &Scene| scene.pair.right.counters().keepalives.get();
        assert_eq!(scene.arrive(&[0xff; 64], Some(1), ROOM), Fate::of(0, &[]));
        assert_eq!(keepalives(&scene), 64);
        assert_eq!(scene.arrive(&[0x44; 64], Some(1), ROOM), Fate::of(0, &[(DropReason::NotIke, 64)]));
        for (len, said) in [(65_000, 1), (129, 1), (65_000, 500)] {
            let expected = Fate::of(0, &[(DropReason::SegmentSize, 1)]);
            // A kernel that counts them does not take the claim itself: then it stands in the slot, as from one that does not.
            if claim(&scene.device, scene.path, &vec![0xff; len], Some(said)).is_ok() {
                let mut batch = Batch::new(4, ROOM);
                assert!(wait_until(|| scene.socket.recv_batch(&mut batch).unwrap() == 1), "it did not come");
                assert_eq!(take_in(&mut scene.pair, &mut batch), expected, "{len} of {said}");
            }
            let mut batch = Batch::new(4, ROOM);
            batch.vacant_slots().next().unwrap()[..len].fill(0xff);
            batch.push_slot(len, said, Some(scene.path));
            assert_eq!(take_in(&mut scene.pair, &mut batch), expected, "{len} of {said}");
        }
        assert_eq!(keepalives(&scene), 64);
        // A length of zero the kernel itself does not take.
        assert!(claim(&scene.device, scene.path, &[0xff; 64], Some(0)).is_err());
        let honest = scene.sealed(COUNT);
        let long = honest[0].len() as u16;
        assert_eq!(scene.arrive(&honest.concat(), Some(long), ROOM), Fate::of(COUNT, &[]));
    };
    Namespace::new().unwrap().run(scene).unwrap();
}
