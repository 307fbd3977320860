//! What IKE tells the data path to do.

use super::child::{Encapsulation, InboundSpec, OutboundSpec};
use super::spi::Spi;
use crate::ids::TunnelId;

/// One change of the SAD (RFC 4301 §4.4.2). Applied in order; a message that IKE emits after a command leaves only
/// once the data path has confirmed the command.
#[derive(Debug)]
pub enum SadCommand {
    /// An SA with this SPI is about to be agreed: ESP that comes before `InstallInbound` is held for a while, bounded,
    /// and judged then.
    ExpectInbound(Spi),
    /// Receive with this SA from now on.
    InstallInbound(Box<InboundSpec>),
    /// Send with this SA from now on, in place of an older one of the same shape.
    InstallOutbound(Box<OutboundSpec>),
    /// Forget the inbound SA.
    RemoveInbound(Spi),
    /// Forget the outbound SA that is paired with this inbound one.
    RemoveOutbound {
        /// The SPI of the inbound half.
        inbound: Spi,
    },
    /// The peer of an IKE SA moved (RFC 7296 §2.23): its SAs send there. Another IKE SA of the tunnel, beside it for a while,
    /// may have its own way.
    Redirect {
        /// The tunnel.
        tunnel: TunnelId,
        /// The SPIs of the inbound halves.
        inbound: Vec<Spi>,
        /// Where to.
        encapsulation: Encapsulation,
    },
}
