//! Signals as a descriptor (`signalfd`): no handler runs, a thread reads them when it is ready to.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::SigSet;
pub use nix::sys::signal::Signal;
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Signals that wait to be read.
pub struct Signals {
    descriptor: SignalFd,
    set: SigSet,
}

impl Signals {
    /// Takes `signals` away from their default action for the calling thread and every thread that it starts from now on, and
    /// keeps them to be read. To be called before the first thread starts.
    pub fn catch(signals: &[Signal]) -> io::Result<Self> {
        let set: SigSet = signals.iter().copied().collect();
        set.thread_block()?;
        let descriptor = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Self { descriptor, set })
    }

    /// The next signal, if one came.
    pub fn next(&self) -> io::Result<Option<Signal>> {
        let Some(info) = self.descriptor.read_signal()? else { return Ok(None) };
        Ok(i32::try_from(info.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok()))
    }

    /// Gives the signals their default action back; those that came and were not read take effect.
    pub fn release(self) -> io::Result<()> {
        Ok(self.set.thread_unblock()?)
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caught_signal_is_read_instead_of_ending_the_process() {
        // A thread of its own, so that the mask of the test's runner stays as it is.
        let thread = std::thread::spawn(|| {
            let signals = Signals::catch(&[Signal::SIGUSR1, Signal::SIGUSR2]).unwrap();
            assert_eq!(signals.next().unwrap(), None);
            nix::sys::signal::raise(Signal::SIGUSR2).unwrap();
            assert_eq!(signals.next().unwrap(), Some(Signal::SIGUSR2));
            assert_eq!(signals.next().unwrap(), None);
            signals.release().unwrap();
        });
        thread.join().unwrap();
    }
}
