//! What does the operator type? Words in, calls out; what is shown is made in `report`.
//!
//! Every command ends in one [`Exit`]; the table of codes is docs/EXIT-CODES.md. A command that talks to the running
//! gateway does so over the control socket (`runtime::protocol`), the others need nothing but the configuration file.

mod agreement;
mod algs;
mod bench;
mod check;
mod client;
mod complete;
mod demo;
mod exit;
mod explain;
mod gateway;
mod genpsk;
mod import;
mod init;
mod logging;
mod monitor;
mod peer_config;
mod policy;
mod rekey;
mod sim;
mod status;
mod words;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;

use clap::Parser;

pub use exit::{Exit, Failure};
pub use words::command;
use words::{Command, Policy, Words};

use crate::report::rekey::Wish;
use crate::wire::pcap::MAX_FILE;

/// Parses the command line, runs the command, tells what went wrong on standard error.
pub fn main(arguments: impl Iterator<Item = OsString>) -> Exit {
    let words = match Words::try_parse_from(arguments) {
        Ok(words) => words,
        Err(error) => {
            // Help and version are "errors" of clap that go to standard output. Nobody is left to tell if that fails.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Done };
        }
    };
    if let Err(error) = logging::start(words.log.as_deref(), matches!(words.command, Command::Run { .. })) {
        eprintln!("portcullis: --log: {error}");
        return Exit::Usage;
    }
    let mut out = io::stdout().lock();
    match run(words, &mut out).and_then(|exit| out.flush().map(|()| exit).map_err(Failure::from)) {
        Ok(exit) => exit,
        // `portcullis status | head -1` is not a failure.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
        Err(failure) => {
            eprint!("{}", failure.render(has_colour(&io::stderr())));
            failure.exit()
        }
    }
}

fn run(words: Words, out: &mut dyn Write) -> Result<Exit, Failure> {
    let socket = words.socket;
    match words.command {
        Command::Init { profile } => init::init(profile, out),
        Command::Run { file, keylog } => gateway::run(file, socket, keylog),
        Command::Check { file, host, strict, json } => check::check(&file, check::Also { host, strict }, json, out),
        Command::Status { json } => status::status(socket, json, out),
        Command::Sa { json } => status::sa(socket, json, out),
        Command::Up { name } => status::up(socket, name, out),
        Command::Down { name } => status::down(socket, name, out),
        Command::Rekey { name, child, ike, verify_pfs } => {
            let wish = Wish { children: !ike, ike: !(child || verify_pfs), pfs: verify_pfs };
            rekey::rekey(socket, &name, wish, out)
        }
        Command::Explain(about) => explain::explain(socket, &about, out),
        Command::Agreement { command } => agreement::agreement(socket, command, out),
        Command::Reload => status::reload(socket, out),
        Command::Monitor { json } => monitor::monitor(socket, json, out),
        Command::Policy { command: Policy::Explain(question) } => policy::explain(socket, &question, out),
        Command::Policy { command: Policy::Test { file, json } } => policy::test(&file, json, out),
        Command::Policy { command: Policy::Diff { file, against, json } } => {
            policy::diff(socket, &file, against.as_deref(), json, out)
        }
        Command::PeerConfig { name, device, file, with_secret } => {
            peer_config::print(&name, device, &file, with_secret, out)
        }
        Command::Import { path, from, with_secret } => import::import(&path, from, with_secret, out),
        Command::Algs { json } => algs::algs(json, out),
        Command::Release => gateway::release(out),
        Command::Genpsk => genpsk::genpsk(out),
        Command::Bench { command } => bench::bench(command, out),
        Command::Demo { json, keep, pcap } => demo::demo(json, keep, pcap),
        Command::Sim { seed, seeds, without, trace, coverage, json, no_shrink } => {
            sim::sim(&sim::Wish { seed, seeds, without, trace, coverage, json, no_shrink }, out)
        }
        Command::Completions { shell } => complete::completions(shell, out),
        Command::Man { directory } => complete::man(directory.as_deref(), out),
    }
}

/// A capture as it is; one that is longer than what is held in memory is refused.
fn read_capture(capture: &Path) -> Result<Vec<u8>, Failure> {
    let what = || format!("cannot read {}", capture.display());
    let mut file = File::open(capture).map_err(|error| Failure::system(what(), error))?.take(MAX_FILE as u64 + 1);
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|error| Failure::system(what(), error))?;
    if bytes.len() > MAX_FILE {
        return Err(Failure::Usage(format!("{} is longer than {} MiB", capture.display(), MAX_FILE >> 20)));
    }
    Ok(bytes)
}

/// Whether what is written there may carry colour (https://no-color.org).
fn has_colour(stream: &impl IsTerminal) -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}
