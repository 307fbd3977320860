//! The workers as the control loop sees them: which command is whose, and when all of them have done what they were told.
//!
//! An SA belongs to the worker that its inbound SPI names (`dataplane::steer`), both halves of it; policy, path and the
//! peer's address concern all.

use std::io;
use std::os::fd::OwnedFd;
use std::thread::JoinHandle;

use super::link::WorkerHangs;
use super::worker::{Command, Control, Datagram, Urgent, Worker};
use crate::dataplane::drop::Record;
use crate::dataplane::steer::Steering;
use crate::platform::privileges::bind_to_processor;
use crate::sa::command::SadCommand;

/// All workers.
pub(super) struct Crew {
    controls: Vec<Control>,
    threads: Vec<JoinHandle<nix::Result<()>>>,
    steering: Steering,
}

impl Crew {
    /// Starts a thread for each worker, bound to its processor if `processors` has one for it.
    pub(super) fn start(controls: Vec<Control>, workers: Vec<Worker>, processors: &[usize]) -> io::Result<Self> {
        let steering = Steering::of(u16::try_from(workers.len()).unwrap_or(u16::MAX));
        let start = |(number, worker): (usize, Worker)| {
            let name = if steering.is_alone() { "packets".to_owned() } else { format!("packets-{number}") };
            let processor = processors.get(number).copied();
            std::thread::Builder::new().name(name).spawn(move || {
                // It was there when the file was loaded: one that has gone since is no reason to carry nothing.
                if let Some(processor) = processor
                    && let Err(error) = bind_to_processor(processor)
                {
                    tracing::error!(worker = number, processor, %error, "a worker is not bound to its processor");
                }
                worker.run()
            })
        };
        let threads = workers.into_iter().enumerate().map(start).collect::<io::Result<Vec<_>>>()?;
        Ok(Self { controls, threads, steering })
    }

    /// Changes the SAD of whom it concerns.
    pub(super) fn change(&mut self, command: SadCommand) -> Result<(), WorkerHangs> {
        let spi = match &command {
            SadCommand::ExpectInbound(spi) | SadCommand::RemoveInbound(spi) => *spi,
            SadCommand::InstallInbound(spec) => spec.spi,
            SadCommand::InstallOutbound(spec) => spec.inbound,
            SadCommand::RemoveOutbound { inbound } => *inbound,
            SadCommand::Redirect { tunnel, inbound, encapsulation } => {
                let (tunnel, encapsulation) = (*tunnel, *encapsulation);
                let again = || SadCommand::Redirect { tunnel, inbound: inbound.clone(), encapsulation };
                return self.tell_all(|| Command::Sad(again()));
            }
        };
        let worker = usize::from(self.steering.of_spi(spi.get()));
        self.tell(worker, Command::Sad(command))
    }

    /// Tells one of them.
    pub(super) fn tell(&mut self, worker: usize, command: Command) -> Result<(), WorkerHangs> {
        self.controls.get_mut(worker).map_or(Ok(()), |control| control.send(command))
    }

    /// Tells each of them.
    pub(super) fn tell_all(&mut self, command: impl Fn() -> Command) -> Result<(), WorkerHangs> {
        self.controls.iter_mut().try_for_each(|control| control.send(command()))
    }

    /// Returns once all have applied everything that they were told so far.
    pub(super) fn confirmed(&self) -> Result<(), WorkerHangs> {
        self.controls.iter().try_for_each(Control::confirmed)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.controls.len()
    }

    /// Whether one has ended.
    pub(super) fn is_finished(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// A handle that is readable when one has something to say.
    pub(super) fn descriptor(&self) -> io::Result<OwnedFd> {
        self.controls.first().ok_or(io::ErrorKind::NotFound)?.descriptor()
    }

    /// Takes the wake-up back; call before hearing them.
    pub(super) fn acknowledge(&self) {
        self.controls.iter().take(1).for_each(Control::acknowledge);
    }

    /// What IKE must act on, and who says so.
    pub(super) fn urgent(&mut self) -> Option<(usize, Urgent)> {
        self.controls.iter_mut().enumerate().find_map(|(worker, control)| Some((worker, control.urgent.pop().ok()?)))
    }

    /// The next IKE datagram.
    pub(super) fn datagram(&mut self) -> Option<Datagram> {
        self.controls.iter_mut().find_map(|control| control.datagrams.pop().ok())
    }

    /// The next refusal or opened flow.
    pub(super) fn telemetry(&mut self) -> Option<Record> {
        self.controls.iter_mut().find_map(|control| control.telemetry.pop().ok())
    }

    /// IKE datagrams and telemetry that found their ring full, since start.
    pub(super) fn lost(&self) -> (u64, u64) {
        self.controls.iter().map(Control::lost).fold((0, 0), |(a, b), (c, d)| (a + c, b + d))
    }

    /// Ends all of them.
    pub(super) fn stop(mut self) -> Result<(), WorkerHangs> {
        self.tell_all(|| Command::Stop)?;
        self.confirmed()?;
        for thread in self.threads {
            let _ = thread.join();
        }
        Ok(())
    }
}
