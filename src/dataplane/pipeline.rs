//! One worker's data path: everything that happens to a packet between the TUN device and the underlay.
//!
//! The runtime reads a batch, calls [`Pipeline::outbound`] or [`Pipeline::inbound`], writes what is left of the batch and
//! what [`Pipeline::replies`] holds, and drains the `poll_*` queues. Nothing here does I/O, takes a lock or, once warm,
//! allocates for a packet.

use std::net::IpAddr;
use std::sync::Arc;

use ahash::RandomState;

use super::buffer::{Batch, Path};
use super::counters::{CounterWriter, Counters};
use super::drop::{self, Closed, Record, Records};
use super::events::Events;
use super::handover::Hands;
use super::held::Held;
use super::ike_queue::IkeQueue;
use super::inbound::{Coalescing, Growing};
use super::mtu::{self, Outer};
use super::offload::Offloads;
use super::paths::Tunnels;
use super::replies::{Departures, Replies};
use super::sad::Sad;
use super::translate::Translator;
use crate::crypto::aead::Provider;
use crate::esp::limits::Notice;
use crate::event::DropReason;
use crate::ids::{RuleId, TunnelId};
use crate::inspect::{Cause, Ending, FlowTable, Live, Origin, Pass, Verdict};
use crate::policy::Snapshot;
use crate::sa::command::SadCommand;
use crate::sa::event::SadEvent;
use crate::sa::spi::Spi;
use crate::time::Instant;
use crate::wire::esp::EspHeader;
use crate::wire::ip::Inner;
use crate::wire::rewrite::{Side, rewrite};

/// Time between two rounds of housekeeping, in nanoseconds.
const TICK: u64 = 100_000_000;
/// Flows looked at in one round.
const SWEEP: usize = 4096;
/// Flows that end at a time, at most, and can all be told of.
const SWEPT: usize = 128;

/// What a pipeline is made of.
#[derive(Clone, Copy, Debug)]
pub struct PipelineConfig {
    /// Live flows at most.
    pub flow_capacity: usize,
    /// Random numbers that no peer knows, for the hash tables.
    pub hash_seed: [u64; 4],
}

/// The data path of one worker.
pub struct Pipeline {
    pub(super) policy: Arc<Snapshot>,
    pub(super) flows: FlowTable,
    pub(super) sad: Sad,
    pub(super) tunnels: Tunnels,
    pub(super) counters: CounterWriter,
    pub(super) records: Records,
    pub(super) events: Events,
    pub(super) held: Held,
    pub(super) ike: IkeQueue,
    pub(super) replies: Replies,
    pub(super) departures: Departures,
    /// Whether the peer's side is told of flows that are ended.
    reset_remote: bool,
    /// Behind which packet of a batch each goes that has waited.
    pub(super) followed: Vec<u32>,
    pub(super) coalescing: Coalescing,
    pub(super) growing: Growing,
    pub(super) hands: Hands,
    pub(super) translator: Translator,
    /// Everything goes by this right: it was judged elsewhere, or this is a measurement.
    pub(super) assumed: Option<Pass>,
    ticked: Instant,
}

impl Pipeline {
    /// A data path without SAs.
    #[must_use]
    pub fn new(config: PipelineConfig, policy: Arc<Snapshot>) -> Self {
        let [a, b, c, d] = config.hash_seed;
        let hash = RandomState::with_seeds(a, b, c, d);
        let mut pipeline = Self {
            policy: policy.clone(),
            flows: FlowTable::new(config.flow_capacity, config.hash_seed),
            sad: Sad::new(&hash),
            tunnels: Tunnels::default(),
            counters: CounterWriter::new(),
            translator: Translator::new(hash.clone()),
            records: Records::new(hash),
            events: Events::default(),
            held: Held::default(),
            ike: IkeQueue::default(),
            replies: Replies::default(),
            departures: Departures::default(),
            reset_remote: true,
            followed: Vec::with_capacity(1024),
            coalescing: Coalescing::default(),
            growing: Growing::default(),
            hands: Hands::default(),
            assumed: None,
            ticked: Instant::ZERO,
        };
        pipeline.set_policy(policy);
        pipeline
    }

