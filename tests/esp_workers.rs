//! Several workers on each side, in one thread: whatever queue or socket a packet comes by, its flow is judged by one worker,
//! each SA is used by one worker, and nothing is lost, doubled or put out of order on the way between them.

#![allow(clippy::unwrap_used)] // what helps a test may panic as the test may

mod esp_support;

use std::collections::BTreeMap;
use std::sync::Arc;

use esp_support::*;
use portcullis::dataplane::buffer::{Batch, Path, Role};
use portcullis::dataplane::handover::{Handed, Hands};
use portcullis::dataplane::pipeline::{Pipeline, PipelineConfig};
use portcullis::dataplane::steer::Steering;
use portcullis::event::DropReason;
use portcullis::policy::{SelectorMode, Snapshot, Translation};
use portcullis::sa::child::{ChildSpec, InboundSpec, OutboundSpec};
use portcullis::sa::command::SadCommand;
use portcullis::sa::event::SadEvent;
use portcullis::wire::ip::Inner;
use portcullis::wire::tcp::{ACK, PSH};
use portcullis::wire::vnet::{Segments, VnetHeader};
use proptest::prelude::*;

/// One gateway.
struct Side {
    workers: Vec<Pipeline>,
    policy: Arc<Snapshot>,
    /// What was written to the TUN device, by whom.
    written: Vec<(usize, Vec<u8>)>,
    /// What was sent, by whom.
    sent: Vec<(usize, Vec<u8>, Path)>,
}

impl Side {
    fn new(left: bool, workers: u16, lanes: u8) -> Self {
        let policy = policy_of_lanes(left, SelectorMode::Host, lanes);
        let config = PipelineConfig { flow_capacity: 4096, hash_seed: [1, 2, 3, 4] };
        let worker = |hands| Pipeline::new(config, policy.clone()).with_hands(hands);
        let workers = Hands::crew(workers).into_iter().map(worker).collect();
        Self { workers, policy, written: Vec::new(), sent: Vec::new() }
    }

    /// Hosts of ours have other names outside.
    fn translate(&mut self, lanes: u8, list: Vec<Translation>) {
        let policy = Arc::into_inner(policy_of_lanes(true, SelectorMode::Host, lanes)).unwrap();
        self.policy = Arc::new(policy.translating(list));
        self.workers.iter_mut().for_each(|worker| worker.set_policy(self.policy.clone()));
    }

    fn steering(&self) -> Steering {
        Steering::of(self.workers.len() as u16)
    }

    fn apply(&mut self, command: SadCommand) {
        let spi = match &command {
            SadCommand::InstallInbound(spec) => spec.spi,
            SadCommand::InstallOutbound(spec) => spec.inbound,
            SadCommand::RemoveOutbound { inbound } => *inbound,
            _ => panic!("not told here"),
        };
        let worker = usize::from(self.steering().of_spi(spi.get()));
        self.workers[worker].apply(NOW, command);
    }

    fn keep(&mut self, worker: usize, handed: Handed, batch: &Batch) {
        for (at, packet) in batch.packets().iter().enumerate().filter(|(_, packet)| !packet.done) {
            assert_eq!(packet.role, Role::Alone);
            match handed {
                Handed::Outwards => self.sent.push((worker, batch.bytes(at).to_vec(), packet.path.unwrap())),
                Handed::Inwards => self.written.push((worker, batch.bytes(at).to_vec())),
            }
        }
    }

    /// A queue of the TUN device gives these.
    fn read(&mut self, queue: usize, packets: &[(Vec<u8>, VnetHeader)]) {
        let mut batch = Batch::with_trains(packets.len(), 9728);
        for (bytes, offload) in packets {
            batch.vacant_for_train().unwrap()[..bytes.len()].copy_from_slice(bytes);
            batch.push_from_tun(bytes.len(), *offload);
        }
        self.workers[queue].outbound(NOW, &mut batch);
        self.keep(queue, Handed::Outwards, &batch);
    }

    /// A worker's socket gives this.
    fn receive(&mut self, socket: usize, datagram: &[u8], path: Path) {
        let mut batch = batch_of(datagram, Some(path));
        self.workers[socket].inbound(NOW, &mut batch);
        self.keep(socket, Handed::Inwards, &batch);
    }

