//! What the demo shows at the end, and what of it was promised.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};

use super::stage::{Life, Stage};
use crate::lab::capture::{Seen, Sightings};
use crate::lab::mq_session::Tally;
use crate::lab::topology::V4;
use crate::lab::traffic::Attempt;

/// The conversation that passed.
pub(super) struct Passed {
    pub(super) tally: Tally,
    pub(super) took: Duration,
    /// The address of the host that opened it, and the one that the other host saw.
    pub(super) own: IpAddr,
    pub(super) seen: IpAddr,
}

/// An attempt that must have been refused.
pub(super) struct Refused {
    pub(super) attempt: Attempt,
    pub(super) gateway: &'static str,
    pub(super) rule: Option<String>,
    pub(super) reason: Option<String>,
    /// By how much the counter of the promised reason has risen.
    pub(super) counted: u64,
    pub(super) arrived: bool,
    pub(super) answer: &'static str,
}

impl Refused {
    /// Refused for the promised reason, counted, and near the promised rule.
    fn as_promised(&self) -> bool {
        let near = match self.attempt {
            Attempt::WrongSide | Attempt::WrongSideFromPort => self.rule.as_deref() == Some("mq"),
            _ => true,
        };
        !self.arrived && self.counted > 0 && self.reason.as_deref() == Some(self.attempt.reason().as_str()) && near
    }
}

/// All of it.
pub(super) struct Result {
    passed: Passed,
    refused: Vec<Refused>,
    /// Packets that rule `mq` passed, by gateway A's account.
    rule_packets: BTreeMap<String, u64>,
    suite: String,
    handshake_ms: f64,
    control_packets: u64,
    plaintext_packets: u64,
    esp_packets: u64,
    ike_packets: u64,
    lost: u64,
    /// What became of the agreement.
    life: Life,
}

impl Result {
    pub(super) fn of(
        control: &Sightings,
        passed: Passed,
        refused: Vec<Refused>,
        status: &[Value; 2],
        handshake_ms: f64,
        seen: &Sightings,
    ) -> Self {
        let tunnel = &status[0]["tunnels"][0];
        let suite = |value: &Value| value["suite"].as_str().unwrap_or("?").to_owned();
        let counters = status[0]["rules"]["mq"].as_object().cloned().unwrap_or_default();
        Self {
            passed,
            refused,
            rule_packets: counters.into_iter().filter_map(|(name, value)| Some((name, value.as_u64()?))).collect(),
            suite: format!("IKE {}, ESP {}", suite(&tunnel["ike"]), suite(&tunnel["children"][0])),
            handshake_ms,
            control_packets: control.packets(Seen::Plaintext),
            plaintext_packets: seen.packets(Seen::Plaintext),
            esp_packets: seen.packets(Seen::Esp),
            ike_packets: seen.packets(Seen::Ike),
            lost: seen.lost,
            life: Life::default(),
        }
    }

    /// With what became of the agreement.
    pub(super) fn with(self, life: Life) -> Self {
        Self { life, ..self }
    }

    /// Whether the table says what it must say.
    pub(super) fn as_promised(&self) -> bool {
        self.refused.len() == Attempt::ALL.len()
            && self.refused.iter().all(Refused::as_promised)
            && self.control_packets > 0
            && self.plaintext_packets == 0
            && self.lost == 0
            && self.esp_packets > 0
            && self.ike_packets > 0
            && self.handshake_ms > 0.0
            && self.passed.seen == V4.host_a
            && self.passed.own != V4.host_a
            && self.life.as_promised()
    }

    fn bytes(&self) -> u64 {
        self.passed.tally.put_bytes + self.passed.tally.got_bytes
    }

    fn megabytes_a_second(&self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
        let bytes = self.bytes() as f64;
        bytes / 1e6 / self.passed.took.as_secs_f64().max(1e-9)
    }

    pub(super) fn print_json(&self) {
        let refused: Vec<_> = self
            .refused
            .iter()
            .map(|each| {
                json!({
                    "attempt": each.attempt.name(),
                    "rule": each.rule,
                    "reason": each.reason,
                    "gateway": each.gateway,
                    "arrived": each.arrived,
                    "answer": each.answer,
                    "counted": each.counted,
                    "as_promised": each.as_promised(),
                })
            })
            .collect();
        let tally = &self.passed.tally;
        let shown = json!({
            "ok": self.as_promised(),
            "passed": [{
                "what": "mq",
                "rule": "mq",
                "clause": "1a",
                "bytes_out": tally.put_bytes,
                "bytes_in": tally.got_bytes,
                "segments": tally.segments,
                "heartbeats": tally.heartbeats,
                "digest_out": hex::encode(tally.put_digest),
                "digest_in": hex::encode(tally.got_digest),
                "counters": self.rule_packets,
                "inside": self.passed.own,
                "seen_as": self.passed.seen,
            }],
            "refused": refused,
            "agreement": {
                "states": self.life.stages.iter().map(Stage::json).collect::<Vec<_>>(),
                "as_promised": self.life.as_promised(),
            },
            "bytes": self.bytes(),
            "megabytes_per_s": (self.megabytes_a_second() * 10.0).round() / 10.0,
            "handshake_ms": self.handshake_ms,
            "suite": self.suite,
            "plaintext_packets": self.plaintext_packets,
            "control_packets": self.control_packets,
            "esp_packets": self.esp_packets,
            "ike_packets": self.ike_packets,
            "capture_lost": self.lost,
        });
        println!("{shown}");
    }

