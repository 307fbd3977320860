//! What this process may do, and what it gives up: capabilities are asked for by name, core dumps and debuggers are kept
//! away from keys, a thread may be bound to a processor.

use std::collections::BTreeSet;
use std::{fs, io};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::Pid;
use thiserror::Error;

/// A Linux capability by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Capability {
    /// Links, addresses, routes and nftables.
    NetAdmin = 12,
    /// Raw sockets: ESP without UDP.
    NetRaw = 13,
    /// Namespaces.
    SysAdmin = 21,
    /// UDP ports 500 and 4500 lie below and above 1024: binding 500 needs it.
    NetBindService = 10,
}

/// What is missing, and how to mend it.
#[derive(Debug, Error)]
#[error(
    "this process lacks {missing}: run it as root, or give it the capabilities \
     CAP_NET_ADMIN, CAP_NET_RAW and CAP_NET_BIND_SERVICE"
)]
pub struct Missing {
    missing: String,
}

/// Whether this thread has `capability` in effect.
pub fn has_capability(capability: Capability) -> io::Result<bool> {
    let status = fs::read_to_string("/proc/thread-self/status")?;
    Ok(effective(&status).is_some_and(|set| set >> (capability as u8) & 1 == 1))
}

fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// Checks that this process may do what a gateway does.
pub fn check() -> Result<(), Missing> {
    let needed = [
        (Capability::NetAdmin, "CAP_NET_ADMIN"),
        (Capability::NetRaw, "CAP_NET_RAW"),
        (Capability::NetBindService, "CAP_NET_BIND_SERVICE"),
    ];
    // Where `/proc` cannot be read, the first call that needs the capability will tell.
    let missing: Vec<&str> = needed
        .iter()
        .filter(|(capability, _)| !has_capability(*capability).unwrap_or(true))
        .map(|(_, name)| *name)
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(Missing { missing: missing.join(", ") }) }
}

/// Keeps keys out of core dumps and away from debuggers of the same user.
pub fn protect_memory() -> io::Result<()> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    set_dumpable(false)?;
    Ok(())
}

/// Binds the calling thread to one processor.
pub fn bind_to_processor(processor: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(processor)?;
    sched_setaffinity(Pid::from_raw(0), &set)?;
    Ok(())
}

/// Binds another process, every thread that it has and every one that it starts from now on, to one processor.
pub fn bind_process(pid: u32, processor: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(processor)?;
    let tasks = || -> io::Result<BTreeSet<i32>> {
        let entries = fs::read_dir(format!("/proc/{pid}/task"))?;
        Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
    };
    // A thread that was started meanwhile has its starter's processors: another look finds it.
    let mut bound = BTreeSet::new();
    loop {
        let new: Vec<i32> = tasks()?.difference(&bound).copied().collect();
        if new.is_empty() {
            return Ok(());
        }
        for task in new {
            match sched_setaffinity(Pid::from_raw(task), &set) {
                // It may be gone.
                Ok(()) | Err(nix::errno::Errno::ESRCH) => bound.insert(task),
                Err(error) => return Err(error.into()),
            };
        }
    }
}

/// The processors that this process may use.
pub fn processors() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count()).filter(|number| set.is_set(*number).unwrap_or(false)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_from_the_status_file() {
        let status = "Name:\tx\nCapPrm:\t0000000000000000\nCapEff:\t0000000000003000\n";
        let set = effective(status).unwrap();
        assert_eq!(set >> (Capability::NetAdmin as u8) & 1, 1);
        assert_eq!(set >> (Capability::NetRaw as u8) & 1, 1);
        assert_eq!(set >> (Capability::SysAdmin as u8) & 1, 0);
        assert_eq!(effective("Name:\tx\n"), None);
        assert_eq!(effective("CapEff:\tjunk\n"), None);
    }

    #[test]
    fn a_thread_stays_on_the_processor_it_was_bound_to() {
        std::thread::spawn(|| {
            bind_to_processor(0).unwrap();
            assert_eq!(nix::sched::sched_getcpu().unwrap(), 0);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn another_process_is_bound() {
        let all = processors().unwrap();
        let last = all[all.len() - 1];
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        bind_process(child.id(), last).unwrap();
        let set = sched_getaffinity(Pid::from_raw(child.id().cast_signed())).unwrap();
        assert!((0..CpuSet::count()).all(|number| set.is_set(number).unwrap() == (number == last)));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(bind_process(child.id(), last).is_err(), "it is gone");
    }

    #[test]
    fn what_is_missing_is_named() {
        let text = Missing { missing: "CAP_NET_RAW".into() }.to_string();
        assert!(text.starts_with("this process lacks CAP_NET_RAW: run it as root"), "{text}");
    }
}
