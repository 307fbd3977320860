//! On what was it measured? Everything about the machine that moves the figures, and the command that was given.

use std::fs;

use serde_json::{Map, Value, json};

use crate::platform::clock;

/// The machine as it is now. What a system does not say is left out.
#[must_use]
pub fn environment() -> Value {
    let cpuinfo = read("/proc/cpuinfo").unwrap_or_default();
    let mut shown = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            shown.insert(key.to_owned(), value);
        }
    };
    put("cpu", model(&cpuinfo).map(Value::from));
    put("cores", std::thread::available_parallelism().ok().map(|cores| json!(cores.get())));
    put("aes", Some(json!(aes(&cpuinfo))));
    put("virtual_machine", Some(json!(flag(&cpuinfo, "hypervisor"))));
    put("kernel", read("/proc/sys/kernel/osrelease").map(Value::from));
    put("governor", read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").map(Value::from));
    put("smt", read("/sys/devices/system/cpu/smt/control").map(Value::from));
    put("mitigations", mitigations());
    put("memory_kb", read("/proc/meminfo").as_deref().and_then(memory).map(Value::from));
    put("load", load().map(Value::from));
    put(
        "udp_buffer_limit",
        read("/proc/sys/net/core/rmem_max").and_then(|limit| limit.parse::<u64>().ok()).map(Value::from),
    );
    put("time", Some(json!(clock::wall().strftime("%Y-%m-%d %H:%M UTC").to_string())));
    put("version", Some(json!(env!("CARGO_PKG_VERSION"))));
    put("build", Some(json!(if cfg!(debug_assertions) { "debug: its figures mean nothing" } else { "release" })));
    Value::Object(shown)
}

/// The words that were typed.
#[must_use]
pub fn command() -> String {
    std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// Load averages of 1, 5 and 15 minutes: other work on the machine while it is measured.
#[must_use]
pub fn load() -> Option<String> {
    let text = read("/proc/loadavg")?;
    Some(text.split(' ').take(3).collect::<Vec<_>>().join(" "))
}

fn read(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn model(cpuinfo: &str) -> Option<String> {
    field(cpuinfo, "model name").or_else(|| field(cpuinfo, "CPU part")).map(str::to_owned)
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

fn flag(cpuinfo: &str, name: &str) -> bool {
    let flags = field(cpuinfo, "flags").or_else(|| field(cpuinfo, "Features")).unwrap_or_default();
    flags.split(' ').any(|flag| flag == name)
}

/// Which instructions for AES there are.
fn aes(cpuinfo: &str) -> Vec<&'static str> {
    ["aes", "vaes", "pclmulqdq", "vpclmulqdq", "avx2", "avx512f", "pmull"]
        .into_iter()
        .filter(|name| flag(cpuinfo, name))
        .collect()
}

fn memory(meminfo: &str) -> Option<u64> {
    field(meminfo, "MemTotal")?.split(' ').next()?.parse().ok()
}

/// What the kernel does about flaws of the processor, where the processor has them.
fn mitigations() -> Option<Value> {
    let mut found = Map::new();
    for entry in fs::read_dir("/sys/devices/system/cpu/vulnerabilities").ok()?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(text) = entry.path().to_str().and_then(read)
            && text != "Not affected"
        {
            found.insert(name, Value::from(text));
        }
    }
    Some(Value::Object(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPUINFO: &str =
        "processor\t: 0\nmodel name\t: Example 9000\nflags\t\t: fpu aes vaes hypervisor\n\nprocessor\t: 1\n";

    #[test]
    fn the_processor_is_named_with_what_it_has_for_aes() {
        assert_eq!(model(CPUINFO).as_deref(), Some("Example 9000"));
        assert_eq!(aes(CPUINFO), ["aes", "vaes"]);
        assert!(flag(CPUINFO, "hypervisor") && !flag(CPUINFO, "hyper"));
        assert_eq!(model("nothing"), None);
    }

    #[test]
    fn memory_is_read_in_kilobytes() {
        assert_eq!(memory("MemTotal:       8123456 kB\nMemFree: 1 kB\n"), Some(8_123_456));
        assert_eq!(memory("MemFree: 1 kB"), None);
    }

    #[test]
    fn this_machine_has_cores_and_a_kernel() {
        let here = environment();
        assert!(here["cores"].as_u64().is_some_and(|cores| cores > 0));
        assert!(here["kernel"].is_string());
    }
}
