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
            State::Closing(state) => Some((&sa.core, &mut state.protection)),
            State::Spare(state) => Some((&sa.core, &mut state.established.protection)),
            State::InitRequested(_) | State::Ended => None,
        })?;
        let id = core.window.position(response).wrapping_add_signed(offset);
        let header = core.header(exchange, response, id);
        Some((core.path, protection.seal_chain(&header, first, inner, None, &mut *self.entropy)))
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
                State::Closing(state) => &state.protection,
                State::Spare(state) => &state.established.protection,
                State::InitRequested(_) | State::Ended => return None,
            };
            let plain = protection.open(datagram, &sk.content).ok()?;
            plain.payloads(sk.first_inner).ok().map(crate::ike::protect::Verified::into_inner)
        })
    }
}