    /// Judges by `policy` from the next packet on. Live flows are judged again.
    pub fn set_policy(&mut self, policy: Arc<Snapshot>) {
        for rule in policy.rules() {
            self.counters.rule(rule.id);
            self.counters.tunnel(rule.tunnel);
            for shape in policy.shapes(rule.tunnel) {
                self.sad.expect_shape(shape.tunnel, shape.id);
            }
        }
        let one_lane = policy.tunnels().iter().all(|tunnel| tunnel.lanes <= 1);
        self.hands.plain = one_lane && self.hands.steering.is_alone();
        self.hands.lane = 0;
        self.translator.follow(&self.policy, &policy);
        self.policy = policy;
        self.flows.policy_changed();
        self.events.reserve(self.sad.len() + self.sad.shapes());
    }

    /// Ends flows that the policy does not allow any more and tells both ends, as far as there is room for that in
    /// [`replies`](Self::replies) and [`departures`](Self::departures); true: to be called again once these are sent. To be
    /// called after [`set_policy`](Self::set_policy), before the next batch or after it.
    pub fn end_disallowed(&mut self, now: Instant) -> bool {
        let more = self.flows.end_disallowed(now, &self.policy);
        self.tell_endings(now);
        more
    }

    /// Whether the peer's side gets a RST for flows that are ended. Our own side always does.
    pub fn set_reset_remote(&mut self, reset_remote: bool) {
        self.reset_remote = reset_remote;
    }

    /// Which of the kernel's offloads the runtime uses from now on: packets are tied into trains as the TUN device takes
    /// them.
    pub fn set_offloads(&mut self, offloads: Offloads) {
        self.coalescing = offloads.tun_write.coalescing();
        self.counters.offloads(offloads);
    }

    /// The AEADs of SAs that are installed from now on are `provider`'s.
    pub fn set_provider(&mut self, provider: Provider) {
        self.sad.provider = provider;
    }

    /// Changes the SAD.
    pub fn apply(&mut self, now: Instant, command: SadCommand) {
        match command {
            SadCommand::ExpectInbound(spi) => self.held.expect(now, spi),
            SadCommand::InstallInbound(spec) => {
                self.counters.tunnel(spec.child.tunnel);
                self.held.settled(spec.spi);
                self.sad.install_inbound(*spec, now);
            }
            SadCommand::InstallOutbound(spec) => {
                self.counters.tunnel(spec.child.tunnel);
                self.tunnels.installed(&spec.child);
                self.sad.install_outbound(*spec, now);
            }
            SadCommand::RemoveInbound(spi) => {
                self.sad.remove_inbound(spi);
                self.events.forget(spi);
            }
            SadCommand::RemoveOutbound { inbound } => self.sad.remove_outbound(inbound),
            SadCommand::Redirect { tunnel, inbound, encapsulation } => {
                self.sad.redirect(&inbound, encapsulation);
                self.tunnels.redirected(tunnel, &encapsulation);
            }
        }
        self.events.reserve(self.sad.len() + self.sad.shapes());
    }

    /// Packets for our own side that the gateway made itself, to be written to the TUN device; the caller clears.
    pub fn replies(&mut self) -> &mut Batch {
        &mut self.replies.batch
    }

    /// Datagrams for the underlay that the gateway made itself, to be sent like a batch that went
    /// [`outbound`](Self::outbound); the caller clears. To be looked after whenever [`replies`](Self::replies) are.
    pub fn departures(&mut self) -> &mut Batch {
        &mut self.departures.batch
    }

