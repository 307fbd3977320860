//! The agreement in the demo: suspended in the midst of a conversation, resumed with evidence and authorisation, terminated.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::{COME_UP, CONTROL, DemoError, Pair, accept, conversation, system};
use crate::agreement::{Digest, Effective, Evidence, Wish};
use crate::event::DropReason;
use crate::lab::mq_session::{self, Plan};
use crate::lab::topology::{Topology, V4};
use crate::lab::traffic::MQ_PORT;
use crate::platform::clock;
use crate::runtime::protocol::Request;

/// A conversation that is not over when it is cut off.
const LONG: Plan = Plan { puts: 20_000, gets: 1, message: 256 << 10, heartbeat_every: 64 };
/// How long a running conversation may take to notice.
const NOTICE: Duration = Duration::from_secs(10);

/// What was seen of the agreement's life.
#[derive(Clone, Debug, Default)]
pub(super) struct Life {
    /// The running conversation ended when the agreement was suspended.
    pub(super) ended: bool,
    /// A new connection was refused with this reason while it was suspended.
    pub(super) suspended: Option<String>,
    /// A conversation passed once it was resumed.
    pub(super) resumed: bool,
    /// A new connection was refused once it was terminated; not shown if everything is to stay up.
    pub(super) terminated: Option<Told>,
}

/// The reason that was told, if any was.
#[derive(Clone, Debug, Default)]
pub(super) struct Told(pub(super) Option<String>);

impl Life {
    /// Whether all of it was as promised.
    pub(super) fn as_promised(&self) -> bool {
        let is = |told: &Option<String>, reason: DropReason| told.as_deref() == Some(reason.as_str());
        self.ended
            && is(&self.suspended, DropReason::AgreementSuspended)
            && self.resumed
            && self.terminated.as_ref().is_none_or(|told| is(&told.0, DropReason::AgreementTerminated))
    }
}

/// Lives through it; `to_the_end`: terminates the agreement too.
pub(super) fn live(topology: &Topology, pair: &mut Pair, to_the_end: bool) -> Result<Life, DemoError> {
    let mut life = Life::default();
    let running = run_until_cut_off(topology).map_err(system("a conversation"))?;
    std::thread::sleep(Duration::from_millis(300));
    wish(pair, Wish::Suspend { reason: Some("demo: an incident".into()) })?;
    let end = clock::now() + NOTICE;
    while !running.is_finished() && clock::now() < end {
        std::thread::sleep(Duration::from_millis(10));
    }
    life.ended = running.is_finished() && running.join().is_ok_and(|cut_off| cut_off);
    life.suspended = refusal(topology, pair)?;

    let evidence = Evidence { file: "rebuild.log".into(), size: 5, digest: Digest::of(b"clean") };
    let authorisation = Some("demo: the other organisation's mail".to_owned());
    wish(pair, Wish::Resume { evidence: vec![evidence], authorisation })?;
    let up = pair.a.wait_until_up(COME_UP).is_some() && pair.b.wait_until_up(COME_UP).is_some();
    life.resumed = up && conversation(topology, CONTROL).is_ok();

    if to_the_end {
        wish(pair, Wish::Terminate { effective: Some(Effective::Now) })?;
        life.terminated = Some(Told(refusal(topology, pair)?));
    }
    Ok(life)
}

/// Something that gateway A's operator wants of the agreement.
fn wish(pair: &Pair, wish: Wish) -> Result<(), DemoError> {
    let what = wish.as_str();
    let answer =
        pair.a.request(&Request::Agreement { name: "cbp".into(), wish }).map_err(system("the control socket"))?;
    match answer["error"].as_str() {
        Some(error) => Err(DemoError::Gateway(format!("agreement {what}: {error}"))),
        None => Ok(()),
    }
}

/// A conversation that goes on until somebody cuts it off; whether that is how it ended.
fn run_until_cut_off(topology: &Topology) -> io::Result<std::thread::JoinHandle<bool>> {
    let target = SocketAddr::new(V4.host_b, MQ_PORT);
    let listener = topology.host_b.run(|| TcpListener::bind(target))??;
    listener.set_nonblocking(true)?;
    let stream = topology.host_a.run(|| TcpStream::connect_timeout(&target, Duration::from_secs(5)))??;
    let server = accept(&listener)?;
    // The queue manager hears nothing more and ends by its own patience; nobody waits for it.
    std::thread::Builder::new().name("manager".into()).spawn(move || drop(mq_session::server(server, LONG)))?;
    std::thread::Builder::new().name("client".into()).spawn(move || mq_session::client(stream, LONG).is_err())
}

/// The reason with which a new connection is refused, as the gateway counts and tells it.
fn refusal(topology: &Topology, pair: &Pair) -> Result<Option<String>, DemoError> {
    let target = SocketAddr::new(V4.host_b, MQ_PORT);
    let drops = || pair.a.status().unwrap_or_default()["drops"].clone();
    let before = drops();
    let connect = || TcpStream::connect_timeout(&target, Duration::from_secs(2));
    let connected = topology.host_a.run(connect).map_err(system("a host's namespace"))?;
    if connected.is_ok() {
        return Ok(None);
    }
    let after = drops();
    let count = |drops: &Value, reason: &str| drops[reason].as_u64().unwrap_or(0);
    let reasons = DropReason::ALL.iter().filter(|reason| reason.is_of_agreement()).map(|reason| reason.as_str());
    Ok(reasons.filter(|reason| count(&after, reason) > count(&before, reason)).map(str::to_owned).next())
}
