//! Child processes that do not outlive us.
#![allow(unsafe_code, reason = "what runs between fork and exec is unsafe by nature")]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::prctl;
use nix::sys::signal::Signal;

/// Has the kernel kill the child when the thread that starts it ends, however it ends.
pub fn dies_with_its_parent(command: &mut Command) -> &mut Command {
    // SAFETY: `prctl` is a bare system call, safe between fork and exec, and nothing is allocated.
    unsafe { command.pre_exec(|| prctl::set_pdeathsig(Signal::SIGKILL).map_err(io::Error::from)) }
}
