//! The peer has lost this IKE SA, and proves it (RFC 6290 §4.5).

use super::{Established, Ongoing};
use crate::ike::crash::PeerToken;
use crate::ike::ike_sa::{Core, Incoming};
use crate::ike::keymat::Spis;
use crate::ike::payloads::Sorted;
use crate::ike::window::ResponseId;
use crate::wire::ike::header::IkeSpi;
use crate::wire::ike::message::Message;
use crate::wire::ike::numbers::PayloadType;

impl Established {
    /// The peer's token, if the message has one.
    pub fn take_token(&mut self, sorted: &Sorted) {
        self.peer_token = PeerToken::read(&sorted.notifies).or(self.peer_token.take());
    }

    /// Whether a rekeying of ours is to make the IKE SA with this SPI. The peer may have it, and use it, already.
    pub fn makes(&self, spi: IkeSpi) -> bool {
        matches!(&self.ongoing, Some(Ongoing::IkeRekey(rekeying)) if rekeying.makes(spi))
    }

    /// Whether an answer in the clear to our request proves that the peer has lost this IKE SA.
    pub(super) fn is_lost(&self, core: &Core, incoming: &Incoming<'_>) -> bool {
        let Some(token) = &self.peer_token else { return false };
        let header = &incoming.header;
        let about_us = Spis { initiator: header.initiator_spi, responder: header.responder_spi } == core.spis
            && header.flags.initiator != core.initiator
            && header.flags.response
            && header.next_payload == PayloadType::NOTIFY
            && core.window.response(header.message_id) == ResponseId::Awaited;
        let message = if about_us { Message::decode_after(*header, incoming.datagram).ok() } else { None };
        let sorted = message.and_then(|message| Sorted::sort(message.payloads).ok());
        sorted.is_some_and(|sorted| token.is_in(&sorted.notifies))
    }
}
