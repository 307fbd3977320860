//! `[gateway]`: where things lie on this machine.

use std::path::PathBuf;
use std::sync::OnceLock;

use crate::config::GatewaySettings;
use crate::config::problem::Problems;
use crate::config::raw::{self, At, bounded};
use crate::config::validate::choice;
use crate::dataplane::offload::{Offloads, Sending, TunOffload};

/// Each pair of workers has a ring of its own in each direction: beyond this they cost more than they bring.
const MAX_WORKERS: u16 = 16;

/// More than Linux is built for.
const MOST_PROCESSORS: usize = 8192;

/// As many as this process may use, asked once: a quota that changes later is no reason to refuse a reload.
fn available() -> u16 {
    static COUNT: OnceLock<u16> = OnceLock::new();
    let count = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    *COUNT.get_or_init(|| u16::try_from(count()).unwrap_or(MAX_WORKERS).min(MAX_WORKERS))
}

/// Checks the section; it may be left out as a whole.
pub(super) fn check(raw: &raw::Gateway, problems: &mut Problems) -> Option<GatewaySettings> {
    let state_dir = path("state_dir", raw.state_dir.as_ref(), "/var/lib/portcullis", problems);
    let control_socket = path("control_socket", raw.control_socket.as_ref(), "/run/portcullis/control.sock", problems);
    if let (Some(socket), Some(value)) = (&control_socket, &raw.control_socket)
        // sun_path of a Unix socket holds 108 bytes, the closing zero included.
        && socket.as_os_str().len() > 107
    {
        problems
            .error(&value.span(), "the path of the control socket is too long", "this path")
            .mend("use at most 107 bytes");
    }
    let tun = raw.tun.as_ref().map_or_else(|| Some("portcullis0".to_owned()), |name| device(name, problems));
    let mtu = match &raw.mtu {
        // RFC 8200 §5: no link below IPv6 may carry less than 1280 bytes; IPv4 alone would do with 576.
        Some(mtu) => Some(bounded("mtu", mtu, 576..=9000, problems)?),
        None => None,
    };
    let offloads = offloads(raw, problems);
    let puzzles = match &raw.puzzles {
        Some(word) => choice("puzzles", word, &[("off", false), ("on", true)], problems),
        None => Some(false),
    };
    let reset_peers = match &raw.reset_peers {
        Some(word) => choice("reset_peers", word, &[("on", true), ("off", false)], problems),
        None => Some(true),
    };
    let workers = match &raw.workers {
        None => Some(1),
        Some(value) => match value.get_ref() {
            None => Some(available()),
            Some(number) => bounded("workers", &At::new(value.span(), *number), 1..=i64::from(MAX_WORKERS), problems),
        },
    };
    let processors = match (&raw.processors, workers) {
        (Some(value), Some(workers)) => processors(value, usize::from(workers), allowed(), problems),
        // Without their number nothing can be said.
        _ => Some(Vec::new()),
    };
    Some(GatewaySettings {
        state_dir: state_dir?,
        control_socket: control_socket?,
        tun: tun?,
        mtu,
        offloads: offloads?,
        puzzles: puzzles?,
        reset_peers: reset_peers?,
        workers: workers?,
        processors: processors?,
    })
}

/// A processor for each worker.
fn processors(
    value: &At<Option<Vec<At<i64>>>>,
    workers: usize,
    allowed: &[usize],
    problems: &mut Problems,
) -> Option<Vec<usize>> {
    let Some(list) = value.get_ref() else {
        if allowed.len() >= workers {
            return Some(allowed[..workers].to_vec());
        }
        let message = format!("there are {workers} workers and {} processors", allowed.len());
        let mend = "make `workers` at most as many, or take `processors` out";
        problems.error(&value.span(), message, "one for each worker").mend(mend);
        return None;
    };
    let mut chosen = Vec::with_capacity(list.len());
    for item in list {
        let number = usize::try_from(*item.get_ref()).ok().filter(|number| allowed.contains(number));
        let Some(number) = number else {
            let message = format!("this process may not use a processor {}", item.get_ref());
            problems
                .error(&item.span(), message, "this number")
                .mend(format!("those that it may use are {}", listed(allowed)));
            return None;
        };
        if chosen.contains(&number) {
            let message = format!("processor {number} stands here twice");
            problems.error(&item.span(), message, "here again").mend("give each worker a processor of its own");
            return None;
        }
        chosen.push(number);
    }
    if chosen.len() == workers {
        return Some(chosen);
    }
    let message = format!("`processors` names {} and `workers` are {workers}", chosen.len());
    problems.error(&value.span(), message, "one for each worker").mend("name as many processors as there are workers");
    None
}

