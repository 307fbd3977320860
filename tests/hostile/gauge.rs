//! What the kernel says of the daemon: what waits at its sockets, what was lost there, and how much memory it has.

use std::fs;
use std::io;

/// The daemon's sockets, as `/proc/PID/net` shows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sockets {
    /// Bytes that it has not read yet, with the kernel's own overhead.
    pub waiting: u64,
    /// Datagrams for which there was no room.
    pub lost: u64,
}

/// Looks at ports 500 and 4500 and at raw ESP.
pub fn sockets(pid: u32) -> io::Result<Sockets> {
    let mut found = Sockets::default();
    for (table, ports) in [("udp", &["01F4", "1194"][..]), ("raw", &["0032"][..])] {
        for line in fs::read_to_string(format!("/proc/{pid}/net/{table}"))?.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (Some(local), Some(queues), Some(lost)) = (fields.get(1), fields.get(4), fields.last()) else {
                continue;
            };
            if local.split_once(':').is_some_and(|(_, port)| ports.contains(&port)) {
                let waiting = queues.split_once(':').and_then(|(_, waiting)| u64::from_str_radix(waiting, 16).ok());
                found.waiting += waiting.unwrap_or(0);
                found.lost += lost.parse::<u64>().unwrap_or(0);
            }
        }
    }
    Ok(found)
}

/// UDP datagrams that processes in the daemon's namespace have read.
pub fn datagrams_read(pid: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/net/snmp"))?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return Ok(0) };
    let place = names.split(' ').position(|name| name == "InDatagrams");
    Ok(place.and_then(|place| values.split(' ').nth(place)?.parse().ok()).unwrap_or(0))
}

/// Packets that the daemon has read from its TUN device.
pub fn packets_read(pid: u32, tun: &str) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/net/dev"))?;
    let line = text.lines().find_map(|line| line.trim().strip_prefix(tun)?.strip_prefix(':'));
    // Behind eight numbers about what came by the device stands how many packets went out by it.
    Ok(line.and_then(|line| line.split_whitespace().nth(9)?.parse().ok()).unwrap_or(0))
}

/// Resident memory of a process in KiB: all of it, and the part that no file stands behind.
pub fn memory(pid: u32) -> io::Result<(i64, i64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.trim_start_matches(':').trim().split(' ').next()?.parse().ok()).unwrap_or(0)
    };
    Ok((value("VmRSS"), value("RssAnon")))
}
