//! Waiting for descriptors (`epoll`), and waking up who waits (`eventfd`).
//!
//! Level-triggered: what a batch did not take is told again. Leaves out edge triggering and one-shot interest.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

/// How many descriptors one call tells of at most.
const AT_ONCE: usize = 16;

/// What happened to one descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The key under which it was added.
    pub key: u64,
    /// Something can be read.
    pub readable: bool,
    /// Something can be written.
    pub writable: bool,
    /// An error waits: an ICMP error in a socket's error queue, or a deleted TUN device.
    pub error: bool,
}

/// A set of descriptors to wait for.
pub struct Poll {
    epoll: Epoll,
    events: [EpollEvent; AT_ONCE],
}

impl Poll {
    /// An empty set.
    pub fn new() -> io::Result<Self> {
        Ok(Self { epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?, events: [EpollEvent::empty(); AT_ONCE] })
    }

    /// Waits for `descriptor` too, under `key`. It leaves the set when it is closed.
    pub fn add(&self, descriptor: impl AsFd, key: u64) -> io::Result<()> {
        Ok(self.epoll.add(descriptor, EpollEvent::new(EpollFlags::EPOLLIN, key))?)
    }

    /// Whether `descriptor` is waited for to become writable, too: for as long as a batch is left half sent.
    pub fn want_writable(&self, descriptor: impl AsFd, key: u64, wanted: bool) -> io::Result<()> {
        let writable = if wanted { EpollFlags::EPOLLOUT } else { EpollFlags::empty() };
        Ok(self.epoll.modify(descriptor, &mut EpollEvent::new(EpollFlags::EPOLLIN | writable, key))?)
    }

    /// Waits for `descriptor` no more.
    pub fn remove(&self, descriptor: impl AsFd) -> io::Result<()> {
        Ok(self.epoll.delete(descriptor)?)
    }

    /// Waits until something happens or `patience` is over (`None`: for ever), and tells what; a signal ends it too.
    pub fn wait(&mut self, patience: Option<Duration>) -> io::Result<impl Iterator<Item = Ready>> {
        let timeout = match patience {
            None => EpollTimeout::NONE,
            // Rounded up, so that a deadline has passed when the wait is over.
            Some(patience) => {
                let millis = patience.as_nanos().div_ceil(1_000_000);
                EpollTimeout::try_from(i32::try_from(millis).unwrap_or(i32::MAX)).unwrap_or(EpollTimeout::MAX)
            }
        };
        let count = match self.epoll.wait(&mut self.events, timeout) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        Ok(self.events.iter().take(count).map(|event| {
            let is = |flag| event.events().intersects(flag);
            Ready {
                key: event.data(),
                readable: is(EpollFlags::EPOLLIN),
                writable: is(EpollFlags::EPOLLOUT),
                error: is(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP),
            }
        }))
    }
}

/// Wakes a thread that waits in [`Poll::wait`]; any number of calls before it wakes are one.
pub struct Waker {
    event: EventFd,
}

impl Waker {
    /// A waker, to be added to the set of the thread that it wakes.
    pub fn new() -> io::Result<Self> {
        Ok(Self { event: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)? })
    }

    /// Wakes the thread.
    pub fn wake(&self) {
        // The only error is a counter at its end, and then the thread is awake.
        let _ = self.event.write(1);
    }

    /// Called by the thread that was woken, before it looks for its work.
    pub fn clear(&self) {
        // Nothing to read: nobody called since.
        let _ = self.event.read();
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    #[test]
    fn a_sleeping_thread_is_woken_and_sleeps_again() {
        let waker = Arc::new(Waker::new().unwrap());
        let mut poll = Poll::new().unwrap();
        poll.add(&*waker, 7).unwrap();
        assert_eq!(poll.wait(Some(Duration::ZERO)).unwrap().count(), 0);
        let other = Arc::clone(&waker);
        let thread = std::thread::spawn(move || (0..3).for_each(|_| other.wake()));
        let ready: Vec<Ready> = poll.wait(None).unwrap().collect();
        assert_eq!(ready, [Ready { key: 7, readable: true, writable: false, error: false }]);
        thread.join().unwrap();
        waker.clear();
        assert_eq!(poll.wait(Some(Duration::from_micros(10))).unwrap().count(), 0);
    }

    #[test]
    fn interest_in_writing_comes_and_goes_and_a_removed_descriptor_is_silent() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let mut poll = Poll::new().unwrap();
        poll.add(&near, 1).unwrap();
        assert_eq!(poll.wait(Some(Duration::ZERO)).unwrap().count(), 0);
        poll.want_writable(&near, 1, true).unwrap();
        assert!(poll.wait(Some(Duration::ZERO)).unwrap().all(|ready| ready.writable && !ready.readable));
        poll.want_writable(&near, 1, false).unwrap();
        far.write_all(b"x").unwrap();
        assert!(poll.wait(Some(Duration::ZERO)).unwrap().any(|ready| ready.readable && !ready.writable));
        drop(far);
        assert!(poll.wait(Some(Duration::ZERO)).unwrap().any(|ready| ready.error));
        poll.remove(&near).unwrap();
        assert_eq!(poll.wait(Some(Duration::ZERO)).unwrap().count(), 0);
    }
}
