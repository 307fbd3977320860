//! Captures as `portcullis policy explain --pcap` reads them: walked, and judged by a service and by a policy.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use portcullis::config;
use portcullis::inspect::replay::{self, By, Outcome, Replayed};
use portcullis::policy::{Service, Snapshot};
use portcullis::wire::pcap;

use super::seeds::{REAL, TRANSLATED};

/// Made once: they never change.
static POLICIES: LazyLock<[Arc<Snapshot>; 2]> = LazyLock::new(|| {
    [REAL, TRANSLATED].map(|text| config::load_text(Path::new("c"), text, None).expect("a seed that loads").policy)
});

/// Whatever it is, it is walked without a length being believed, and each frame is accounted for once.
pub fn anything(data: &[u8]) {
    let mut seen = 0;
    let walked = pcap::frames(data, |frame| {
        seen += 1;
        assert!(frame.number >= seen, "frames are counted up");
        assert!(data.as_ptr_range().contains(&frame.bytes.as_ptr()) || frame.bytes.is_empty(), "not of this file");
        if let Some(packet) = pcap::packet(frame.link, frame.bytes) {
            assert!(packet.len() <= frame.bytes.len());
        }
        true
    });
    let Ok(walked) = walked else {
        assert!(replay::opened_ports(data).is_err());
        return;
    };
    assert!(seen <= walked.frames && walked.frames <= data.len() / 8);
    for policy in POLICIES.iter() {
        holds(&replay::replay(data, By::Policy(policy)).expect("it was walked"));
    }
    let ports = replay::opened_ports(data).expect("it was walked");
    for service in [Service::Mq, Service::Sftp, Service::Smtp, Service::Tls, Service::Tcp] {
        let policy = Snapshot::anybody(service, ports.iter().copied().collect());
        holds(&replay::replay(data, By::Service(&policy)).expect("it was walked"));
    }
}

fn holds(replayed: &Replayed) {
    let packets: u64 = replayed.flows.iter().map(|flow| flow.packets).sum();
    let skipped: u64 = replayed.skipped.values().sum();
    assert_eq!(packets + skipped + replayed.unlisted, replayed.frames as u64, "each frame once");
    assert_eq!(replayed.verdict, replayed.flows.iter().map(|flow| flow.verdict).max());
    for flow in &replayed.flows {
        assert!(flow.packets > 0);
        assert_eq!(flow.reason.is_some(), flow.sentence.is_some());
        assert!(flow.verdict != Outcome::Refused || flow.reason.is_some(), "refused without a word");
        assert!(flow.verdict != Outcome::Allowed || flow.rule.is_some(), "allowed by nobody");
        assert!(flow.frame.is_none_or(|frame| (1..=replayed.frames).contains(&frame)));
    }
    assert!(serde_json::to_string(replayed).is_ok());
    assert!(!portcullis::report::policy::capture(replayed, 80).chars().any(|c| c.is_control() && c != '\n'));
}
