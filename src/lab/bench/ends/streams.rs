//! TCP connections that carry as much as goes: some threads send, some receive, and what is received in the time that counts
//! is counted where it arrives.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::words::Received;
use crate::platform::clock;

/// Bytes of one call.
const CHUNK: usize = 128 << 10;

/// Which end is this?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It ends the connections when its time is over and a little more, so that the other end's time is over too.
    Client,
    /// It waits for the client to end them, but not for ever.
    Server,
}

/// How long a client goes on after its own time, and a server waits for it.
const AFTER: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(10)];

/// Sends over the streams that say so, receives over the others; says what was received here.
pub(super) fn run(end: End, streams: Vec<(TcpStream, bool)>, warm: Duration, time: Duration) -> io::Result<Received> {
    let received = AtomicU64::new(0);
    let running = AtomicU64::new(streams.len() as u64);
    let handles = streams.iter().map(|(stream, _)| stream.try_clone()).collect::<io::Result<Vec<_>>>()?;
    let measured = std::thread::scope(|scope| {
        for (stream, sends) in streams {
            let (received, running) = (&received, &running);
            scope.spawn(move || {
                if sends {
                    pour(stream);
                } else {
                    drain(stream, received);
                }
                running.fetch_sub(1, Ordering::AcqRel);
            });
        }
        std::thread::sleep(warm);
        let (began, before) = (clock::now(), received.load(Ordering::Acquire));
        std::thread::sleep(time);
        let (ended, after) = (clock::now(), received.load(Ordering::Acquire));
        let patience = ended + AFTER[usize::from(end == End::Server)];
        while running.load(Ordering::Acquire) > 0 && clock::now() < patience {
            std::thread::sleep(Duration::from_millis(5));
        }
        for handle in &handles {
            let _ = handle.shutdown(Shutdown::Both);
        }
        (after - before, (ended - began).as_nanos() as u64)
    });
    Ok(Received { bytes: measured.0, nanos: measured.1, total: received.load(Ordering::Acquire) })
}

/// Sends until the connection ends.
fn pour(mut stream: TcpStream) {
    let bytes = vec![0x33; CHUNK];
    while stream.write_all(&bytes).is_ok() {}
}

/// Receives until the connection ends.
fn drain(mut stream: TcpStream, received: &AtomicU64) {
    let mut bytes = vec![0; CHUNK];
    while let Ok(count @ 1..) = stream.read(&mut bytes) {
        received.fetch_add(count as u64, Ordering::AcqRel);
    }
}
