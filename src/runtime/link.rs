//! The ways between the control loop and the worker: rings that neither waits on, and an eventfd to wake each side.
//!
//! Commands are confirmed by count, so that an IKE message leaves only once the data path knows the SA that it announces.
//! What must not be lost (`SadEvent`s) stays with the pipeline until its ring has room; telemetry is dropped and counted.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::Thread;
use std::time::Duration;

use nix::sys::eventfd::{EfdFlags, EventFd};
use rtrb::{Consumer, Producer, RingBuffer};

/// Commands under way at most; far above what one IKE exchange produces.
const COMMANDS: usize = 1024;
/// Events that IKE has to act on.
const URGENT: usize = 1024;
/// IKE datagrams from port 4500 on their way to the control loop. More than this is a flood.
const DATAGRAMS: usize = 256;
/// Refusals and opened flows on their way to the log.
const TELEMETRY: usize = 1024;
/// How long the control loop waits for the worker before it says that the worker hangs.
const CONFIRM_TIME: Duration = Duration::from_secs(2);

/// The control loop's end.
pub(super) struct ControlEnd<C, U, D, T> {
    commands: Producer<C>,
    sent: u64,
    pub(super) urgent: Consumer<U>,
    pub(super) datagrams: Consumer<D>,
    pub(super) telemetry: Consumer<T>,
    shared: Arc<Shared>,
}

/// The worker's end.
pub(super) struct WorkerEnd<C, U, D, T> {
    commands: Consumer<C>,
    urgent: Producer<U>,
    datagrams: Producer<D>,
    telemetry: Producer<T>,
    shared: Arc<Shared>,
    dirty: bool,
}

struct Shared {
    applied: AtomicU64,
    lost_datagrams: AtomicU64,
    lost_telemetry: AtomicU64,
    to_worker: Arc<EventFd>,
    to_control: Arc<EventFd>,
    control: Thread,
}

/// The worker did not confirm its commands in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the packet worker does not answer")]
pub(super) struct WorkerHangs;

/// Both ends of one link.
type Ends<C, U, D, T> = (ControlEnd<C, U, D, T>, WorkerEnd<C, U, D, T>);

/// A link for each of `count` workers. Called on the thread that will run the control loop, which all of them wake alike.
pub(super) fn links<C, U, D, T>(count: u16) -> nix::Result<Vec<Ends<C, U, D, T>>> {
    let to_control = Arc::new(EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?);
    (0..count).map(|_| link(to_control.clone())).collect()
}

fn link<C, U, D, T>(to_control: Arc<EventFd>) -> nix::Result<Ends<C, U, D, T>> {
    let shared = Arc::new(Shared {
        applied: AtomicU64::new(0),
        lost_datagrams: AtomicU64::new(0),
        lost_telemetry: AtomicU64::new(0),
        to_worker: Arc::new(EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?),
        to_control,
        control: std::thread::current(),
    });
    let (command_in, command_out) = RingBuffer::new(COMMANDS);
    let (urgent_in, urgent_out) = RingBuffer::new(URGENT);
    let (datagram_in, datagram_out) = RingBuffer::new(DATAGRAMS);
    let (telemetry_in, telemetry_out) = RingBuffer::new(TELEMETRY);
    let control = ControlEnd {
        commands: command_in,
        sent: 0,
        urgent: urgent_out,
        datagrams: datagram_out,
        telemetry: telemetry_out,
        shared: shared.clone(),
    };
    let worker = WorkerEnd {
        commands: command_out,
        urgent: urgent_in,
        datagrams: datagram_in,
        telemetry: telemetry_in,
        shared,
        dirty: false,
    };
    Ok((control, worker))
}

impl<C, U, D, T> ControlEnd<C, U, D, T> {
    /// Sends a command; waits if the worker is so far behind that the ring is full.
    pub(super) fn send(&mut self, mut command: C) -> Result<(), WorkerHangs> {
        while let Err(rtrb::PushError::Full(back)) = self.commands.push(command) {
            command = back;
            self.confirmed()?;
        }
        self.sent += 1;
        self.wake_worker();
        Ok(())
    }

    /// Returns once the worker has applied everything sent so far.
    pub(super) fn confirmed(&self) -> Result<(), WorkerHangs> {
        let mut waited = Duration::ZERO;
        let step = Duration::from_millis(1);
        while self.shared.applied.load(Ordering::Acquire) < self.sent {
            if waited >= CONFIRM_TIME {
                return Err(WorkerHangs);
            }
            self.wake_worker();
            // The worker unparks us; the step bounds a wake-up that came before we slept.
            std::thread::park_timeout(step);
            waited += step;
        }
        Ok(())
    }

