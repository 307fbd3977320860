//! The agreement in the demo: through all of its nine states, by its operator's will and by the real clock. In each gateway A is
//! killed and started again, and what may not go on is cut off in the midst of a conversation.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::civil::Date;
use jiff::{SignedDuration, Span};
use serde_json::Value;

use super::pair::{COME_UP, Pair, Place, wish};
use super::stage::{Life, Stage, Tried};
use super::{CONTROL, DemoError, accept, conversation, system};
use crate::agreement::{Digest, Effective, Evidence, State, Wish};
use crate::event::DropReason;
use crate::lab::gateway::Gateway;
use crate::lab::midnight::Midnight;
use crate::lab::mq_session::{self, Plan};
use crate::lab::topology::{Topology, V4};
use crate::lab::traffic::MQ_PORT;
use crate::platform::clock;

/// A conversation that is not over when it is cut off, in messages so small that the capture misses nothing of it.
const LONG: Plan = Plan { puts: u32::MAX, gets: 1, message: 1000, heartbeat_every: 64 };
/// How long a running conversation may take to notice.
const NOTICE: Duration = Duration::from_secs(10);
/// How long a gateway may take to say in which state an agreement is.
const SAYS_SO: Duration = Duration::from_secs(3);
/// How long after the file is loaded the term is over.
const EXPIRES_IN: SignedDuration = SignedDuration::from_secs(3);

impl Stage {
    /// Looks at a gateway that is in `state`, kills it, starts it again and looks again. `peer`: the gateway on the other side.
    fn see(
        state: State,
        topology: &Topology,
        place: &Place<'_>,
        gateway: &mut Gateway,
        mut peer: Option<&mut Gateway>,
    ) -> Result<Self, DemoError> {
        let (told, tried) = look(state, topology, gateway, peer.as_deref_mut())?;
        place.kill(gateway)?;
        let shut = !connects(topology)?;
        *gateway = place.start()?;
        let (told_again, tried_again) = look(state, topology, gateway, peer)?;
        Ok(Self { state, told: [told, told_again], tried: [tried, tried_again], shut, ended: None })
    }
}

/// Gateway A before anybody has activated its agreement, which is in force afterwards.
pub(super) fn draft(topology: &Topology, place: &Place<'_>) -> Result<(Gateway, Stage), DemoError> {
    let mut gateway = place.start()?;
    let draft = Stage::see(State::Draft, topology, place, &mut gateway, None)?;
    let authorisation = Some("demo: the acknowledgement e-mail".to_owned());
    wish(&gateway, Wish::Activate { authorisation, trust_clock: false })?;
    Ok((gateway, draft))
}

/// Lives through the rest. `goes_on`: it is not terminated.
pub(super) fn live(topology: &Topology, pair: &mut Pair<'_>, draft: Stage, goes_on: bool) -> Result<Life, DemoError> {
    let mut walk = Walk { topology, pair, stages: vec![draft] };
    walk.see(State::Active, None)?;

    walk.cut_off(State::Suspended, |pair| wish(&pair.a, Wish::Suspend { reason: Some("demo: an incident".into()) }))?;
    wish(&walk.pair.a, Wish::Resume { evidence: Vec::new(), authorisation: None })?;
    walk.see(State::Remediation, None)?;
    let evidence = vec![Evidence { file: "rebuild.log".into(), size: 5, digest: Digest::of(b"clean") }];
    wish(&walk.pair.a, Wish::Resume { evidence, authorisation: None })?;
    walk.see(State::AwaitingAuthorisation, None)?;
    let authorisation = Some("demo: the other organisation's mail".to_owned());
    wish(&walk.pair.a, Wish::Resume { evidence: Vec::new(), authorisation })?;
    walk.see(State::Active, None)?;

    // What a file says of the term counts at once where it is shorter than what was agreed.
    let just_now = Midnight::after(clock::wall(), SignedDuration::ZERO);
    walk.pair.place.reload(&walk.pair.a, &term(&just_now.zone, just_now.day, 30))?;
    walk.see(State::Grace, None)?;
    walk.cut_off(State::Expired, |pair| {
        let soon = Midnight::after(clock::wall(), EXPIRES_IN);
        let last = soon.day.yesterday().unwrap_or(soon.day);
        pair.place.reload(&pair.a, &term(&soon.zone, last, 1))
    })?;
    let authorisation = Some("demo: a new acknowledgement".to_owned());
    wish(&walk.pair.a, Wish::Renew { date: Some(just_now.day), authorisation })?;

    if goes_on {
        walk.pair.a.wait_until_up(COME_UP);
    } else {
        wish(&walk.pair.a, Wish::Terminate { effective: None })?;
        walk.see(State::Terminating, None)?;
        walk.cut_off(State::Terminated, |pair| wish(&pair.a, Wish::Terminate { effective: Some(Effective::Now) }))?;
    }
    Ok(Life { stages: walk.stages, goes_on })
}

