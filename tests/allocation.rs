//! A million packets through two data paths back to back, without one allocation.

#![allow(unsafe_code)] // an allocator that counts can be written in no other way

mod esp_support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use esp_support::*;
use portcullis::dataplane::buffer::Batch;
use portcullis::dataplane::handover::Hands;
use portcullis::dataplane::offload::Offloads;
use portcullis::dataplane::pipeline::{Pipeline, PipelineConfig};
use portcullis::dataplane::steer::Ends;
use portcullis::policy::{SelectorMode, Translation};
use portcullis::wire::rewrite::{End, Side, rewrite};
use portcullis::wire::vnet::{Segments, VnetHeader};

/// The system's allocator, which counts what each thread asks of it.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that is being torn down has no count any more, and none is wanted.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const BATCH: usize = 64;
const SEGMENTS: usize = 40;

/// Two hosts that share an address, which want the same ports.
const HOSTS: [&str; 2] = ["10.1.0.10", "10.1.0.11"];

/// A segment of the first host's connection from `port`.
fn segment(port: u16, flags: u8, sequence: u32, acknowledgement: u32, payload: &[u8]) -> Vec<u8> {
    let (source, destination) = ((HOSTS[0], port), ("203.0.113.20", 1414));
    Tcp { source, destination, flags, sequence, acknowledgement, options: &[], payload }.build(0)
}

/// One batch of what a gateway meets: two families, several flows, and some of everything that is refused.
fn traffic() -> Vec<Vec<u8>> {
    let mut packets = vec![
        segment(5000, 0x18, 101, 501, &[0x54; 900]),
        // No rule, no connection, too long, malformed.
        udp((HOSTS[0], 1000), ("203.0.113.20", 53), 0, b"refused"),
        segment(6000, 0x10, 1, 1, b"stray"),
        udp((HOSTS[0], 1000), ("203.0.113.20", 2000), 0, &[0x77; 1500]),
        vec![0x45; 30],
        udp((HOSTS[1], 2000), ("203.0.113.20", 2000), 0, &[0x33; 101]),
    ];
    while packets.len() < BATCH {
        let port = 1000 + packets.len() as u16 % 20;
        let host = HOSTS[packets.len() / 20 % 2];
        packets.push(udp((host, port), ("203.0.113.20", 2000), 0, &[0x11; 100]));
        packets.push(udp(("2001:db8::10", port), ("2001:db8:1::20", 2000), 2, &[0x22; 200]));
    }
    packets.truncate(BATCH);
    packets
}