    /// A handle that is readable when the worker has something to say.
    pub(super) fn descriptor(&self) -> std::io::Result<OwnedFd> {
        self.shared.to_control.as_fd().try_clone_to_owned()
    }

    /// Takes the wake-up back; call before draining the rings.
    pub(super) fn acknowledge(&self) {
        let _ = self.shared.to_control.read();
    }

    /// IKE datagrams and telemetry that found their ring full, since start.
    pub(super) fn lost(&self) -> (u64, u64) {
        (self.shared.lost_datagrams.load(Ordering::Relaxed), self.shared.lost_telemetry.load(Ordering::Relaxed))
    }

    fn wake_worker(&self) {
        // The counter cannot overflow in practice, and a full one wakes all the same.
        let _ = self.shared.to_worker.write(1);
    }
}

impl<C, U, D, T> WorkerEnd<C, U, D, T> {
    /// Readable when there are commands.
    pub(super) fn descriptor(&self) -> &EventFd {
        &self.shared.to_worker
    }

    /// By which others wake this worker.
    pub(super) fn waker(&self) -> Arc<EventFd> {
        self.shared.to_worker.clone()
    }

    /// Takes the wake-up back; call before taking commands.
    pub(super) fn acknowledge(&self) {
        let _ = self.shared.to_worker.read();
    }

    /// The next command, to be confirmed once it is applied.
    pub(super) fn command(&mut self) -> Option<C> {
        self.commands.pop().ok()
    }

    /// The command taken last has been applied.
    pub(super) fn confirm(&self) {
        self.shared.applied.fetch_add(1, Ordering::Release);
        self.shared.control.unpark();
    }

    /// Whether an urgent report would find room; ask before taking it from where it cannot be lost.
    pub(super) fn has_room_for_urgent(&self) -> bool {
        self.urgent.slots() > 0
    }

    /// Something that IKE has to act on.
    pub(super) fn urgent(&mut self, report: U) {
        let pushed = self.urgent.push(report);
        debug_assert!(pushed.is_ok(), "has_room_for_urgent was asked");
        self.dirty = true;
    }

    /// An IKE datagram; dropped and counted in a flood.
    pub(super) fn datagram(&mut self, datagram: D) {
        if self.datagrams.push(datagram).is_err() {
            self.shared.lost_datagrams.fetch_add(1, Ordering::Relaxed);
        }
        self.dirty = true;
    }

    /// Whether telemetry would find room; what finds none can wait where it is counted.
    pub(super) fn has_room_for_telemetry(&self) -> bool {
        self.telemetry.slots() > 0
    }

    /// Something to tell the operator; dropped and counted when too much happens.
    pub(super) fn telemetry(&mut self, report: T) {
        if self.telemetry.push(report).is_err() {
            self.shared.lost_telemetry.fetch_add(1, Ordering::Relaxed);
        }
        self.dirty = true;
    }

    /// Wakes the control loop if there is anything new for it.
    pub(super) fn flush(&mut self) {
        if std::mem::take(&mut self.dirty) {
            let _ = self.shared.to_control.write(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_counts_as_confirmed_only_after_the_worker_said_so() {
        let (mut control, mut worker) = links::<u32, (), (), ()>(1).unwrap().remove(0);
        let thread = std::thread::spawn(move || {
            let mut sum = 0;
            while sum < 3 {
                worker.acknowledge();
                while let Some(command) = worker.command() {
                    sum += command;
                    worker.confirm();
                }
            }
            sum
        });
        control.send(1).unwrap();
        control.send(2).unwrap();
        control.confirmed().unwrap();
        assert_eq!(thread.join().unwrap(), 3);
        control.send(4).unwrap();
        assert_eq!(control.confirmed(), Err(WorkerHangs), "nobody is there any more");
    }

    #[test]
    fn telemetry_beyond_the_ring_is_counted_and_does_not_block() {
        let (mut control, mut worker) = links::<(), (), (), usize>(1).unwrap().remove(0);
        for report in 0..TELEMETRY + 5 {
            worker.telemetry(report);
        }
        worker.flush();
        assert_eq!(control.lost(), (0, 5));
        assert_eq!(control.telemetry.pop(), Ok(0));
    }
}