/// The processors that this process may use, asked once, for the reason that [`available`] has.
fn allowed() -> &'static [usize] {
    static ALLOWED: OnceLock<Vec<usize>> = OnceLock::new();
    ALLOWED.get_or_init(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        list.and_then(|list| ranges(list.trim())).unwrap_or_else(|| (0..usize::from(available())).collect())
    })
}

/// The numbers of a list such as `0-3,8`.
fn ranges(list: &str) -> Option<Vec<usize>> {
    let mut all = Vec::new();
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        all.extend(first..=last.min(first.saturating_add(MOST_PROCESSORS)));
    }
    Some(all)
}

/// The other way round.
fn listed(numbers: &[usize]) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for &number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let written =
        |(first, last): (usize, usize)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    ranges.into_iter().map(written).collect::<Vec<_>>().join(",")
}

/// What the kernel may do for many packets at once: all that it can, unless something is switched off.
fn offloads(raw: &raw::Gateway, problems: &mut Problems) -> Option<Offloads> {
    let mut offloads = Offloads::ALL;
    if let Some(word) = &raw.tun_offload {
        offloads.tun = choice("tun_offload", word, &[("auto", offloads.tun), ("off", TunOffload::None)], problems)?;
    }
    if let Some(word) = &raw.udp_send {
        let steps = [Sending::Segments, Sending::Many, Sending::Single].map(|step| (step.name(), step));
        offloads.sending = choice("udp_send", word, &steps, problems)?;
    }
    if let Some(word) = &raw.udp_gro {
        offloads.gro = choice("udp_gro", word, &[("auto", true), ("off", false)], problems)?;
    }
    Some(offloads)
}

fn path(key: &str, value: Option<&At<String>>, default: &str, problems: &mut Problems) -> Option<PathBuf> {
    let Some(value) = value else { return Some(PathBuf::from(default)) };
    let path = PathBuf::from(value.get_ref());
    if path.is_absolute() {
        return Some(path);
    }
    problems
        .error(&value.span(), format!("`{key}` is not an absolute path"), "this path")
        .mend(format!("write it from the root on, such as {default}"));
    None
}

fn device(name: &At<String>, problems: &mut Problems) -> Option<String> {
    let text = name.get_ref();
    // IFNAMSIZ is 16, the closing zero included; `%` would be a pattern to the kernel.
    let holds = text.len() <= 15
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        && !text.starts_with(['.', '-'])
        && !["all", "default", "lo"].contains(&text.as_str());
    if holds {
        return Some(text.clone());
    }
    problems
        .error(&name.span(), "`tun` is not the name of a network device", "this name")
        .mend("use up to 15 letters, digits, `-`, `_` and `.`, such as portcullis0");
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors_are_read_and_written_as_the_kernel_does() {
        for (text, numbers) in [("0", vec![0]), ("0-3,8", vec![0, 1, 2, 3, 8]), ("2,4-5", vec![2, 4, 5])] {
            assert_eq!(ranges(text), Some(numbers.clone()));
            assert_eq!(listed(&numbers), text);
        }
        assert_eq!(ranges(""), None);
        assert_eq!(ranges("0-x"), None);
        assert!(ranges("0-99999999999").is_some_and(|all| all.len() <= MOST_PROCESSORS + 1), "nobody fills the memory");
    }
}
