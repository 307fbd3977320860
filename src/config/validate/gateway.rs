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

/// As many as this process may use, asked once: a quota that changes later is no reason to refuse a reload.
fn processors() -> u16 {
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
            None => Some(processors()),
            Some(number) => bounded("workers", &At::new(value.span(), *number), 1..=i64::from(MAX_WORKERS), problems),
        },
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
    })
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
