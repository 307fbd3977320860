//! The command line: every word that an operator can type.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::agreement::Agreement;
use super::bench::Bench;
use crate::config::DEFAULT_FILE;

/// A userspace IPsec gateway that lets through a tunnel only what an interconnection agreement allows.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, disable_help_subcommand = true, after_help = AFTER_HELP)]
pub(super) struct Words {
    /// Control socket of the running gateway, in place of the one in its configuration.
    #[arg(long, global = true, value_name = "PATH")]
    pub(super) socket: Option<PathBuf>,
    /// What to log to standard error, as in RUST_LOG: warn, info, portcullis::ike=debug.
    #[arg(long, global = true, value_name = "FILTER")]
    pub(super) log: Option<String>,
    /// What to do.
    #[command(subcommand)]
    pub(super) command: Command,
}

const AFTER_HELP: &str = "\
Exit codes: 0 done; 1 refused; 2 usage; 3 configuration; 4 gateway not running; 5 privileges missing;
6 self-test failed; 7 not all as asked; 8 host not ready; 9 the system failed.";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print a configuration file for an agreement, to be filled in where it says EDIT.
    Init {
        /// The agreement.
        #[arg(long, value_enum)]
        profile: Profile,
    },
    /// Run the gateway until SIGTERM; SIGHUP loads the file again.
    Run {
        /// Configuration file.
        #[arg(default_value = DEFAULT_FILE)]
        file: PathBuf,
        /// Write the keys of every SA there, in the tables that Wireshark reads. Whoever has them reads everything.
        #[arg(long, value_name = "DIR")]
        keylog: Option<PathBuf>,
    },
    /// Check a configuration file and show what it means, without touching anything.
    Check {
        /// Configuration file.
        #[arg(default_value = DEFAULT_FILE)]
        file: PathBuf,
        /// Check this machine too: forwarding, filters, clock.
        #[arg(long)]
        host: bool,
        /// Take every warning for an error.
        #[arg(long)]
        strict: bool,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Show every configured tunnel, also the one that is down and why.
    Status {
        /// Print the gateway's answer as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show the IKE and child SAs.
    Sa {
        /// Print them as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Bring a tunnel up.
    Up {
        /// Name of the tunnel.
        name: String,
    },
    /// Take a tunnel down and keep it down until `up`. What it protects stays blocked.
    Down {
        /// Name of the tunnel.
        name: String,
    },
    /// Give a tunnel new keys now: its child SAs, then its IKE SA. No packet is lost.
    Rekey {
        /// Name of the tunnel.
        name: String,
        /// Only the child SAs.
        #[arg(long, conflicts_with = "ike")]
        child: bool,
        /// Only the IKE SA.
        #[arg(long)]
        ike: bool,
        /// Only the child SAs, and say whether the peer takes part in a key exchange of their own (PFS).
        #[arg(long, conflicts_with = "ike")]
        verify_pfs: bool,
    },
    /// Show the last negotiations of a tunnel, ours against theirs: what differs, why, and the line to change.
    Explain(Negotiation),
    /// Show how the agreements stand, and activate, review, renew, suspend, resume or terminate one.
    Agreement {
        /// What to do.
        #[command(subcommand)]
        command: Agreement,
    },
    /// Load the configuration again; an invalid file leaves everything as it is.
    Reload,
    /// Show what happens, as it happens, until Ctrl-C.
    Monitor {
        /// Print one JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Ask the rules.
    Policy {
        /// What to ask.
        #[command(subcommand)]
        command: Policy,
    },
    /// Print the other side's configuration, made from our own file.
    PeerConfig {
        /// Name of the tunnel.
        name: String,
        /// What stands at the other end.
        #[arg(long = "for", value_enum, value_name = "DEVICE")]
        device: Device,
        /// Configuration file.
        #[arg(default_value = DEFAULT_FILE)]
        file: PathBuf,
        /// Print the pre-shared key too, in place of where it is kept. Whoever reads it is the peer.
        #[arg(long)]
        with_secret: bool,
    },
    /// Print our file, made from that of strongSwan or libreswan, and say what could not be carried over.
    Import {
        /// swanctl.conf or ipsec.conf.
        path: PathBuf,
        /// What it is, where it cannot be seen.
        #[arg(long, value_enum, value_name = "FORMAT")]
        from: Option<Origin>,
        /// Print pre-shared keys too, in place of the file where they are to be kept.
        #[arg(long)]
        with_secret: bool,
    },
    /// Show every algorithm that a suite can name.
    Algs {
        /// Print one JSON array.
        #[arg(long)]
        json: bool,
    },
    /// Remove from the kernel what keeps protected hosts blocked while the gateway is not running.
    Release,
    /// Make a pre-shared key of 256 bits and print it once.
    Genpsk,
    /// Show it all on this machine: two gateways, an MQ conversation, and what the agreement does not allow.
    Demo {
        /// Print one JSON object in place of the table.
        #[arg(long)]
        json: bool,
        /// Leave it standing until Ctrl-C.
        #[arg(long)]
        keep: bool,
        /// Write captures and key tables there.
        #[arg(long, value_name = "DIR")]
        pcap: Option<PathBuf>,
    },
    /// Measure how fast it is, here.
    Bench {
        /// What to measure.
        #[command(subcommand)]
        command: Bench,
    },
    /// Let simulated gateways negotiate over a simulated network in which everything goes wrong, and check that what must hold
    /// holds (docs/SIMULATION.md). Needs nothing and touches nothing.
    Sim {
        /// The seed, or the first of several. The same seed gives the same run.
        #[arg(long, visible_alias = "from", default_value_t = 1, value_name = "N")]
        seed: u64,
        /// How many seeds, on all cores.
        #[arg(long, default_value_t = 1, value_name = "N")]
        seeds: u64,
        /// Leave a feature out (loss, attacker, crash and so on; a wrong name lists them all).
        #[arg(long, value_name = "FEATURE")]
        without: Vec<String>,
        /// Print everything that happens in one seed.
        #[arg(long, conflicts_with_all = ["seeds", "coverage", "json"])]
        trace: bool,
        /// Print how often each event met each state.
        #[arg(long)]
        coverage: bool,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
        /// Do not look for the fewest features with which the first failure still comes.
        #[arg(long)]
        no_shrink: bool,
    },
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print the manual page, or write one for each command into a directory.
    Man {
        /// The directory.
        directory: Option<PathBuf>,
    },
}

/// What stands at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Device {
    CiscoIosXe,
    CiscoAsa,
    Strongswan,
}

/// Whose file is imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Origin {
    Swanctl,
    Ipsec,
}

#[derive(Debug, Subcommand)]
pub(super) enum Policy {
    /// May this connection be opened, would this capture pass, by what right does that flow live? Verdict, rule, clause, reason.
    Explain(Question),
    /// Run the tests of a file against its rules, and show what became of each.
    Test {
        /// Configuration file.
        #[arg(default_value = DEFAULT_FILE)]
        file: PathBuf,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Show what a file would change in the policy that is in force.
    Diff {
        /// Configuration file.
        #[arg(default_value = DEFAULT_FILE)]
        file: PathBuf,
        /// Compare with this file, not with the running gateway.
        #[arg(long, value_name = "FILE")]
        against: Option<PathBuf>,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct Negotiation {
    /// Name of the tunnel.
    pub(super) name: String,
    /// Configuration file: whose lines are named, and with --pcap and --proposal what is compared.
    #[arg(default_value = DEFAULT_FILE)]
    pub(super) file: PathBuf,
    /// Compare with the IKE_SA_INIT messages of a capture (pcap or pcapng), not with what the gateway has heard.
    #[arg(long, value_name = "CAPTURE", conflicts_with = "proposal")]
    pub(super) pcap: Option<PathBuf>,
    /// Compare with a proposal: aes256-sha256-modp2048, a line of charon's log, or what Cisco's `show crypto ikev2
    /// proposal` prints; - reads it from standard input.
    #[arg(long, value_name = "TEXT")]
    pub(super) proposal: Option<String>,
    /// What stands at the other end, where the preset does not say.
    #[arg(long = "for", value_enum, value_name = "DEVICE")]
    pub(super) device: Option<Device>,
    /// Also what was made good since.
    #[arg(long)]
    pub(super) all: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Question {
    /// Who would open it.
    #[arg(long, value_name = "IP", required_unless_present = "pcap")]
    pub(super) from: Option<IpAddr>,
    /// Towards whom; IPv6 with a port as [IP]:PORT.
    #[arg(long, value_name = "IP:PORT", required_unless_present = "pcap")]
    pub(super) to: Option<Destination>,
    /// The protocol; echo takes no port.
    #[arg(long, value_enum, default_value_t = Protocol::Tcp)]
    pub(super) protocol: Protocol,
    /// Configuration file.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_FILE)]
    pub(super) file: PathBuf,
    /// Judge every flow of a capture (pcap or pcapng) as the gateway would.
    #[arg(long, value_name = "CAPTURE", conflicts_with_all = ["from", "to", "protocol"])]
    pub(super) pcap: Option<PathBuf>,
    /// Show the flows that live between the two hosts in the running gateway, and by what right. The port is optional.
    #[arg(long, conflicts_with_all = ["pcap", "file", "protocol"])]
    pub(super) live: bool,
    /// With --pcap: judge by this service alone, whoever talks to whom. Needs no configuration.
    #[arg(long, value_enum, requires = "pcap", conflicts_with = "file")]
    pub(super) service: Option<Spoken>,
    /// Print one JSON object.
    #[arg(long)]
    pub(super) json: bool,
}

/// What captured flows must speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Spoken {
    Mq,
    Sftp,
    Smtp,
    Tls,
    Tcp,
}

/// For whose agreement a file is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Profile {
    /// U.S. Customs and Border Protection: MQ, and SFTP and mail by purpose.
    Cbp,
    /// The DHS TAXII server: TLS on port 8443.
    Taxii,
    /// CISA's Automated Indicator Sharing: TLS on port 443.
    Ais,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Protocol {
    Tcp,
    Udp,
    Echo,
}

/// `IP:PORT`, or `IP` alone where there are no ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Destination {
    pub(super) address: IpAddr,
    pub(super) port: Option<u16>,
}

impl std::str::FromStr for Destination {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.trim_matches(['[', ']']).parse() {
            return Ok(Self { address, port: None });
        }
        let both: std::net::SocketAddr = text.parse().map_err(|_| "write IP:PORT, such as 203.0.113.20:1414")?;
        Ok(Self { address: both.ip(), port: Some(both.port()) })
    }
}

/// The command line as a value, for completions and manual pages.
#[must_use]
pub fn command() -> clap::Command {
    Words::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn a_destination_has_a_port_or_none() {
        let destination = |text: &str| text.parse::<Destination>().map(|to| (to.address.to_string(), to.port));
        assert_eq!(destination("203.0.113.20:1414"), Ok(("203.0.113.20".into(), Some(1414))));
        assert_eq!(destination("203.0.113.20"), Ok(("203.0.113.20".into(), None)));
        assert_eq!(destination("[2001:db8::1]:22"), Ok(("2001:db8::1".into(), Some(22))));
        assert_eq!(destination("2001:db8::1"), Ok(("2001:db8::1".into(), None)));
        assert!(destination("mq.example.com:1414").is_err());
        assert!(destination("203.0.113.20:65536").is_err());
    }
}
