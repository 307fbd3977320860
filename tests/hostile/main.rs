//! A flood of hostile datagrams at a running daemon with a live tunnel.
//!
//! The daemon runs in gateway A's namespace; this program is everybody on the other side: the peer that holds the keys and
//! seals what no peer would, another peer that does the same to IKE, and strangers. Half of the datagrams are mutated
//! before they are sealed. A numbered probe goes through the same tunnel all the while; a control sends as many datagrams
//! at the same rate to a closed port of the daemon's host and shows what the machine itself loses.
//!
//! `cargo test --test hostile` sends a few thousand; `COUNT=10000000 cargo test --release --test hostile` is the full run.
//! `SEED=n` chooses other datagrams. docs/TESTING.md says more.
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod choice;
mod flood;
mod gauge;
mod inside;
mod packets;
mod peer;
mod probe;
mod reasons;
mod wire;
mod world;

use std::env;
use std::process::ExitCode;

use portcullis::platform::namespace::become_root_in_user_namespace;

const NAME: &str = "a_flood_of_hostile_datagrams_costs_the_tunnel_nothing";
/// Datagrams of an ordinary run.
const DEFAULT_COUNT: u64 = 20_000;

fn main() -> ExitCode {
    // What `cargo test` passes on: a name that is looked for, and options of the harness that is not here.
    let words: Vec<String> = env::args().skip(1).collect();
    if words.iter().any(|word| word == "--list") {
        println!("{NAME}: test");
        return ExitCode::SUCCESS;
    }
    let mut sought = words.iter().filter(|word| !word.starts_with("--")).peekable();
    if sought.peek().is_some() && !sought.any(|word| NAME.contains(word.as_str())) {
        return ExitCode::SUCCESS;
    }
    let number = |name: &str, default| env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    if let Err(forbidden) = become_root_in_user_namespace() {
        println!("NOT RUN: {NAME}: {forbidden}");
        println!("test {NAME} ... ok");
        return ExitCode::SUCCESS;
    }
    let faults = flood::run(number("COUNT", DEFAULT_COUNT), number("SEED", 1));
    if faults.is_empty() {
        println!("test {NAME} ... ok");
        println!("test result: ok. 1 passed; 0 failed");
        return ExitCode::SUCCESS;
    }
    for fault in &faults {
        println!("  {fault}");
    }
    println!("test {NAME} ... FAILED");
    ExitCode::FAILURE
}