    /// Fills `batch` with packets that were held for an SA that has come; false if there is none. After SAs were installed
    /// the runtime asks until it is false, and lets each batch go through [`inbound`](Self::inbound).
    pub fn release_held(&mut self, batch: &mut Batch) -> bool {
        let sad = &self.sad;
        self.held.release(batch, |spi| sad.find_inbound(spi).is_some())
    }

    /// The next IKE datagram from port 4500, its marker taken off. To be drained after each `inbound`.
    pub fn poll_ike(&mut self) -> Option<(Path, &[u8])> {
        self.ike.poll()
    }

    /// Something that IKE has to act on. Kept until it is read here.
    pub fn poll_event(&mut self) -> Option<SadEvent> {
        self.events.poll()
    }

    /// The next refused or opened flow.
    pub fn poll_record(&mut self) -> Option<Record> {
        self.records.poll()
    }

    /// The counters, for any thread, for as long as the process runs.
    #[must_use]
    pub fn counters(&self) -> &Arc<Counters> {
        self.counters.shared()
    }

    /// Counts packets that the runtime had to drop itself (`SendFailed`, `QueueFull`, `TooLongDatagram`).
    pub fn count_drops(&mut self, reason: DropReason, count: u64) {
        self.counters.drop(reason, count);
    }

    /// Live flows.
    #[must_use]
    pub fn flows(&self) -> usize {
        self.flows.len()
    }

    /// Calls `each` with every live flow between two hosts, until it says false: for people who ask.
    pub fn live(&self, now: Instant, hosts: (IpAddr, IpAddr), port: Option<u16>, each: impl FnMut(Live) -> bool) {
        self.flows.between(now, hosts, port, each);
    }

    /// The longest inner packet that `tunnel` takes now: the MTU of the routes that lead into it.
    #[must_use]
    pub fn tunnel_mtu(&self, tunnel: TunnelId) -> u16 {
        self.tunnels.inner_mtu(tunnel)
    }

    /// A tunnel whose [`tunnel_mtu`](Self::tunnel_mtu) has changed since it was last named here.
    pub fn poll_mtu_change(&mut self) -> Option<TunnelId> {
        self.tunnels.poll_change()
    }

    /// The MTU of the link that leads to a tunnel's peer. Without it 1500 is assumed.
    pub fn set_link_mtu(&mut self, tunnel: TunnelId, mtu: u16) {
        self.tunnels.set_link(tunnel, mtu);
    }

    /// Somebody on the way to `remote` says that a packet of ours did not fit into `mtu` bytes and quotes its start, from
    /// the ESP header on. Whether it is believed: only if it quotes an SPI that we send to `remote` with and a sequence
    /// number that was used recently (RFC 4301 §8.2.1; RFC 8201 §6 on forged reports).
    pub fn path_mtu_report(&mut self, now: Instant, remote: IpAddr, quoted_esp: &[u8], mtu: u32) -> bool {
        let Ok(header) = EspHeader::parse(quoted_esp) else { return false };
        let Some(spi) = Spi::new(header.spi) else { return false };
        let Some(sa) = self.sad.outbound_by_spi(remote, spi) else { return false };
        if !sa.sent_recently(header.sequence, mtu::RECENT) {
            return false;
        }
        let (tunnel, outer) = (sa.child().tunnel, Outer::of(&sa.child().encapsulation));
        self.tunnels.learn(now, tunnel, mtu, outer);
        true
    }

    /// What time alone brings. `outbound` and `inbound` call it; an idle worker calls it once a second.
    pub fn tick(&mut self, now: Instant) {
        self.ticked = now;
        for _ in 0..SWEEP / SWEPT {
            self.flows.sweep(now, SWEPT);
            self.tell_endings(now);
        }
        self.records.tick(now);
        self.translator.tick(now, &self.counters);
        self.counters.untold(self.records.take_untold());
        self.tunnels.tick(now);
        self.counters.drop(DropReason::UnknownSpi, self.held.tick(now));
        let (inbound, outbound) = self.sad.all_mut();
        for sa in inbound {
            sa.tick(now);
            while let Some(notice) = sa.poll_notice() {
                self.events.push(notice_event(notice, sa.spi()));
            }
        }
        for sa in outbound {
            sa.tick(now);
            while let Some(notice) = sa.poll_notice() {
                self.events.push(notice_event(notice, sa.inbound()));
            }
        }
    }