#[test]
fn a_million_packets_allocate_nothing() {
    let mut pair = Pair::new(Options::default());
    let inside = HOSTS.map(|host| ip(host).into()).to_vec();
    let shared = Translation { tunnel: TUNNEL, inside, outside: ip("192.0.2.10"), inbound: None };
    let policy = Arc::into_inner(policy(true, SelectorMode::Host)).expect("nobody else has it");
    pair.left.set_policy(Arc::new(policy.translating(vec![shared])));
    for port in [5000, 5001] {
        pair.rightwards(&segment(port, 0x02, 100, 0, &[])).unwrap();
        pair.leftwards(&tcp(port, false, 0x12, 500, 101, &[], &[])).unwrap();
        pair.rightwards(&segment(port, 0x10, 101, 501, &[])).unwrap();
    }
    pair.left.set_offloads(Offloads::ALL);
    pair.right.set_offloads(Offloads::ALL);
    let mut traffic = traffic();
    // And a long packet, which is cut here and tied together again there.
    let long = segment(5001, 0x10, 101, 501, &vec![0x44; SEGMENTS * 1000]);
    let said = VnetHeader {
        needs_checksum: true,
        segments: Segments::Tcp4,
        header_len: 40,
        segment_len: 1000,
        checksum_start: 20,
        checksum_offset: 16,
    };
    let mut trains = 0;
    let (mut out, mut inn) = (Batch::with_trains(BATCH + 1, 2048), Batch::new(BATCH + SEGMENTS, 2048));
    let (mut delivered, mut sent, mut told, mut before) = (0u64, 0u64, 0u64, 0);
    for round in 0.. {
        // The first rounds fill tables and queues; then not one more.
        if round == 40 {
            (delivered, sent) = (0, 0);
            before = ALLOCATIONS.get();
        }
        let now = NOW + Duration::from_millis(5) * round;
        out.clear();
        for packet in &mut traffic {
            // The last one comes from another port each time: mappings come, and go when they are silent.
            if packet.len() == 129 {
                let port = 2000 + (round % 60_000) as u16;
                rewrite(packet, Side::Source, End { address: ip(HOSTS[1]), port }).unwrap();
            }
            out.vacant().unwrap()[..packet.len()].copy_from_slice(packet);
            out.push(packet.len(), 0, None);
        }
        out.vacant_for_train().unwrap()[..long.len()].copy_from_slice(&long);
        out.push_from_tun(long.len(), said);
        sent += (BATCH + SEGMENTS) as u64;
        pair.left.outbound(now, &mut out);

        inn.clear();
        for at in 0..out.len() {
            let packet = out.packets()[at];
            let Some(path) = packet.path.filter(|_| !packet.done) else { continue };
            let bytes = inn.vacant().unwrap();
            bytes[..packet.len].copy_from_slice(out.bytes(at));
            if at == 20 {
                bytes[packet.len - 1] ^= 1;
            }
            inn.push(packet.len, 0, Some(across(path)));
        }
        // In the room of the refused: an IKE message and a keepalive.
        for datagram in [&[0, 0, 0, 0, 1][..], &[0xFF]] {
            let path = inn.packets()[0].path;
            inn.vacant().unwrap()[..datagram.len()].copy_from_slice(datagram);
            inn.push(datagram.len(), 0, path);
        }
        pair.right.inbound(now, &mut inn);
        trains += (0..inn.len()).filter(|at| inn.train(*at).is_some()).count();
        delivered += inn.packets().iter().filter(|packet| !packet.done).count() as u64;

        for side in [&mut pair.left, &mut pair.right] {
            side.replies().clear();
            while side.poll_ike().is_some() {}
            while side.poll_event().is_some() {}
            while side.poll_record().is_some() {
                told += 1;
            }
        }
        if sent >= 1_000_000 && round > 40 {
            break;
        }
    }
    let allocations = ALLOCATIONS.get() - before;
    assert!(delivered > 900_000, "{delivered} of {sent}");
    assert!(told > 10, "repeats were told: {told}");
    assert!(trains > 9_000, "{trains} trains");
    assert_eq!(allocations, 0);
}

/// Every packet is read by one worker, judged by another, and sealed by the first again: its lane has no SA of its own.
#[test]
fn what_changes_hands_allocates_nothing() {
    let policy = policy_of_lanes(true, SelectorMode::Host, 2);
    let config = PipelineConfig { flow_capacity: 4096, hash_seed: [1, 2, 3, 4] };
    let worker = |hands| Pipeline::new(config, policy.clone()).with_hands(hands);
    let mut workers: Vec<Pipeline> = Hands::crew(2).into_iter().map(worker).collect();
    let first = policy.shapes(TUNNEL).iter().filter(|shape| shape.lane == 0).count();
    for command in install(&policy, &Options::default(), true, 0).into_iter().take(2 * first) {
        workers[0].apply(NOW, command);
    }
    let lane = |port: u16| Ends::of(&udp(("192.0.2.10", port), ("203.0.113.20", 2000), 0, &[]), true).unwrap().lane(2);
    let port = (1000..2000).find(|port| lane(*port) == 1).unwrap();
    let packet = udp(("192.0.2.10", port), ("203.0.113.20", 2000), 0, &[0x11; 100]);
    let mut batch = Batch::with_trains(BATCH, 9728);
    let (mut sent, mut before) = (0, 0);
    for round in 0..2000 {
        if round == 20 {
            (sent, before) = (0, ALLOCATIONS.get());
        }
        batch.clear();
        for _ in 0..BATCH {
            batch.vacant().unwrap()[..packet.len()].copy_from_slice(&packet);
            batch.push(packet.len(), 0, None);
        }
        workers[0].outbound(NOW, &mut batch);
        for worker in [1, 0] {
            while workers[worker].take_handed(NOW, &mut batch).is_some() {
                sent += batch.packets().iter().filter(|packet| !packet.done).count();
            }
        }
        for worker in &mut workers {
            while worker.poll_given().is_some() || worker.poll_event().is_some() || worker.poll_record().is_some() {}
        }
    }
    assert_eq!(ALLOCATIONS.get() - before, 0);
    assert_eq!(sent, (2000 - 20) * BATCH);
}
