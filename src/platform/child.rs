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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::process::Stdio;

    #[test]
    fn a_child_ends_with_the_thread_that_starts_it_and_hears_the_signals_that_we_keep_to_ourselves() {
        let starter = std::thread::spawn(|| {
            let mut kept = SigSet::empty();
            kept.add(Signal::SIGUSR1);
            kept.thread_block().unwrap();
            let mut command = Command::new("sh");
            command.args(["-c", "grep SigBlk /proc/self/status; echo; exec sleep 1000"]).stdout(Stdio::piped());
            let mut child = dies_with_its_parent(&mut command).spawn().unwrap();
            let mut blocked = [0; 24];
            child.stdout.as_mut().unwrap().read_exact(&mut blocked).unwrap();
            (child, String::from_utf8(blocked.to_vec()).unwrap())
        });
        let (mut child, blocked) = starter.join().unwrap();
        assert_eq!(blocked.trim(), "SigBlk:\t0000000000000000");
        // It would sleep for a thousand seconds.
        let end = child.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&end), Some(libc::SIGKILL));
    }
}
