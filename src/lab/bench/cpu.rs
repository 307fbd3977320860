//! How much processor time did it cost? Of the processes that were asked about, of the kernel threads that work off softirqs,
//! and of the whole machine.
//!
//! A kernel thread or an interrupted process does softirq work on behalf of whoever sent: it is in the processes' own time
//! where it interrupted them, in `ksoftirqd`'s where the kernel has put it off.

use std::fs;
use std::time::Duration;

/// Ticks a second in `/proc/stat`, on every architecture that Linux has.
const TICKS: u64 = 100;

/// Processor time that was used up to a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// By the processes, in nanoseconds.
    pub processes: u64,
    /// By `ksoftirqd`.
    pub softirq_threads: u64,
    /// By everybody on the machine, in steps of a tick.
    pub machine: u64,
}

impl Used {
    /// Up to now, of these processes with all their threads.
    #[must_use]
    pub fn now(processes: &[u32]) -> Self {
        let softirq = softirq_threads();
        Self {
            processes: processes.iter().map(|pid| of_process(*pid)).sum(),
            softirq_threads: softirq.iter().map(|pid| of_process(*pid)).sum(),
            machine: fs::read_to_string("/proc/stat").ok().as_deref().and_then(busy).unwrap_or(0),
        }
    }

    /// What was used since `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            processes: self.processes.saturating_sub(earlier.processes),
            softirq_threads: self.softirq_threads.saturating_sub(earlier.softirq_threads),
            machine: self.machine.saturating_sub(earlier.machine),
        }
    }
}

/// Nanoseconds on a processor of every thread that the process has now.
fn of_process(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks
        .filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(|text| on_processor(&text))
        .sum()
}

/// The first number of `schedstat`.
fn on_processor(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

fn softirq_threads() -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let is =
        |path: &std::path::Path| fs::read_to_string(path.join("comm")).is_ok_and(|name| name.starts_with("ksoftirqd/"));
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok().filter(|_| is(&entry.path()))).collect()
}

/// The first line of `/proc/stat`, without what is idle, and without guests, who are in `user` already.
fn busy(stat: &str) -> Option<u64> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|number| number.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal
    let busy = [0, 1, 2, 5, 6].iter().map(|at| ticks.get(*at).copied().unwrap_or(0)).sum::<u64>();
    (ticks.len() >= 7).then(|| busy * (Duration::from_secs(1).as_nanos() as u64 / TICKS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::clock;

    #[test]
    fn numbers_are_found_where_the_kernel_puts_them() {
        assert_eq!(on_processor("94580 61321 2\n"), Some(94_580));
        assert_eq!(on_processor(""), None);
        let stat = "cpu  10 1 5 1000 7 2 3 50 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(busy(stat), Some(21 * 10_000_000));
        assert_eq!(busy("cpu  1 2\n"), None);
        assert_eq!(busy("intr 5"), None);
    }

    #[test]
    fn a_thread_that_spins_is_seen_in_its_process() {
        let me = [std::process::id()];
        let before = Used::now(&me);
        let end = clock::now() + Duration::from_millis(30);
        while clock::now() < end {
            std::hint::spin_loop();
        }
        let used = Used::now(&me).since(before);
        assert!(used.processes > 1_000_000, "{used:?}");
    }

    #[test]
    fn a_process_that_is_gone_has_used_nothing() {
        assert_eq!(Used::now(&[u32::MAX]).processes, 0);
    }
}
