//! What is said inside a flow, held against what its rule demands: a recogniser for each protocol.
//!
//! Each is an incremental state machine over the bytes of both directions: it is shown every byte once, in order, and says
//! which one is the first that no honest speaker of the protocol, or none that the agreement allows, would have sent. Nothing
//! is kept back, so a recogniser that has not objected yet has seen a legal beginning. Nothing is allocated, and what is
//! remembered is bounded ([`Recogniser`] states how much). Where the bytes of a flow were cut makes no difference.
//!
//! What is said once, as text or as a number that decides something, is judged. What is bulk, or a secret, is not looked at:
//! `unheard` says so ahead of time, so that those bytes cost nothing.

mod mq;
mod name;
mod smtp;
mod ssh;
mod tls;

use crate::event::DropReason;
use crate::policy::Inspection;

/// Who has sent bytes: the side that opened the connection, or the other one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Speaker {
    /// The side that sent the SYN.
    Opener,
    /// The side that was connected to.
    Responder,
}

impl Speaker {
    /// The other side.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Opener => Self::Responder,
            Self::Responder => Self::Opener,
        }
    }
}

/// What is wrong with a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Objection {
    /// The first illegal byte, counted from the first byte that was shown in this call.
    pub at: usize,
    /// What is wrong with it.
    pub reason: DropReason,
}

/// Everything is known: none of a speaker's further bytes need be shown.
pub const FOR_EVER: u64 = u64::MAX;

/// One flow's recogniser, of at most 1 KiB whatever is said.
#[derive(Clone, Debug)]
pub struct Recogniser {
    protocol: Protocol,
    /// The objection that was made: there is nothing to be known about what comes behind it.
    objected: Option<DropReason>,
}

#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "nothing is allocated, so each lies where its flow does")]
enum Protocol {
    Mq(mq::Mq),
    Ssh(ssh::Ssh),
    Smtp(smtp::Smtp),
    Tls(tls::Tls),
}

const _: () = assert!(size_of::<Recogniser>() <= 1024);

/// A protocol's state machine. The bytes come in order, each once; `skip` stands for bytes that need not be shown.
trait Listener {
    /// The demands of a rule for this protocol.
    type Limits;

    /// Judges the next of `speaker`'s bytes.
    fn byte(&mut self, limits: &Self::Limits, speaker: Speaker, byte: u8) -> Result<(), DropReason>;

    /// Judges one or more of `speaker`'s next bytes, of which there are some: how many. In one go where that is cheaper, with
    /// the same outcome.
    fn bytes(&mut self, limits: &Self::Limits, speaker: Speaker, bytes: &[u8]) -> Result<usize, Objection> {
        let first = bytes.first().map_or(Ok(()), |byte| self.byte(limits, speaker, *byte));
        first.map(|()| 1).map_err(|reason| Objection { at: 0, reason })
    }

    /// How many of `speaker`'s next bytes are nothing to it.
    fn unheard(&self, speaker: Speaker) -> u64;

    /// Passes over `count` bytes, at most as many as are unheard.
    fn skip(&mut self, speaker: Speaker, count: u64);

    /// Whether the protocol is recognised.
    fn settled(&self) -> bool;
}

impl Recogniser {
    /// The recogniser for flows of a rule with these demands that were opened to `port`. `None`: they are not inspected.
    #[must_use]
    pub fn of(demands: &Inspection, port: u16) -> Option<Self> {
        let protocol = match demands {
            Inspection::Uninspected => return None,
            Inspection::Mq(_) => Protocol::Mq(mq::Mq::new()),
            Inspection::Ssh(_) => Protocol::Ssh(ssh::Ssh::new()),
            Inspection::Smtp(_) => Protocol::Smtp(smtp::Smtp::new(port)),
            Inspection::Tls(_) => Protocol::Tls(tls::Tls::new()),
        };
        Some(Self { protocol, objected: None })
    }

    /// Hears the next of `speaker`'s bytes, each once and in order. After an objection everything is objected to.
    ///
    /// `demands` is that of the rule that the recogniser was made for. If the rule has changed since, so that it demands
    /// another protocol, the flow has to be judged anew; nothing is said against it here.
    pub fn hear(&mut self, demands: &Inspection, speaker: Speaker, bytes: &[u8]) -> Result<(), Objection> {
        if let Some(reason) = self.objected {
            return if bytes.is_empty() { Ok(()) } else { Err(Objection { at: 0, reason }) };
        }
        let heard = match (&mut self.protocol, demands) {
            (Protocol::Mq(mq), Inspection::Mq(limits)) => listen(mq, limits, speaker, bytes),
            (Protocol::Ssh(ssh), Inspection::Ssh(limits)) => listen(ssh, limits, speaker, bytes),
            (Protocol::Smtp(smtp), Inspection::Smtp(limits)) => listen(smtp, limits, speaker, bytes),
            (Protocol::Tls(tls), Inspection::Tls(limits)) => listen(tls, limits, speaker, bytes),
            _ => Ok(()),
        };
        self.objected = heard.err().map(|objection| objection.reason);
        heard
    }

    /// Whether the protocol is recognised: from here on what comes out of order may go ahead of what is missing.
    #[must_use]
    pub fn settled(&self) -> bool {
        match &self.protocol {
            Protocol::Mq(mq) => mq.settled(),
            Protocol::Ssh(ssh) => ssh.settled(),
            Protocol::Smtp(smtp) => smtp.settled(),
            Protocol::Tls(tls) => tls.settled(),
        }
    }

    /// How many of `speaker`'s next bytes need not be shown but may be passed over with [`skip`](Self::skip);
    /// [`FOR_EVER`]: all of them.
    #[must_use]
    pub fn unheard(&self, speaker: Speaker) -> u64 {
        match &self.protocol {
            _ if self.objected.is_some() => 0,
            Protocol::Mq(mq) => mq.unheard(speaker),
            Protocol::Ssh(ssh) => ssh.unheard(speaker),
            Protocol::Smtp(smtp) => smtp.unheard(speaker),
            Protocol::Tls(tls) => tls.unheard(speaker),
        }
    }

    /// Passes over `count` bytes of `speaker`'s, of those that are unheard. More than those are not passed over.
    pub fn skip(&mut self, speaker: Speaker, count: u64) {
        let count = count.min(self.unheard(speaker));
        match &mut self.protocol {
            Protocol::Mq(mq) => mq.skip(speaker, count),
            Protocol::Ssh(ssh) => ssh.skip(speaker, count),
            Protocol::Smtp(smtp) => smtp.skip(speaker, count),
            Protocol::Tls(tls) => tls.skip(speaker, count),
        }
    }
}

/// Shows a listener its bytes, and leaps over those that are nothing to it.
fn listen<L: Listener>(listener: &mut L, limits: &L::Limits, speaker: Speaker, bytes: &[u8]) -> Result<(), Objection> {
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let unheard = usize::try_from(listener.unheard(speaker)).unwrap_or(usize::MAX).min(rest.len());
        if unheard > 0 {
            listener.skip(speaker, unheard as u64);
            at += unheard;
        } else {
            let heard = listener.bytes(limits, speaker, rest);
            at += heard.map_err(|objection| Objection { at: at + objection.at, ..objection })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
