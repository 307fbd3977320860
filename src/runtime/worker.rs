//! The packet thread: waits for the TUN, the sockets and the control loop, moves batches through the pipeline, and does
//! nothing else. One worker owns both directions of a flow, so connection tracking needs no atomics; measured against one
//! worker a direction in docs/PERFORMANCE.md. With several of them each has a queue of the TUN device and sockets of its own,
//! and passes on what belongs to another (`dataplane::handover`).

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::eventfd::EventFd;

use super::link::{ControlEnd, WorkerEnd};
use super::sockets::DataSockets;
use crate::dataplane::buffer::{Batch, Path};
use crate::dataplane::drop::Record;
use crate::dataplane::handover::Handed;
use crate::dataplane::offload::Offloads;
use crate::dataplane::pipeline::Pipeline;
use crate::event::DropReason;
use crate::ids::TunnelId;
use crate::inspect::Live;
use crate::platform::clock;
use crate::platform::tun::Tun;
use crate::platform::udp::PathReport;
use crate::policy::Snapshot;
use crate::sa::command::SadCommand;
use crate::sa::event::SadEvent;

/// Packets a batch: what one wake-up moves before it looks elsewhere.
const BATCH: usize = 64;
/// Largest single packet from the TUN: a jumbo frame.
const ROOM: usize = 9728;
/// Largest datagram from the underlay, or train of datagrams that the kernel has put together.
const DATAGRAM_ROOM: usize = 65_535;
/// Batches from one source before the others get their turn.
const TURNS: usize = 4;
/// Reports about packets of others that one look at a socket passes on: anybody can send ICMP.
const STRANGE_REPORTS: usize = 16;
/// Longest sleep: flows expire and refusals are written down also when nothing moves.
const NAP_MS: u16 = 250;

/// What the control loop tells the worker.
pub(super) enum Command {
    /// Change the SAD.
    Sad(SadCommand),
    /// A new policy is in force.
    Policy(Arc<Snapshot>),
    /// The TUN was made anew, for so many times.
    Tun(Tun, u64),
    /// What the network says about a packet that another worker may have sent.
    PathReport(PathReport),
    /// The MTU of the link towards a tunnel's peer.
    LinkMtu(TunnelId, u16),
    /// Tell of the live flows between two hosts; what finds no room is left out.
    Look {
        /// One of the hosts.
        from: IpAddr,
        /// The other one.
        to: IpAddr,
        /// Only those that were opened to this port.
        port: Option<u16>,
        /// Who wants to know.
        found: SyncSender<Live>,
    },
    /// The thread ends.
    Stop,
}

/// What the worker tells the control loop, and must not lose.
#[derive(Debug)]
pub(super) enum Urgent {
    /// For the IKE endpoint.
    Sad(SadEvent),
    /// The TUN device is gone that was made for so many times.
    TunGone(u64),
    /// What the network says about a packet that this worker has not sent.
    PathReport(PathReport),
    /// The inner MTU of a tunnel has changed.
    Mtu(TunnelId, u16),
}

/// An IKE message that came in on port 4500.
#[derive(Debug)]
pub(super) struct Datagram {
    pub(super) path: Path,
    pub(super) bytes: Box<[u8]>,
}

/// The control loop's end of the link.
pub(super) type Control = ControlEnd<Command, Urgent, Datagram, Record>;
/// The worker's end.
type Link = WorkerEnd<Command, Urgent, Datagram, Record>;

/// The thread's state.
pub(super) struct Worker {
    pub(super) link: Link,
    pub(super) pipeline: Pipeline,
    pub(super) tun: Option<Tun>,
    pub(super) sockets: DataSockets,
    /// How often the TUN was made anew.
    pub(super) tun_made: u64,
    /// The TUN went away and the control loop has not been told yet.
    pub(super) tun_gone: bool,
    /// By which each worker is woken.
    pub(super) crew: Vec<Arc<EventFd>>,
    /// How many truncated datagrams have been counted.
    pub(super) truncated: u64,
    /// Which of the kernel's offloads are in use.
    pub(super) offloads: Offloads,
}

/// What `epoll` says is ready.
const WAKE: u64 = 0;
const TUN: u64 = 1;
const SOCKETS: u64 = 2;

