//! Does anything leak? The underlay is watched while gateways are killed, lose their TUN, lose their peer, are refused,
//! operated and started for the first time, over and over, under packets from all sides.
//!
//! At any moment hosts and gateways send to protected hosts, and somebody on the underlay injects packets in clear that
//! claim to come from them. Not one may be seen in clear, not one may arrive; without Portcullis all of them do, which is
//! the control. `tests/leaks 200` runs two hundred cycles of each kind.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

#[path = "../system_common/mod.rs"]
mod system_common;
mod table;
mod traffic;

use std::process::ExitCode;
use std::time::Duration;

use nix::sys::signal::Signal;
use portcullis::guard::routes::Way as RouteWay;
use portcullis::lab::capture::{Capture, Sightings};
use portcullis::lab::gateway::Gateway;
use portcullis::lab::topology::{V4, V6, inner_networks};
use portcullis::platform::netlink::Netlink;
use portcullis::platform::packet::PacketRing;
use portcullis::runtime::protocol::Request;
use system_common::{OTHER_KEY, Pair, Setup, Side, Site, rule, site, wait_until};
use table::{Row, Table};
use traffic::{OPEN_PORT, Traffic};

/// Cycles of each kind when nobody says how many.
const CYCLES: u32 = 20;
/// How long a state lasts that is looked at: several rounds of packets.
const WHILE: Duration = Duration::from_millis(25);
/// How long the controls last.
const CONTROL: Duration = Duration::from_millis(400);
/// Until what was sent has come to where it goes.
const SETTLE: Duration = Duration::from_millis(20);
/// Megabytes of frames that a capture may lag behind.
const RING_MEBIBYTES: usize = 8;

/// The name of this one test.
const NAME: &str = "nothing_leaks";

/// Speaks as the test harness does: its words are understood, its lines are printed.
fn main() -> ExitCode {
    let mut cycles = CYCLES;
    for word in std::env::args().skip(1) {
        if let Some(number) = word.strip_prefix("--cycles=") {
            cycles = number.parse().expect("a number of cycles");
        } else if word == "--list" {
            println!("{NAME}: test");
            return ExitCode::SUCCESS;
        } else if !word.starts_with('-') && !NAME.contains(&word) && word.parse::<u32>().is_err() {
            // A filter that asks for other tests; a number belongs to an option of the harness.
            println!("\ntest result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 1 filtered out\n");
            return ExitCode::SUCCESS;
        }
    }
    println!("\nrunning 1 test");
    let holds = site(NAME).is_none_or(|site| {
        let table = Lab::new(&site).run(cycles);
        print!("{table}");
        table.holds()
    });
    let (word, passed) = if holds { ("ok", 1) } else { ("FAILED", 0) };
    println!("test {NAME} ... {word}\n\ntest result: {word}. {passed} passed; {} failed; 0 ignored", 1 - passed);
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The network with its traffic.
struct Lab<'a> {
    site: &'a Site,
    traffic: Traffic,
    setup: Setup,
    table: Table,
}

impl<'a> Lab<'a> {
    fn new(site: &'a Site) -> Self {
        let mut setup = Setup::between(V4, &[V4, V6]);
        // A host behind A and A itself may send to host B.
        for (end, side) in setup.end.iter_mut().zip([Side::A, Side::B]) {
            for (family, suffix) in [(V4, "v4"), (V6, "v6")] {
                let service = format!("service = \"udp\"\nudp = [{OPEN_PORT}]");
                end.push_str(&rule(side, &format!("host-{suffix}"), family.host_a, family.host_b, &service));
                end.push_str(&rule(side, &format!("self-{suffix}"), family.inside_a, family.host_b, &service));
            }
        }
        Self { site, traffic: Traffic::start(&site.topology), setup, table: Table::default() }
    }

