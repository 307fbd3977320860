//! Descriptors that the control loop waits on. Reading them is their owner's business.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Wakes a task when `fd` can be read. Edge-triggered: clear the readiness first, then read to the end.
pub fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor must stay the same and open while it is registered; an `OwnedFd` always names the
    // descriptor that it owns, and it is owned by the `AsyncFd` from here on.
    unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_task_wakes_when_the_other_end_writes_and_not_before() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let near = readable(near.into()).unwrap();
        let early = tokio::time::timeout(Duration::from_millis(20), near.readable()).await;
        assert!(early.is_err());
        far.write_all(b"x").unwrap();
        near.readable().await.unwrap().clear_ready();
    }
}