impl Worker {
    /// Runs until `Stop`.
    pub(super) fn run(mut self) -> nix::Result<()> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        watch(&epoll, self.link.descriptor().as_fd(), WAKE)?;
        if let Some(tun) = &self.tun {
            watch(&epoll, tun.as_fd(), TUN)?;
        }
        for (index, fd) in self.sockets.descriptors().enumerate() {
            watch(&epoll, fd, SOCKETS + index as u64)?;
        }
        let mut out = Batch::with_trains(BATCH, ROOM);
        let mut incoming = Batch::new(BATCH, DATAGRAM_ROOM);
        self.see_offloads();
        let mut ready = [EpollEvent::empty(); 8];
        loop {
            let count = match epoll.wait(&mut ready, NAP_MS) {
                Ok(count) => count,
                Err(nix::errno::Errno::EINTR) => continue,
                Err(error) => return Err(error),
            };
            for event in &ready[..count] {
                match event.data() {
                    WAKE => {
                        if !self.obey(&epoll)? {
                            return Ok(());
                        }
                        self.release_held(&mut incoming);
                        self.take_handed(&epoll, &mut out);
                        self.send_own(&epoll);
                    }
                    TUN => {
                        // What others have read of a flow goes before what is read of it here.
                        self.take_handed(&epoll, &mut out);
                        self.outbound(&epoll, &mut out);
                    }
                    socket => {
                        let index = usize::try_from(socket - SOCKETS).unwrap_or(usize::MAX);
                        if event.events().contains(EpollFlags::EPOLLERR) {
                            self.path_errors(index);
                        }
                        self.inbound(index, &mut incoming);
                        self.send_own(&epoll);
                    }
                }
            }
            if count == 0 {
                self.pipeline.tick(clock::now());
                self.send_own(&epoll);
            }
            self.report();
        }
    }

    /// Applies what the control loop sent; false if it was `Stop`.
    fn obey(&mut self, epoll: &Epoll) -> nix::Result<bool> {
        self.link.acknowledge();
        while let Some(command) = self.link.command() {
            let go_on = !matches!(command, Command::Stop);
            match command {
                Command::Sad(change) => self.pipeline.apply(clock::now(), change),
                Command::Policy(policy) => {
                    self.pipeline.set_policy(policy);
                    // Whose flow is not allowed any more is told at once.
                    while self.pipeline.end_disallowed(clock::now()) {
                        self.send_own(epoll);
                    }
                    self.send_own(epoll);
                }
                Command::Tun(tun, made) => {
                    (self.tun_made, self.tun_gone) = (made, false);
                    watch(epoll, tun.as_fd(), TUN)?;
                    (self.offloads.tun, self.offloads.tun_write) = (tun.offload(), tun.offload());
                    self.tun = Some(tun);
                    self.pipeline.set_offloads(self.offloads);
                }
                Command::PathReport(report) => {
                    self.believes(&report);
                }
                Command::Look { from, to, port, found } => {
                    self.pipeline.live(clock::now(), (from, to), port, |live| found.try_send(live).is_ok());
                }
                Command::LinkMtu(tunnel, mtu) => self.pipeline.set_link_mtu(tunnel, mtu),
                Command::Stop => {}
            }
            self.link.confirm();
            if !go_on {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// ESP that came before its SA goes on its way.
    fn release_held(&mut self, batch: &mut Batch) {
        while self.pipeline.release_held(batch) {
            self.deliver(batch);
        }
    }

    /// What other workers have read and passed on to this one.
    fn take_handed(&mut self, epoll: &Epoll, batch: &mut Batch) {
        for _ in 0..TURNS * self.crew.len() {
            match self.pipeline.take_handed(clock::now(), batch) {
                Some(Handed::Outwards) => self.send(epoll, batch),
                Some(Handed::Inwards) => self.write(batch),
                None => return,
            }
        }
        // There may be more; the others get their turn.
        let _ = self.link.descriptor().write(1);
    }

    /// Wakes those to whom something was passed on.
    fn wake_others(&mut self) {
        while let Some(worker) = self.pipeline.poll_given() {
            if let Some(waker) = self.crew.get(usize::from(worker)) {
                // A full counter wakes all the same.
                let _ = waker.write(1);
            }
        }
    }

    /// TUN to underlay.
    fn outbound(&mut self, epoll: &Epoll, batch: &mut Batch) {
        for _ in 0..TURNS {
            batch.clear();
            let Some(tun) = &mut self.tun else { return };
            match tun.read_batch(batch) {
                Ok(0) => return,
                Ok(_) => {}
                Err(_) => return self.tun_gone(epoll),
            }
            self.pipeline.outbound(clock::now(), batch);
            self.send(epoll, batch);
            if !batch.is_full() {
                return;
            }
        }
    }

    /// Sealed packets go out, and what the pipeline answers goes in.
    fn send(&mut self, epoll: &Epoll, batch: &Batch) {
        self.wake_others();
        let unsent = self.sockets.send(batch);
        self.pipeline.count_drops(DropReason::SendFailed, unsent);
        self.send_own(epoll);
        self.see_offloads();
    }

    /// Underlay to TUN.
    fn inbound(&mut self, index: usize, batch: &mut Batch) {
        for _ in 0..TURNS {
            batch.clear();
            match self.sockets.receive(index, batch) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            self.deliver(batch);
            let truncated = self.sockets.truncated();
            self.pipeline.count_drops(DropReason::TooLongDatagram, truncated - self.truncated);
            self.truncated = truncated;
            while let Some((path, bytes)) = self.pipeline.poll_ike() {
                self.link.datagram(Datagram { path, bytes: bytes.into() });
            }
            if !self.sockets.has_more(index) && !batch.is_full() {
                return;
            }
        }
    }

    /// What came in is judged and written to the TUN.
    fn deliver(&mut self, batch: &mut Batch) {
        self.pipeline.inbound(clock::now(), batch);
        self.write(batch);
    }

    /// What was let in is written to the TUN.
    fn write(&mut self, batch: &Batch) {
        self.wake_others();
        // A TUN that is gone is noticed, and replaced, where it is read.
        let Some(Ok(written)) = self.tun.as_mut().map(|tun| tun.write_batch(batch)) else { return };
        self.pipeline.count_drops(DropReason::SendFailed, written.refused as u64);
        if written.trains_refused > 0 {
            // The packets went one by one; the next ones of their kind are not tied together.
            self.offloads.tun_write = self.offloads.tun_write.down();
            self.pipeline.set_offloads(self.offloads);
        }
    }

    /// Notes how datagrams are sent and received now: the kernel may have refused something.
    fn see_offloads(&mut self) {
        let before = self.offloads;
        self.sockets.note(&mut self.offloads);
        if self.offloads != before {
            self.pipeline.set_offloads(self.offloads);
        }
    }

    /// ICMP errors about what we sent.
    fn path_errors(&mut self, index: usize) {
        let mut strange = 0;
        while let Some(report) = self.sockets.path_error(index) {
            // Such a report comes to any of the sockets that share a port: it may be about what another worker has sent.
            if !self.believes(&report)
                && report.mtu.is_some()
                && self.crew.len() > 1
                && strange < STRANGE_REPORTS
                && self.link.has_room_for_urgent()
            {
                strange += 1;
                self.link.urgent(Urgent::PathReport(report));
            }
        }
    }

    /// Whether a report is about a packet that was sent here; then its MTU counts.
    fn believes(&mut self, report: &PathReport) -> bool {
        let (Some(mtu), Some(remote)) = (report.mtu, report.remote) else { return false };
        self.pipeline.path_mtu_report(clock::now(), remote.ip(), report.quoted(), mtu)
    }

    /// What the pipeline made itself: ICMP errors and RSTs, inwards and outwards.
    fn send_own(&mut self, epoll: &Epoll) {
        self.wake_others();
        let departures = self.pipeline.departures();
        if !departures.is_empty() {
            let unsent = self.sockets.send(departures);
            departures.clear();
            self.pipeline.count_drops(DropReason::SendFailed, unsent);
        }
        self.write_replies(epoll);
    }

    fn write_replies(&mut self, epoll: &Epoll) {
        let replies = self.pipeline.replies();
        if replies.is_empty() {
            return;
        }
        let written = self.tun.as_mut().map(|tun| tun.write_batch(replies));
        replies.clear();
        if matches!(written, Some(Err(_))) {
            self.tun_gone(epoll);
        }
    }

    fn tun_gone(&mut self, epoll: &Epoll) {
        if let Some(tun) = self.tun.take() {
            let _ = epoll.delete(tun.as_fd());
            self.tun_gone = true;
        }
    }

    /// Passes on what happened, never waiting: what finds no room stays with the pipeline.
    fn report(&mut self) {
        if self.tun_gone && self.link.has_room_for_urgent() {
            self.link.urgent(Urgent::TunGone(self.tun_made));
            self.tun_gone = false;
        }
        while self.link.has_room_for_urgent() {
            let Some(event) = self.pipeline.poll_event() else { break };
            self.link.urgent(Urgent::Sad(event));
        }
        while self.link.has_room_for_urgent() {
            let Some(tunnel) = self.pipeline.poll_mtu_change() else { break };
            self.link.urgent(Urgent::Mtu(tunnel, self.pipeline.tunnel_mtu(tunnel)));
        }
        while self.link.has_room_for_telemetry() {
            let Some(record) = self.pipeline.poll_record() else { break };
            self.link.telemetry(record);
        }
        self.link.flush();
    }
}

fn watch(epoll: &Epoll, fd: BorrowedFd<'_>, data: u64) -> nix::Result<()> {
    epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, data))
}
