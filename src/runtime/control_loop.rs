//! The control loop: one thread that feeds the IKE endpoint with datagrams, timers, the data path's events and the
//! operator's wishes, and does, in order, what the endpoint says. It decides nothing about protocols.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::RunError;
use super::admin_socket::{AdminSocket, Call};
use super::agreements::Agreements;
use super::crew::Crew;
use super::flood::FloodWatch;
use super::host::{self, Host};
use super::journal::Journal;
use super::keylog::KeyLogFiles;
use super::link::WorkerHangs;
use super::sockets::ControlSockets;
use super::stats::{self, Stats};
use super::worker::{Command, Urgent};
use crate::config::Loaded;
use crate::dataplane::buffer::Batch;
use crate::ids::TunnelId;
use crate::ike::api::{Input, Output};
use crate::ike::endpoint::Endpoint;
use crate::platform::async_fd::readable;
use crate::platform::clock;
use crate::time::Instant;

/// Room for the largest UDP datagram. Only what is written to takes memory.
const ROOM: usize = 65_535;
/// Datagrams that port 500 gives at once.
const SLOTS: usize = 64;
/// How often the TUN is looked after, and IKE told which peers are heard from.
const ROUND: Duration = Duration::from_secs(1);
/// SIGTERM: how long the peers have to answer the deletes.
const FAREWELL: Duration = Duration::from_secs(2);
/// Calls from control connections that may wait.
const CALLS: usize = 16;

/// Everything the control thread owns.
pub(super) struct ControlLoop {
    pub(super) file: PathBuf,
    pub(super) loaded: Loaded,
    pub(super) endpoint: Endpoint,
    pub(super) crew: Crew,
    /// How often the TUN was made anew.
    pub(super) tun_made: u64,
    /// The inner MTU of each tunnel as each worker sees it: the least one counts.
    pub(super) mtus: BTreeMap<(TunnelId, usize), u16>,
    pub(super) sockets: ControlSockets,
    pub(super) host: Host,
    pub(super) journal: Journal,
    pub(super) stats: Stats,
    pub(super) keylog: Option<KeyLogFiles>,
    pub(super) agreements: Agreements,
    /// A socket on port 500 that was not read to its end.
    pub(super) more: Option<usize>,
    pub(super) flood: FloodWatch,
}