    /// Whoever was woken works on what he was given, until nobody has anything.
    fn settle(&mut self) {
        let mut batch = Batch::with_trains(64, 9728);
        let mut woken: Vec<u16> =
            self.workers.iter_mut().flat_map(|worker| std::iter::from_fn(|| worker.poll_given())).collect();
        while let Some(worker) = woken.pop() {
            let at = usize::from(worker);
            while let Some(handed) = self.workers[at].take_handed(NOW, &mut batch) {
                self.keep(at, handed, &batch);
                woken.extend(std::iter::from_fn(|| self.workers[at].poll_given()));
            }
        }
    }

    fn flows(&self) -> Vec<usize> {
        self.workers.iter().map(Pipeline::flows).collect()
    }

    fn handed_over(&self) -> u64 {
        self.workers.iter().map(|worker| worker.counters().handed_over.get()).sum()
    }

    fn drops(&self) -> BTreeMap<DropReason, u64> {
        let mut all = BTreeMap::new();
        for (reason, count) in self.workers.iter().flat_map(drops) {
            *all.entry(reason).or_default() += count;
        }
        all
    }
}

/// Two of them, with a child SA for each lane that both have.
struct Two {
    left: Side,
    right: Side,
}

impl Two {
    fn new(workers: [u16; 2], lanes: [u8; 2]) -> Self {
        let mut two = Self::without_sas(workers, lanes);
        for lane in 0..lanes[0].min(lanes[1]) {
            two.install(lane);
        }
        two
    }

    fn without_sas(workers: [u16; 2], lanes: [u8; 2]) -> Self {
        Self { left: Side::new(true, workers[0], lanes[0]), right: Side::new(false, workers[1], lanes[1]) }
    }

    /// The child SAs of one lane, as IKE chooses their SPIs.
    fn install(&mut self, lane: u8) {
        let options = Options::default();
        let shapes = [&self.left, &self.right].map(|side| {
            let all = side.policy.shapes(TUNNEL).iter();
            all.filter(|shape| shape.lane == lane).copied().collect::<Vec<_>>()
        });
        for (number, (left, right)) in (0_u32..).zip(shapes[0].iter().zip(&shapes[1])) {
            let random = 0x10_0000 + u32::from(lane) * 0x1000 + number * 0x100;
            let of = |side: &Side, random| side.steering().class(TUNNEL, lane).pick(random).unwrap();
            let spis = [of(&self.left, random), of(&self.right, random + 0x80_0000)];
            for (side, shape, ours, theirs) in
                [(&mut self.left, left, spis[0], spis[1]), (&mut self.right, right, spis[1], spis[0])]
            {
                let is_left = ours == spis[0];
                let spec = ChildSpec {
                    shape: shape.id,
                    local: vec![shape.local],
                    remote: vec![shape.remote],
                    encapsulation: underlay(&options),
                    lifetime: ENDLESS,
                    ..child(options.suite)
                };
                let spec =
                    if is_left { spec } else { ChildSpec { encapsulation: mirrored(&spec).encapsulation, ..spec } };
                let keys = || options.suite.keys();
                side.apply(SadCommand::InstallInbound(Box::new(InboundSpec {
                    spi: ours,
                    keys: keys(),
                    child: spec.clone(),
                    replay_window: 4096,
                })));
                let outbound = OutboundSpec { spi: theirs, inbound: ours, keys: keys(), child: spec };
                side.apply(SadCommand::InstallOutbound(Box::new(outbound)));
            }
        }
    }

    /// Packets from one side's TUN device to the other's: by this queue there, and by the socket of their SPI here, or by
    /// `socket` whatever their SPI is. What the other side wrote.
    fn carry(
        &mut self,
        rightwards: bool,
        queue: usize,
        socket: Option<usize>,
        packets: &[(Vec<u8>, VnetHeader)],
    ) -> Vec<(usize, Vec<u8>)> {
        let (from, to) = if rightwards { (&mut self.left, &mut self.right) } else { (&mut self.right, &mut self.left) };
        from.read(queue, packets);
        from.settle();
        for (_, datagram, path) in std::mem::take(&mut from.sent) {
            let spi = u32::from_be_bytes(*datagram.first_chunk().unwrap());
            let steered = usize::from(to.steering().of_spi(spi));
            to.receive(socket.unwrap_or(steered), &datagram, across(path));
        }
        to.settle();
        std::mem::take(&mut to.written)
    }
}

fn plain(packet: Vec<u8>) -> (Vec<u8>, VnetHeader) {
    (packet, VnetHeader::default())
}