    /// May this packet go, or the train that it leads with `rest` as the payload of the others?
    #[inline]
    pub(super) fn verdict(&mut self, now: Instant, origin: Origin, inner: &Inner<'_>, rest: &[&[u8]]) -> Verdict {
        if let Some(pass) = self.assumed {
            return Verdict::Pass(pass);
        }
        let verdict = self.flows.judge_train(now, origin, inner, rest, &self.policy);
        self.tell_endings(now);
        if let Verdict::Pass(Pass { tunnel, rule, recognised, observed, .. }) = verdict
            && (recognised || observed.is_some())
        {
            self.told(tunnel, rule, inner, observed);
        }
        verdict
    }

    /// Tells both ends of flows that were ended, and the operator.
    #[inline]
    fn tell_endings(&mut self, now: Instant) {
        while let Some(ending) = self.flows.poll_ending() {
            self.tell_ending(now, &ending);
        }
    }

    /// What is said in a flow is known, or is not what it should be and passes all the same.
    fn told(&mut self, tunnel: TunnelId, rule: RuleId, inner: &Inner<'_>, observed: Option<DropReason>) {
        match observed {
            None => self.records.recognised(tunnel, rule, inner.flow()),
            Some(reason) => {
                self.counters.rule(rule).observed.add(1);
                self.records.observed(tunnel, rule, reason, inner.flow());
            }
        }
    }

    fn tell_ending(&mut self, now: Instant, ending: &Ending) {
        let &Ending { cause, flow, tunnel, shape, rule, bytes: [bytes_out, bytes_in], local, remote } = ending;
        if let Some(cause) = cause {
            let end = match cause {
                Cause::Closed => drop::Ending::Closed,
                Cause::Expired => drop::Ending::Expired,
                Cause::Refused(reason) => {
                    self.counters.rule(rule).ended.add(1);
                    drop::Ending::Refused(reason)
                }
            };
            self.records.closed(Closed { tunnel, rule, flow, end, bytes_out, bytes_in });
        }
        if let Some(reset) = local
            && let Some(packet) = self.replies.reset(now, &reset)
        {
            // Our own host goes by its inside name.
            if let Ok(Some(host)) = self.translator.inwards(now, &self.policy, tunnel, packet) {
                rewrite(packet, Side::Destination, host);
            }
            self.counters.shared().replies.add(1);
        }
        if let Some(reset) = remote.filter(|_| self.reset_remote)
            && self.departures.reset(now, &reset).is_some()
        {
            let pass = Pass { tunnel, shape, rule, opened: false, bare: false, recognised: false, observed: None };
            self.depart(now, pass);
        }
    }

    /// Lets everything pass by this right from now on, asking neither policy nor flow table: what is left is what a tunnel
    /// costs without them. For `portcullis bench` alone (`tests/architecture.rs`).
    pub fn assume_for_measurement(&mut self, pass: Pass) {
        self.assumed = Some(pass);
    }

    pub(super) fn tick_if_due(&mut self, now: Instant) {
        if now.as_nanos() - self.ticked.as_nanos().min(now.as_nanos()) >= TICK {
            self.tick(now);
        }
    }
}

/// What an SA says, in the words of IKE.
pub(super) fn notice_event(notice: Notice, inbound: Spi) -> SadEvent {
    match notice {
        Notice::Soft => SadEvent::SoftLimit { inbound },
        Notice::Hard => SadEvent::HardLimit { inbound },
        Notice::First => SadEvent::FirstInbound { inbound },
        Notice::ForgeryBudget => SadEvent::ForgeryBudget { inbound },
    }
}
