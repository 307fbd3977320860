//! Child processes that do not outlive us.
#![allow(unsafe_code, reason = "what runs between fork and exec is unsafe by nature")]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};

/// Has the kernel kill the child when the thread that starts it ends, however it ends. Signals that we keep to ourselves
/// reach the child all the same.
pub fn dies_with_its_parent(command: &mut Command) -> &mut Command {
    let prepare = || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        SigSet::empty().thread_set_mask()?;
        io::Result::Ok(())
    };
    // SAFETY: both are bare system calls, safe between fork and exec, and nothing is allocated.
    unsafe { command.pre_exec(prepare) }
}