/// The way through the states.
struct Walk<'a, 'b> {
    topology: &'a Topology,
    pair: &'a mut Pair<'b>,
    stages: Vec<Stage>,
}

impl<'b> Walk<'_, 'b> {
    fn see(&mut self, state: State, ended: Option<bool>) -> Result<(), DemoError> {
        let Pair { place, a, b, .. } = &mut *self.pair;
        let stage = Stage::see(state, self.topology, place, a, Some(b))?;
        self.stages.push(Stage { ended, ..stage });
        Ok(())
    }

    /// Into a state in which nothing passes, in the midst of a conversation.
    fn cut_off(&mut self, state: State, act: impl FnOnce(&Pair<'b>) -> Result<(), DemoError>) -> Result<(), DemoError> {
        let running = Running::begin(self.topology)?;
        act(self.pair)?;
        let ended = running.has_ended();
        self.see(state, Some(ended))
    }
}

/// The lines of a term of four years, so that a leap day has one to come back to, that ends with `last`.
fn term(zone: &str, last: Date, grace_days: u8) -> String {
    let date = last.saturating_sub(Span::new().years(4));
    format!("date = {date}\nyears = 4\nzone = \"{zone}\"\ngrace_days = {grace_days}")
}

/// A conversation that goes on until somebody cuts it off.
struct Running(JoinHandle<bool>);

impl Running {
    fn begin(topology: &Topology) -> Result<Self, DemoError> {
        let running = run_until_cut_off(topology).map_err(system("a conversation"))?;
        std::thread::sleep(Duration::from_millis(300));
        Ok(Self(running))
    }

    /// Whether it is cut off, now or soon.
    fn has_ended(self) -> bool {
        let end = clock::now() + NOTICE;
        while !self.0.is_finished() && clock::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.0.is_finished() && self.0.join().is_ok_and(|cut_off| cut_off)
    }
}

/// Whether a conversation that goes on for long was cut off.
fn run_until_cut_off(topology: &Topology) -> io::Result<JoinHandle<bool>> {
    let listener = listener(topology)?;
    let stream = topology.host_a.run(|| TcpStream::connect_timeout(&target(), Duration::from_secs(5)))??;
    let server = accept(&listener)?;
    // The queue manager hears nothing more and ends by its own patience; nobody waits for it.
    std::thread::Builder::new().name("manager".into()).spawn(move || drop(mq_session::server(server, LONG)))?;
    std::thread::Builder::new().name("client".into()).spawn(move || mq_session::client(stream, LONG).is_err())
}

fn target() -> SocketAddr {
    SocketAddr::new(V4.host_b, MQ_PORT)
}

fn listener(topology: &Topology) -> io::Result<TcpListener> {
    let listener = topology.host_b.run(|| TcpListener::bind(target()))??;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// What a gateway in `state` says of itself, and what becomes of a new conversation.
fn look(
    state: State,
    topology: &Topology,
    gateway: &mut Gateway,
    peer: Option<&mut Gateway>,
) -> Result<(Option<String>, Tried), DemoError> {
    if state.passes() {
        // If it does not come up the conversation fails, and that is what is shown.
        gateway.wait_until_up(COME_UP);
        peer.and_then(|peer| peer.wait_until_up(COME_UP));
    }
    // Time is looked at once a second.
    let says = |status: &Value| status["tunnels"][0]["agreement_state"] == state.as_str();
    gateway.wait_for(SAYS_SO, says);
    let status = gateway.status().unwrap_or_default();
    let told = status["tunnels"][0]["agreement_state"].as_str().map(str::to_owned);
    let passed = state.passes() && conversation(topology, CONTROL).is_ok();
    let tried = if passed { Tried::Passed } else { refusal(topology, gateway)? };
    Ok((told, tried))
}

/// Whether host A reaches host B.
fn connects(topology: &Topology) -> Result<bool, DemoError> {
    let _listener = listener(topology).map_err(system("a listener"))?;
    let connect = || TcpStream::connect_timeout(&target(), Duration::from_secs(2));
    Ok(topology.host_a.run(connect).map_err(system("a host's namespace"))?.is_ok())
}

/// The reason with which a new connection is refused, as the gateway counts it.
fn refusal(topology: &Topology, gateway: &Gateway) -> Result<Tried, DemoError> {
    let drops = || gateway.status().unwrap_or_default()["drops"].clone();
    let before = drops();
    if connects(topology)? {
        return Ok(Tried::Passed);
    }
    let after = drops();
    let count = |drops: &Value, reason: &str| drops[reason].as_u64().unwrap_or(0);
    let reasons = DropReason::ALL.iter().filter(|reason| reason.is_of_agreement()).map(|reason| reason.as_str());
    let reason = reasons.filter(|reason| count(&after, reason) > count(&before, reason)).map(str::to_owned).next();
    Ok(Tried::Refused(reason))
}
