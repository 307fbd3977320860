//! For tests: a peer that holds the keys and says what no exchange would.

use super::Endpoint;
use crate::ike::path::Path;
use crate::ike::state::State;
use crate::wire::ike::numbers::ExchangeType;

impl Endpoint {
    /// A message sealed with the keys of our first IKE SA; `offset` is added to the message ID that would be next. The
    /// window does not hear of it.
    pub(in crate::ike) fn forge(
        &mut self,
        exchange: ExchangeType,
        response: bool,
        offset: i32,
        first: crate::wire::ike::numbers::PayloadType,
        inner: &[u8],
    ) -> Option<(Path, Vec<u8>)> {
        let (core, protection) = self.sas.values_mut().find_map(|sa| match &mut sa.state {
            State::Established(state) => Some((&sa.core, &mut state.protection)),
            State::AuthRequested(state) => Some((&sa.core, &mut state.handshake.protection)),
            State::InitAnswered(state) => Some((&sa.core, &mut state.handshake.protection)),
            State::IntermediateRequested(state) => Some((&sa.core, &mut state.handshake.protection)),
            State::EapRequested(state) => Some((&sa.core, &mut state.handshake.protection)),
            State::EapAnswered(state) => Some((&sa.core, &mut state.handshake.protection)),
            State::Closing(state) => Some((&sa.core, &mut state.protection)),
            State::Spare(state) => Some((&sa.core, &mut state.established.protection)),
            State::InitRequested(_) | State::Ended => None,
        })?;
        let id = core.window.position(response).wrapping_add_signed(offset);
        let header = core.header(exchange, response, id);
        Some((core.path, protection.seal_chain(&header, first, inner, None, &mut *self.entropy)))
    }

    /// A request was forged and answered: the next one of our first IKE SA has the ID after it.
    pub(in crate::ike) fn skip_request(&mut self) {
        let core = &mut self.sas.values_mut().next().expect("an IKE SA").core;
        core.window.skip_to(core.window.position(false) + 1, core.window.position(true));
    }

    /// A request was answered by somebody who forged the answer: the next one to our first IKE SA has the ID after it.
    pub(in crate::ike) fn skip_answer(&mut self) {
        let core = &mut self.sas.values_mut().next().expect("an IKE SA").core;
        core.window.skip_to(core.window.position(false), core.window.position(true) + 1);
    }

    /// Where else the peer can be reached.
    pub(in crate::ike) fn elsewhere(&self) -> Vec<std::net::IpAddr> {
        self.sas.values().next().expect("an IKE SA").core.terms.elsewhere.clone()
    }

    /// Opens another IKE SA beside the one in use.
    pub(in crate::ike) fn reauthenticate_now(&mut self) {
        let tunnels: Vec<_> = self.connections.keys().copied().collect();
        for tunnel in tunnels {
            self.reauthenticate_tunnel(tunnel);
        }
    }

    /// The same for one tunnel.
    pub(in crate::ike) fn reauthenticate_tunnel(&mut self, tunnel: crate::ids::TunnelId) {
        let old = self.established(tunnel)[0];
        self.reauthenticate(tunnel, old);
    }

    /// Closes the IKE SA that was opened last.
    pub(in crate::ike) fn close_newest(&mut self) {
        let newest = self.sas.iter().max_by_key(|(_, sa)| sa.core.opened_at).map(|(spi, _)| *spi).expect("an IKE SA");
        self.with_sa(newest, |sa, step| sa.close(step, "a test"));
    }

    /// As if so many messages had been exchanged in our first IKE SA.
    pub(in crate::ike) fn skip_messages(&mut self, next: u32, expected: u32) {
        self.sas.values_mut().next().expect("an IKE SA").core.window.skip_to(next, expected);
    }

    /// As if the request that waits had never been made.
    pub(in crate::ike) fn forget_request(&mut self) {
        for sa in self.sas.values_mut() {
            sa.core.window.complete();
            if let State::Established(state) = &mut sa.state {
                state.ongoing = None;
            }
        }
    }

    /// A child SA is deleted, for whatever reason.
    pub(in crate::ike) fn delete_child(&mut self, inbound: crate::sa::spi::Spi) {
        self.with_child(inbound, |state, core, step| {
            state.delete_child(inbound);
            state.proceed(core, step);
        });
    }

    /// As if the child SAs had been made with this suite.
    pub(in crate::ike) fn forget_suites(&mut self, suite: crate::crypto::suite::EspSuite) {
        for sa in self.sas.values_mut() {
            if let State::Established(state) = &mut sa.state {
                state.children.pretend(suite);
            }
        }
    }

    /// From now on nothing but these suites, without closing what was made with others.
    pub(in crate::ike) fn prefer(&mut self, ike: &[crate::crypto::suite::IkeSuite]) {
        for sa in self.sas.values_mut() {
            let tunnel = &sa.core.tunnel;
            let changed = crate::ike::config::TunnelConfig { ike: ike.to_vec(), ..tunnel.copied() };
            sa.core.tunnel = std::sync::Arc::new(changed);
        }
    }

    /// Nothing is renewed from now on.
    pub(in crate::ike) fn stop_renewing(&mut self) {
        let never = self.now + std::time::Duration::from_hours(1000);
        for sa in self.sas.values_mut() {
            let mut tunnel = sa.core.tunnel.copied();
            tunnel.lifetime.soft_time = std::time::Duration::from_hours(1000);
            tunnel.lifetime.hard_time = std::time::Duration::from_hours(1000);
            tunnel.ike_lifetime =
                crate::ike::config::IkeLifetime { soft: tunnel.lifetime.soft_time, hard: tunnel.lifetime.soft_time };
            sa.core.tunnel = std::sync::Arc::new(tunnel);
            if let State::Established(state) = &mut sa.state {
                (state.rekey_at, state.expires_at, state.reauth_at) = (never, never, never);
                state.children.stop_renewing(never);
            }
        }
    }

    /// How many IKE SAs were looked at in walks through the table since the last call.
    pub(in crate::ike) fn looked(&self) -> usize {
        self.sas.looked.replace(0)
    }

    /// So many IKE SAs, and none that waits for its end.
    pub(in crate::ike) fn assert_tidy(&self, established: usize) {
        let is_established = |sa: &&crate::ike::ike_sa::IkeSa| matches!(sa.state, State::Established(_));
        assert_eq!(self.sas.values().filter(is_established).count(), established);
        assert_eq!(self.sas.len(), established, "nothing waits for its end");
    }

    /// What stands inside a message to our first IKE SA.
    pub(in crate::ike) fn unseal(&self, datagram: &[u8]) -> Option<Vec<crate::wire::ike::payload::Payload>> {
        use crate::wire::ike::payload::Payload;
        let message = crate::wire::ike::message::Message::decode(datagram).ok()?;
        let Some(Payload::Sk(sk)) = message.payloads.last() else { return None };
        self.sas.values().find_map(|sa| {
            let protection = match &sa.state {
                State::Established(state) => &state.protection,
                State::AuthRequested(state) => &state.handshake.protection,
                State::InitAnswered(state) => &state.handshake.protection,
                State::IntermediateRequested(state) => &state.handshake.protection,
                State::EapRequested(state) => &state.handshake.protection,
                State::EapAnswered(state) => &state.handshake.protection,
                State::Closing(state) => &state.protection,
                State::Spare(state) => &state.established.protection,
                State::InitRequested(_) | State::Ended => return None,
            };
            let plain = protection.open(datagram, &sk.content).ok()?;
            plain.payloads(sk.first_inner).ok().map(crate::ike::protect::Verified::into_inner)
        })
    }
}
