//! What goes into the endpoint and what comes out of it.

use std::net::{IpAddr, SocketAddr};

use crate::event::Event;
use crate::ids::TunnelId;
use crate::sa::command::SadCommand;
use crate::sa::event::SadEvent;
use crate::time::Instant;

/// Something that happened outside.
#[derive(Debug)]
pub enum Input<'a> {
    /// A datagram came in on port 500, or on port 4500 behind the non-ESP marker (which is taken off here already).
    Datagram {
        /// The address and port it was sent to.
        local: SocketAddr,
        /// Where it came from.
        remote: SocketAddr,
        /// The IKE message.
        bytes: &'a [u8],
    },
    /// The data path has something to say.
    Sad(SadEvent),
    /// ESP of this tunnel's peer has been authenticated since the last such input: the peer lives, and need not be
    /// probed (RFC 7296 §2.4). The runtime says so once a second at most, while packets come in.
    InboundSeen(TunnelId),
    /// The operator wants the tunnel up.
    Up(TunnelId),
    /// The operator wants the tunnel down: delete sent, and no attempt until `Up`.
    Down(TunnelId),
    /// The operator wants new keys.
    Rekey {
        /// The tunnel.
        tunnel: TunnelId,
        /// For its child SAs.
        children: bool,
        /// For its IKE SA.
        ike: bool,
    },
    /// The host has another address on the way to this tunnel's peer than the one in use, which is gone (RFC 4555).
    Moved {
        /// The tunnel.
        tunnel: TunnelId,
        /// The new address.
        local: IpAddr,
    },
    /// The process ends: every SA is deleted, nothing is started again.
    Shutdown,
    /// `poll_output` asked to be woken at this time.
    Timeout,
}

/// Something to be done outside, in order.
#[derive(Debug)]
pub enum Output {
    /// Send a datagram. If either port is 4500 the runtime puts the non-ESP marker in front (RFC 3948 §2.2).
    Transmit {
        /// The address and port it leaves from.
        local: SocketAddr,
        /// Where it goes.
        remote: SocketAddr,
        /// The IKE message.
        bytes: Vec<u8>,
    },
    /// Send the one-byte NAT keepalive (RFC 3948 §2.3).
    Keepalive {
        /// From.
        local: SocketAddr,
        /// To.
        remote: SocketAddr,
    },
    /// Change the SAD. Whatever `Transmit` follows waits until the data path has confirmed it.
    Sad(SadCommand),
    /// The inner addresses that the peer of this tunnel has given us, in place of those that were told before.
    Addresses {
        /// The tunnel.
        tunnel: TunnelId,
        /// The addresses.
        addresses: Vec<IpAddr>,
    },
    /// Tell the operator.
    Event(Event),
    /// Key material for Wireshark's tables; only produced if key logging was switched on.
    KeyLog(KeyLog),
    /// Nothing more: call again with `Timeout` at this time, or with whatever happens before.
    Timeout(Option<Instant>),
}

/// The keys of one SA as Wireshark's `ikev2_decryption_table` and `esp_sa` want them. Hexadecimal, one CSV line.
pub enum KeyLog {
    /// A line of `ikev2_decryption_table`.
    Ike(String),
    /// A line of `esp_sa`.
    Esp(String),
}

impl std::fmt::Debug for KeyLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyLog(..)")
    }
}