/// The three segments of a new connection from `port`.
fn handshake(two: &mut Two, port: u16, mut queue: impl FnMut() -> usize) -> bool {
    let segments = [(true, 0x02, 100, 0), (false, 0x12, 500, 101), (true, 0x10, 101, 501)];
    segments.into_iter().all(|(rightwards, flags, sequence, acknowledgement)| {
        let segment = tcp(port, rightwards, flags, sequence, acknowledgement, &[], &[]);
        let side = if rightwards { &two.left } else { &two.right };
        let queue = queue() % side.workers.len();
        let written = two.carry(rightwards, queue, None, &[plain(segment)]);
        written.len() == 1
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn whatever_queue_and_socket_a_packet_comes_by_it_arrives_once_and_its_flow_has_one_worker(
        workers in [1_u16..=4, 1..=4], lanes in [1_u8..=4, 1..=4],
        queues in prop::collection::vec(any::<usize>(), 64), sockets in prop::collection::vec(prop::option::of(any::<usize>()), 64),
    ) {
        let mut two = Two::new(workers, lanes);
        let (mut queues, mut sockets) = (queues.into_iter().cycle(), sockets.into_iter().cycle());
        for port in 5000..5024 {
            prop_assert!(handshake(&mut two, port, || queues.next().unwrap()), "{:?} {:?}", two.left.drops(), two.right.drops());
        }
        for round in 0..3_u32 {
            for port in 5000..5024 {
                for rightwards in [true, false] {
                    let (sequence, other) = if rightwards { (101, 501) } else { (501, 101) };
                    let segment = tcp(port, rightwards, ACK | PSH, sequence + round, other + round, &[], &[port as u8]);
                    let (from, to) = if rightwards { (&two.left, &two.right) } else { (&two.right, &two.left) };
                    let queue = queues.next().unwrap() % from.workers.len();
                    let socket = sockets.next().unwrap().map(|socket| socket % to.workers.len());
                    let written = two.carry(rightwards, queue, socket, &[plain(segment.clone())]);
                    prop_assert_eq!(written.len(), 1, "{:?} {:?}", two.left.drops(), two.right.drops());
                    prop_assert_eq!(&written[0].1, &segment);
                }
            }
        }
        for side in [&two.left, &two.right] {
            prop_assert_eq!(side.flows().iter().sum::<usize>(), 24, "each flow is known to one worker: {:?}", side.flows());
            prop_assert!(side.drops().is_empty());
            let opened: u64 = side.workers.iter().filter_map(|worker| worker.counters().rule(portcullis::ids::RuleId(0))).map(|rule| rule.flows.get()).sum();
            prop_assert_eq!(opened, 24);
        }
        if workers == [1, 1] {
            prop_assert_eq!(two.left.handed_over() + two.right.handed_over(), 0);
        }
    }
}

#[test]
fn with_equal_lanes_nothing_changes_hands_once_the_queue_is_the_flows_own() {
    let mut two = Two::new([2, 2], [2, 2]);
    let mut of_lane = [0; 2];
    for port in 5000..5100 {
        assert!(handshake(&mut two, port, || 0));
        // The kernel gives the flow to the queue that has written to it.
        let back = tcp(port, false, ACK | PSH, 501, 101, &[], b"x");
        let queue = two.carry(true, 0, None, &[plain(tcp(port, true, ACK | PSH, 101, 501, &[], b"y"))])[0].0;
        let own = two.carry(false, queue, None, &[plain(back)])[0].0;
        of_lane[own] += 1;
        let before = (two.left.handed_over(), two.right.handed_over());
        for (rightwards, queue) in [(true, own), (false, queue)] {
            let (sequence, other) = if rightwards { (102, 502) } else { (502, 102) };
            let segment = tcp(port, rightwards, ACK | PSH, sequence, other, &[], b"z");
            assert_eq!(two.carry(rightwards, queue, None, &[plain(segment)]).len(), 1);
        }
        assert_eq!((two.left.handed_over(), two.right.handed_over()), before, "port {port}");
        assert_eq!(own, queue, "the same lane at both ends");
    }
    assert!(of_lane.iter().all(|count| *count > 25), "{of_lane:?}");
    assert_eq!(two.left.flows().len(), 2);
    assert!(two.left.flows().iter().all(|flows| *flows > 25), "{:?}", two.left.flows());
}

/// A port whose flow has this lane of two.
fn port_of_lane(lane: u8) -> u16 {
    let lane_of = |port: u16| {
        let packet = tcp(port, true, ACK, 1, 1, &[], &[]);
        portcullis::dataplane::steer::Ends::of(&packet, true).unwrap().lane(2)
    };
    (5000..6000).find(|port| lane_of(*port) == lane).unwrap()
}

#[test]
fn a_lane_without_an_sa_goes_by_the_first_one_and_asks_for_its_own() {
    for workers in [1, 2] {
        let mut two = Two::without_sas([workers, 1], [2, 2]);
        two.install(0);
        let port = port_of_lane(1);
        assert!(handshake(&mut two, port, || 0), "{:?} {:?}", two.left.drops(), two.right.drops());
        let asked: Vec<_> = two.left.workers.iter_mut().flat_map(events).collect();
        let acquired: Vec<_> = asked.iter().filter(|event| matches!(event, SadEvent::Acquire { .. })).collect();
        assert_eq!(acquired.len(), 1, "{asked:?}");
        let SadEvent::Acquire { shape, .. } = acquired[0] else { panic!() };
        assert_eq!(two.left.policy.shape(*shape).unwrap().lane, 1);
        // Long packets too, whole until they are where they are sealed.
        let payload: Vec<u8> = (0..5000_u32).map(|at| (at / 7) as u8).collect();
        let long = tcp(port, true, ACK | PSH, 101, 501, &[], &payload);
        let said = VnetHeader {
            needs_checksum: true,
            segments: Segments::Tcp4,
            header_len: 0,
            segment_len: 1000,
            checksum_start: 20,
            checksum_offset: 16,
        };
        for queue in 0..usize::from(workers) {
            let sequence = 101 + 5000 * queue as u32;
            let mut long = long.clone();
            long[24..28].copy_from_slice(&sequence.to_be_bytes());
            let written = two.carry(true, queue, None, &[(long, said)]);
            let payloads: Vec<u8> =
                written.iter().flat_map(|(_, bytes)| Inner::parse(bytes).unwrap().payload()[20..].to_vec()).collect();
            assert_eq!(payloads, payload);
            assert_eq!(written.len(), 5);
        }
        assert!(two.left.drops().is_empty() && two.right.drops().is_empty());
        // Once the lane has its own, nothing changes hands any more.
        two.install(1);
        let before = two.left.handed_over();
        assert_eq!(before > 0, workers == 2);
        let sequence = 101 + 5000 * u32::from(workers);
        let own = usize::from(workers - 1);
        let segment = tcp(port, true, ACK | PSH, sequence, 501, &[], b"z");
        assert_eq!(two.carry(true, own, None, &[plain(segment)]).len(), 1);
        assert_eq!(two.left.handed_over(), before);
    }
}

#[test]
fn a_full_ring_drops_by_name_and_what_is_in_it_keeps_its_order() {
    const MANY: u32 = 3000;
    let mut two = Two::new([2, 1], [2, 1]);
    let steering = two.left.steering();
    // A flow of the other worker's, as UDP: every datagram has its number.
    let owner = |port: u16| {
        let packet = udp(("192.0.2.10", port), ("203.0.113.20", 2000), 0, &[0; 4]);
        let lane = portcullis::dataplane::steer::Ends::of(&packet, true).unwrap().lane(2);
        steering.worker(TUNNEL, lane)
    };
    let port = (1000..2000).find(|port| owner(*port) == 1).unwrap();
    let datagram = |number: u32| udp(("192.0.2.10", port), ("203.0.113.20", 2000), 0, &number.to_be_bytes());
    for number in 0..MANY {
        two.left.read(0, &[plain(datagram(number))]);
    }
    let dropped = two.left.drops()[&DropReason::HandoverFull];
    assert!(dropped > 0 && dropped < u64::from(MANY), "{dropped}");
    two.left.settle();
    let sent = std::mem::take(&mut two.left.sent);
    // They were judged by the second worker, and sealed by the first, whose ring was too short for them in turn, or was not.
    let lost = two.left.drops()[&DropReason::HandoverFull];
    assert_eq!(sent.len() as u64 + lost, u64::from(MANY));
    for (_, bytes, path) in sent {
        two.right.receive(0, &bytes, across(path));
    }
    let numbers: Vec<u32> =
        two.right.written.iter().map(|(_, bytes)| u32::from_be_bytes(*bytes.last_chunk().unwrap())).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "in order");
    assert_eq!(numbers[0], 0);
    // There is room again.
    two.left.read(0, &[plain(datagram(MANY))]);
    two.left.settle();
    assert_eq!(two.left.sent.len(), 1);
}

#[test]
fn what_is_forged_or_replayed_ends_where_its_sa_is_and_the_rest_goes_to_its_flow() {
    let mut two = Two::new([1, 2], [1, 2]);
    let port = port_of_lane(1);
    assert!(handshake(&mut two, port, || 0));
    let segment = tcp(port, true, ACK | PSH, 101, 501, &[], b"x");
    two.left.read(0, &[plain(segment)]);
    let (_, mut datagram, path) = two.left.sent.pop().unwrap();
    // Forged: it goes no further than the worker of its SA, whose count it is.
    let last = datagram.len() - 1;
    datagram[last] ^= 1;
    two.right.receive(0, &datagram, across(path));
    two.right.settle();
    assert_eq!(two.right.drops(), [(DropReason::Forged, 1)].into());
    datagram[last] ^= 1;
    let before = two.right.handed_over();
    two.right.receive(0, &datagram, across(path));
    two.right.settle();
    assert_eq!((two.right.written.len(), two.right.written[0].0), (1, 1), "the flow is the second worker's");
    assert_eq!(two.right.handed_over(), before + 1);
    // A replay is found by the SA, whoever has the flow.
    two.right.receive(0, &datagram, across(path));
    two.right.settle();
    assert_eq!(two.right.drops()[&DropReason::Replayed], 1);
}

/// Every packet by any queue and socket: the far side sees no two flows under one name, and each host gets its own answers,
/// also when it is told that a packet is too long.
#[test]
fn translated_hosts_keep_their_names_apart_whoever_of_the_workers_has_their_packets() {
    let hosts = ["10.1.0.10", "10.1.0.11", "10.1.0.12"];
    let inside = |list: &[&str]| list.iter().map(|host| ip(host).into()).collect();
    for shared in [true, false] {
        let hosts = if shared { &hosts[..] } else { &hosts[..1] };
        let mut two = Two::new([3, 2], [4, 3]);
        let outside = ip("192.0.2.10");
        let list = vec![Translation { tunnel: TUNNEL, inside: inside(hosts), outside, inbound: None }];
        two.left.translate(4, list);
        let mut names = std::collections::BTreeSet::new();
        for (turn, port) in (6000..6060_u16).enumerate() {
            for (at, host) in hosts.iter().enumerate() {
                let asked = udp((host, port), ("203.0.113.20", 2000), 0, b"question");
                for round in 0..2 {
                    let written = two.carry(true, (turn + at + round) % 3, Some(turn % 2), &[plain(asked.clone())]);
                    let [(_, seen)] = written.as_slice() else { panic!("{:?}", two.left.drops()) };
                    let flow = Inner::parse(seen).unwrap().flow();
                    assert_eq!(flow.source, outside);
                    assert_eq!(names.insert(flow.source_port), round == 0, "one name each, and the same again");
                    let answer = |to, port| udp(("203.0.113.20", 2000), (to, port), 0, b"answer");
                    let back = answer("192.0.2.10", flow.source_port);
                    let written = two.carry(false, turn % 2, Some((turn + round) % 3), &[plain(back)]);
                    assert_eq!(written.len(), 1, "{:?}", two.left.drops());
                    assert_eq!(written[0].1, answer(host, port));
                }
                // What is too long is found by whoever seals it; the host is told by its own name.
                let long = udp((host, port), ("203.0.113.20", 2000), 0, &[7; 1500]);
                assert!(two.carry(true, turn % 3, None, &[plain(long.clone())]).is_empty());
                let told: Vec<_> = two.left.workers.iter_mut().flat_map(replies).collect();
                // Answers are rationed.
                if let [error] = told.as_slice() {
                    let error = Inner::parse(error).unwrap();
                    assert_eq!(error.destination(), ip(host));
                    assert_eq!(error.icmp().unwrap().quoted().unwrap().flow, Inner::parse(&long).unwrap().flow());
                } else {
                    assert!(told.is_empty() && turn > 10, "{turn}");
                }
            }
        }
        assert_eq!(names.len(), 60 * hosts.len());
        assert!(two.left.handed_over() > 0);
        two.left.drops().keys().for_each(|reason| assert_eq!(*reason, DropReason::TooBig));
    }
}