    pub(super) fn print_table(&self) {
        let mark = |good: bool| if good { "ok " } else { "BAD" };
        let tally = &self.passed.tally;
        println!("Tunnel    {}", self.suite);
        println!("          up after {:.1} ms of handshake\n", self.handshake_ms);
        println!("Passed                                        rule     what");
        println!(
            "  ok   an MQ conversation, host to host       mq (1a)  {} MB out, {} MB in, {} segments, {} heartbeats, \
             {:.0} MB/s",
            tally.put_bytes / 1_000_000,
            tally.got_bytes / 1_000_000,
            tally.segments,
            tally.heartbeats,
            self.megabytes_a_second()
        );
        println!(
            "  {}  from {}, which the other side knows as {}",
            mark(self.passed.seen == V4.host_a && self.passed.own != V4.host_a),
            self.passed.own,
            self.passed.seen
        );
        println!("\nRefused                                       rule     reason            by  its sender saw");
        for each in &self.refused {
            println!(
                "  {}  {:<40}  {:<7}  {:<16}  {}   {}",
                mark(each.as_promised()),
                each.attempt.title(),
                each.rule.as_deref().unwrap_or("-"),
                each.reason.as_deref().unwrap_or("NOT REFUSED"),
                each.gateway,
                if each.arrived { "IT ARRIVED" } else { each.answer }
            );
        }
        println!("\nAgreement: in each state the gateway is killed (SIGKILL), and started again");
        for stage in &self.life.stages {
            println!("  {}  {}", mark(stage.as_promised()), stage.line());
        }
        println!("\nUnderlay");
        println!(
            "  {}  {:>7} packets in clear without Portcullis",
            mark(self.control_packets > 0),
            self.control_packets
        );
        println!("  {}  {:>7} packets in clear with it", mark(self.plaintext_packets == 0), self.plaintext_packets);
        println!(
            "  {}  {:>7} packets of ESP and {} of IKE",
            mark(self.esp_packets > 0),
            self.esp_packets,
            self.ike_packets
        );
        if self.lost > 0 {
            println!("  BAD  {:>7} packets that the capture missed", self.lost);
        }
        println!(
            "\n{}",
            if self.as_promised() { "Everything was as promised." } else { "SOMETHING DIFFERS FROM THE PROMISE." }
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agreement::State;
    use crate::lab::demo::stage::Tried;

    fn shown(change: impl FnOnce(&mut Result)) -> bool {
        let refused = |attempt: Attempt| Refused {
            attempt,
            gateway: "A",
            rule: Some("mq".into()),
            reason: Some(attempt.reason().as_str().into()),
            counted: 1,
            arrived: false,
            answer: "silence",
        };
        let mut result = Result {
            passed: Passed {
                tally: Tally::default(),
                took: Duration::from_secs(1),
                own: [10, 0, 0, 1].into(),
                seen: V4.host_a,
            },
            refused: Attempt::ALL.map(refused).into(),
            rule_packets: BTreeMap::new(),
            suite: String::new(),
            handshake_ms: 1.0,
            control_packets: 1,
            plaintext_packets: 0,
            esp_packets: 1,
            ike_packets: 1,
            lost: 0,
            life: Life { stages: State::ALL.map(Stage::promised).into(), goes_on: false },
        };
        change(&mut result);
        result.as_promised()
    }

    #[test]
    fn whatever_differs_from_the_promise_fails_the_demo() {
        assert!(shown(|_| {}));
        assert!(!shown(|result| result.plaintext_packets = 1));
        assert!(!shown(|result| result.control_packets = 0));
        assert!(!shown(|result| result.lost = 1));
        assert!(!shown(|result| result.esp_packets = 0));
        assert!(!shown(|result| result.passed.seen = result.passed.own));
        assert!(!shown(|result| result.passed.own = V4.host_a));
        assert!(!shown(|result| drop(result.refused.pop())));
        for index in 0..Attempt::ALL.len() {
            assert!(!shown(|result| result.refused[index].arrived = true));
            assert!(!shown(|result| result.refused[index].counted = 0));
            assert!(!shown(|result| result.refused[index].reason = Some("no-sa".into())));
            assert!(!shown(|result| result.refused[index].reason = None));
        }
        assert!(!shown(|result| result.refused[2].rule = None), "the wrong side is told which rule it met");
    }

    #[test]
    fn whatever_differs_in_one_state_of_the_agreement_fails_the_demo() {
        for index in 0..State::ALL.len() {
            let differs = |change: fn(&mut Stage)| !shown(|result| change(&mut result.life.stages[index]));
            assert!(differs(|stage| stage.ended = Some(false)));
            assert!(!differs(|stage| stage.ended = None), "none ran");
            assert!(differs(|stage| stage.shut = false));
            for again in [0, 1] {
                let state = State::ALL[index];
                assert!(!shown(|result| result.life.stages[index].told[again] = None), "{state}");
                assert!(!shown(|result| result.life.stages[index].told[again] = Some("closed".into())), "{state}");
                let wrong = if state.passes() { Tried::Refused(None) } else { Tried::Passed };
                assert!(!shown(|result| result.life.stages[index].tried[again] = wrong), "{state}");
                assert!(
                    !shown(|result| result.life.stages[index].tried[again] = Tried::Refused(Some("no-sa".into()))),
                    "{state}"
                );
            }
            assert!(!shown(|result| drop(result.life.stages.remove(index))), "a state that was not shown");
        }
        let kept = |result: &mut Result| {
            result.life.goes_on = true;
            result.life.stages.retain(|stage| !matches!(stage.state, State::Terminating | State::Terminated));
        };
        assert!(shown(kept), "with --keep the agreement lives on");
        assert!(!shown(|result| {
            kept(result);
            result.life.goes_on = false;
        }));
    }
}