    fn run(mut self, cycles: u32) -> Table {
        // A new link takes up to a second until IPv6 uses it. If something never arrives, the control says so.
        wait_until(|| self.traffic.tally().arrived.iter().flatten().all(|count| *count > 0));
        self.control("without Portcullis, before");
        let mut pair = self.site.pair(&self.setup);
        self.watched("tunnel up", 1, |_| std::thread::sleep(CONTROL));
        self.watched("SIGKILL and restart", cycles, |lab| lab.kill_and_restart(&mut pair, cycles));
        self.watched("TUN deleted", cycles, |lab| (0..cycles).for_each(|number| lab.delete_tun(&mut pair, number)));
        self.watched("peer gone", cycles, |lab| (0..cycles).for_each(|_| lab.peer_gone(&mut pair)));
        self.watched("down, reload, SIGTERM", cycles, |lab| {
            (0..cycles).for_each(|number| lab.operate(&mut pair, number));
        });
        self.watched("SA refused (wrong key)", cycles, |lab| lab.refused(&mut pair, cycles));
        pair.a.kill().unwrap();
        self.first_starts(cycles);
        self.watched("nobody runs, barrier stands", 1, |_| {
            pair.b.kill().unwrap();
            std::thread::sleep(CONTROL);
        });
        let dropped = [Side::A, Side::B].map(|side| self.site.standing(side).dropped);
        self.table.note_dropped(
            dropped.iter().map(|count| count.inbound).sum(),
            dropped.iter().map(|count| count.outbound).sum(),
        );
        for side in [Side::A, Side::B] {
            let release = self.site.portcullis(side, &["release"]);
            assert!(release.status.success(), "{release:?}");
        }
        self.control("without Portcullis, after");
        self.table
    }

    fn capture(&self) -> Capture {
        let ring =
            self.site.topology.underlay.run(|| PacketRing::open(RING_MEBIBYTES)).unwrap().expect("a packet socket");
        Capture::start(ring, inner_networks(), None).expect("a capture")
    }

    /// What the same packets do when nothing is in their way.
    fn control(&mut self, what: &'static str) {
        let capture = self.capture();
        let before = self.traffic.tally();
        std::thread::sleep(CONTROL);
        let seen = settle(capture);
        self.table.add(Row::control(what, &self.traffic.tally().since(&before), &seen));
    }

    /// Runs `work`, and everything that happens while it does is one row.
    fn watched(&mut self, what: &'static str, cycles: u32, work: impl FnOnce(&mut Self)) {
        let capture = self.capture();
        let before = self.traffic.tally();
        work(self);
        let seen = settle(capture);
        self.table.add(Row::of(what, cycles, &self.traffic.tally().since(&before), &seen));
    }

    /// Every other time the gateway is killed again before it is ready, each time a little later.
    fn kill_and_restart(&mut self, pair: &mut Pair, cycles: u32) {
        for number in 0..cycles {
            pair.a.kill().unwrap();
            std::thread::sleep(WHILE);
            pair.a = self.site.start(Side::A, &self.setup);
            if number % 2 == 1 && number + 1 < cycles {
                std::thread::sleep(Duration::from_millis(u64::from(number * 7 % 120)));
            } else {
                pair.wait_until_up();
                std::thread::sleep(WHILE);
            }
        }
    }

    fn delete_tun(&mut self, pair: &mut Pair, number: u32) {
        let side = if number.is_multiple_of(2) { Side::A } else { Side::B };
        let delete = || {
            let mut netlink = Netlink::open()?;
            let tun = netlink.index_of("portcullis0")?;
            netlink.delete_link(tun)
        };
        self.site.place(side).run(delete).unwrap().expect("the TUN is deleted");
        let back = || self.site.standing(side).routes.iter().filter(|route| route.way == RouteWay::Tun).count() > 1;
        assert!(wait_until(back), "the TUN does not come back\n{}", pair.logs());
        std::thread::sleep(WHILE);
    }