impl ControlLoop {
    /// Runs until SIGTERM or SIGINT, or until something without which no gateway is possible fails.
    pub(super) async fn run(mut self, admin: AdminSocket) -> Result<(), RunError> {
        let (calls, mut waiting) = mpsc::channel::<Call>(CALLS);
        tokio::spawn(admin.serve(calls, self.journal.listeners()));
        let mut terminate = signal(SignalKind::terminate()).map_err(RunError::io("signals"))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::io("signals"))?;
        let mut hangup = signal(SignalKind::hangup()).map_err(RunError::io("signals"))?;
        let worker = self.crew.descriptor().and_then(readable).map_err(RunError::io("event loop"))?;
        let ports = self.sockets.descriptors().map_err(RunError::io("event loop"))?;
        let ports =
            ports.into_iter().map(readable).collect::<Result<Vec<_>, _>>().map_err(RunError::io("event loop"))?;
        let mut round = tokio::time::interval(ROUND);
        round.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut batch = Batch::new(SLOTS, ROOM);
        self.tell_policy(None);
        let mut wake_at = self.input(Input::Timeout)?;
        loop {
            let now = clock::now();
            let sleep = wake_at.map_or(Duration::MAX, |at| at.since(now));
            let until_change = self.agreements.until_change();
            wake_at = tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => {
                    // The journal has said why, if it was refused.
                    let _ = self.reload();
                    self.drain()?
                }
                guard = worker.readable() => {
                    guard.map_err(RunError::io("worker"))?.clear_ready();
                    self.hear_worker()?
                }
                index = any_readable(&ports, self.more), if !self.flood.rests(now) => self.hear_port_500(index, &mut batch)?,
                Some(call) = waiting.recv() => {
                    let answer = self.answer(&call)?;
                    // A client that hung up wants no answer.
                    let _ = call.answer.send(answer);
                    self.drain()?
                }
                () = tokio::time::sleep(self.flood.pause(now)) => self.drain()?,
                () = tokio::time::sleep(until_change) => {
                    self.pass_time()?;
                    self.drain()?
                }
                _ = round.tick() => {
                    self.pass_time()?;
                    self.look_after_host()?;
                    self.follow_addresses()?;
                    if let Some(untold) = self.stats.untold() {
                        self.journal.publish(&untold);
                    }
                    for tunnel in self.stats.heard_from(&self.loaded) {
                        self.endpoint.handle(clock::now(), Input::InboundSeen(tunnel));
                        self.drain()?;
                    }
                    self.drain()?
                }
                () = tokio::time::sleep(sleep) => self.input(Input::Timeout)?,
            };
            self.watch_floods();
        }
        self.shut_down(&worker, &ports, &mut batch).await
    }

    /// Feeds the endpoint and does what it says.
    pub(super) fn input(&mut self, input: Input<'_>) -> Result<Option<Instant>, RunError> {
        self.endpoint.set_time_of_day(clock::unix());
        self.endpoint.handle(clock::now(), input);
        self.drain()
    }

    /// Does what the endpoint says, in order, until it wants to sleep.
    pub(super) fn drain(&mut self) -> Result<Option<Instant>, RunError> {
        loop {
            match self.endpoint.poll_output() {
                Output::Transmit { local, remote, bytes } => {
                    // RFC 7296 §2.8 and the contract of `SadCommand`: what is announced must be installed first.
                    self.crew.confirmed()?;
                    self.sockets.send_ike(local, remote, &bytes);
                }
                Output::Keepalive { local, remote } => self.sockets.send_keepalive(local, remote),
                Output::Sad(command) => self.crew.change(command)?,
                Output::Addresses { tunnel, addresses } => self.host.set_addresses(&self.loaded, tunnel, addresses),
                Output::Event(event) => self.journal.publish(&event),
                Output::KeyLog(entry) => {
                    if let Some(Err(error)) = self.keylog.as_mut().map(|keylog| keylog.write(&entry)) {
                        tracing::error!(%error, "key log: cannot write");
                    }
                }
                Output::Timeout(at) => return Ok(at),
            }
        }
    }

    /// What the data path has to say: first what IKE must act on, then datagrams, then telemetry.
    fn hear_worker(&mut self) -> Result<Option<Instant>, RunError> {
        self.crew.acknowledge();
        if self.crew.is_finished() {
            return Err(WorkerHangs.into());
        }
        let mut changed = BTreeMap::new();
        while let Some((worker, urgent)) = self.crew.urgent() {
            match urgent {
                Urgent::Sad(event) => {
                    self.input(Input::Sad(event))?;
                }
                // Every worker says so, and some when there is another one already.
                Urgent::TunGone(made) if made < self.tun_made => {}
                Urgent::TunGone(_) => {
                    tracing::warn!("the TUN device is gone; making it anew");
                    self.host.tun_gone();
                    self.look_after_host()?;
                }
                Urgent::PathReport(report) => {
                    for other in (0..self.crew.len()).filter(|other| *other != worker) {
                        self.crew.tell(other, Command::PathReport(report))?;
                    }
                }
                Urgent::Mtu(tunnel, mtu) => {
                    self.mtus.insert((tunnel, worker), mtu);
                    let least = self.mtus.range((tunnel, 0)..=(tunnel, usize::MAX)).map(|(_, mtu)| *mtu).min();
                    changed.insert(tunnel, least.unwrap_or(mtu));
                }
            }
        }
        self.host.set_mtus(&self.loaded, &changed);
        while let Some(datagram) = self.crew.datagram() {
            let (local, remote) = (datagram.path.local, datagram.path.remote);
            self.input(Input::Datagram { local, remote, bytes: &datagram.bytes })?;
        }
        while let Some(record) = self.crew.telemetry() {
            let event = stats::event(&self.loaded, &record);
            self.journal.publish(&event);
        }
        self.drain()
    }

    /// IKE on port 500. Remembers a port that may have more to read than one turn takes.
    fn hear_port_500(&mut self, index: usize, batch: &mut Batch) -> Result<Option<Instant>, RunError> {
        batch.clear();
        // An ICMP error about an earlier datagram is no reason to stop; the next turn gives what is there.
        let _ = self.sockets.receive(index, batch);
        self.more = batch.is_full().then_some(index);
        if self.more.is_none() {
            self.flood.heard(clock::now());
        }
        self.endpoint.set_time_of_day(clock::unix());
        for (at, packet) in batch.packets().iter().enumerate() {
            let Some(path) = packet.path.filter(|_| !packet.done) else { continue };
            let bytes = batch.bytes(at);
            self.endpoint.handle(clock::now(), Input::Datagram { local: path.local, remote: path.remote, bytes });
            self.drain()?;
        }
        self.drain()
    }

    /// Makes a lost TUN anew, and tries again what the host refused.
    fn look_after_host(&mut self) -> Result<(), RunError> {
        if self.crew.is_finished() {
            return Err(WorkerHangs.into());
        }
        match self.host.look_after(&self.loaded) {
            Ok(Some(queues)) => {
                self.tun_made += 1;
                for (worker, queue) in queues.into_iter().enumerate() {
                    self.crew.tell(worker, Command::Tun(queue, self.tun_made))?;
                }
            }
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "the host does not let us; trying again"),
        }
        Ok(())
    }

    /// Tells IKE of addresses of ours that the host has no more, where a tunnel may move.
    fn follow_addresses(&mut self) -> Result<(), RunError> {
        let in_use: Vec<_> = self.endpoint.mobile().collect();
        if in_use.is_empty() {
            return Ok(());
        }
        for (tunnel, local) in host::moved(&self.loaded, &in_use) {
            tracing::info!(?tunnel, %local, "our address has changed");
            self.input(Input::Moved { tunnel, local })?;
        }
        Ok(())
    }

    /// Deletes sent, a short wait for the answers, then the worker ends. The barrier stays.
    async fn shut_down(
        mut self,
        worker: &AsyncFd<OwnedFd>,
        ports: &[AsyncFd<OwnedFd>],
        batch: &mut Batch,
    ) -> Result<(), RunError> {
        let mut wake_at = self.input(Input::Shutdown)?;
        let end = tokio::time::sleep(FAREWELL);
        tokio::pin!(end);
        while !self.endpoint.is_quiet() {
            let sleep = wake_at.map_or(FAREWELL, |at| at.since(clock::now()));
            wake_at = tokio::select! {
                () = &mut end => break,
                guard = worker.readable() => {
                    guard.map_err(RunError::io("worker"))?.clear_ready();
                    self.hear_worker()?
                }
                index = any_readable(ports, self.more) => self.hear_port_500(index, batch)?,
                () = tokio::time::sleep(sleep) => self.input(Input::Timeout)?,
            };
        }
        // What was seen of time; a refusal has been logged.
        let _ = self.agreements.write(true);
        Ok(self.crew.stop()?)
    }
}

/// The index of a port that has something to read.
async fn any_readable(ports: &[AsyncFd<OwnedFd>], more: Option<usize>) -> usize {
    if let Some(index) = more {
        return index;
    }
    let waits =
        ports.iter().map(|port| Box::pin(async move { port.readable().await.map(|mut guard| guard.clear_ready()) }));
    let mut waits: Vec<_> = waits.collect();
    std::future::poll_fn(move |cx| {
        for (index, wait) in waits.iter_mut().enumerate() {
            if wait.as_mut().poll(cx).is_ready() {
                return std::task::Poll::Ready(index);
            }
        }
        std::task::Poll::Pending
    })
    .await
}

impl From<WorkerHangs> for RunError {
    fn from(_: WorkerHangs) -> Self {
        Self::Io { what: "packet worker", error: io::Error::new(io::ErrorKind::TimedOut, "it does not answer") }
    }
}