    fn peer_gone(&mut self, pair: &mut Pair) {
        pair.b.kill().unwrap();
        std::thread::sleep(WHILE);
        pair.b = self.site.start(Side::B, &self.setup);
        // The peer calls as soon as it is back, and is believed at once.
        assert!(pair.b.wait_until_up(system_common::PATIENCE).is_some(), "{}", pair.logs());
        std::thread::sleep(WHILE);
    }

    /// What operators do: the tunnel is taken down, a host loses its rule, the gateway is ended.
    fn operate(&mut self, pair: &mut Pair, number: u32) {
        let ask = |gateway: &Gateway, request| {
            let answer = gateway.request(&request).expect("an answer");
            assert_eq!(answer["ok"], true, "{answer}");
        };
        match number % 3 {
            0 => {
                ask(&pair.a, Request::Down { tunnel: "t".into() });
                std::thread::sleep(WHILE);
                ask(&pair.a, Request::Up { tunnel: "t".into() });
            }
            1 => {
                let whole = self.setup.config(Side::A);
                let half = Setup { inner: vec![V4], end: [String::new(), String::new()], ..self.setup.clone() };
                for config in [half.config(Side::A), whole] {
                    self.site.rewrite(Side::A, &config);
                    ask(&pair.a, Request::Reload {});
                    std::thread::sleep(WHILE);
                }
            }
            _ => {
                pair.a.signal(Signal::SIGTERM).unwrap();
                assert!(wait_until(|| pair.a.status().is_err()));
                std::thread::sleep(WHILE);
                pair.a.kill().unwrap();
                pair.a = self.site.start(Side::A, &self.setup);
            }
        }
        pair.wait_until_up();
    }

    /// A has the wrong key. B is made anew as well, for it answers no more than a few such calls in half a minute.
    fn refused(&mut self, pair: &mut Pair, cycles: u32) {
        let mut wrong = self.setup.clone();
        wrong.keys[0] = OTHER_KEY;
        wrong.tunnel[1] = "start = \"manual\"".into();
        for _ in 0..cycles {
            pair.a.kill().unwrap();
            pair.b.kill().unwrap();
            pair.b = self.site.start(Side::B, &wrong);
            pair.a = self.site.start(Side::A, &wrong);
            let failed = |status: &serde_json::Value| status["tunnels"][0]["failures"].as_u64() > Some(0);
            assert!(pair.a.wait_for(system_common::PATIENCE, failed).is_some(), "{}", pair.logs());
            std::thread::sleep(WHILE);
        }
        pair.a.kill().unwrap();
        pair.a = self.site.start(Side::A, &self.setup);
        pair.wait_until_up();
    }

    /// Nothing is claimed before the very first start. From the moment on at which the barrier stands everything is, although
    /// this gateway has never had an SA.
    fn first_starts(&mut self, cycles: u32) {
        let mut setup = self.setup.clone();
        setup.tunnel[0] = "start = \"manual\"".into();
        let mut row = Row::empty("before the first SA", cycles);
        for _ in 0..cycles {
            self.traffic.pause();
            std::thread::sleep(SETTLE);
            let release = self.site.portcullis(Side::A, &["release"]);
            assert!(release.status.success(), "{release:?}");
            let mut gateway = self.site.start(Side::A, &setup);
            assert!(wait_until(|| self.site.standing(Side::A).whole), "no barrier");
            let capture = self.capture();
            let before = self.traffic.tally();
            self.traffic.resume();
            assert!(gateway.wait_for(system_common::PATIENCE, |_| true).is_some(), "it does not start");
            std::thread::sleep(WHILE);
            gateway.kill().unwrap();
            std::thread::sleep(WHILE);
            let seen = settle(capture);
            row.count(&self.traffic.tally().since(&before), &seen);
        }
        self.table.add(row);
    }
}

fn settle(capture: Capture) -> Sightings {
    std::thread::sleep(SETTLE);
    capture.stop().expect("the capture ends")
}
