//! Message IDs (RFC 7296 §2.2, §2.3): a window of one in each direction, the last response kept and repeated bit for bit.

use super::fragment::Outgoing;
use super::limits;
use super::retransmit::Schedule;
use crate::entropy::Entropy;
use crate::time::Instant;
use crate::wire::ike::numbers::ExchangeType;

/// How a request's message ID stands to what came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestId {
    /// The next one.
    Next,
    /// The one that was answered last.
    Repeated,
    /// Any other.
    Outside,
}

/// How a response's message ID stands to our request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseId {
    /// It answers the request that waits.
    Awaited,
    /// It answers a request that was answered before.
    Repeated,
    /// No request of ours had it.
    Outside,
}

/// What a due time means.
#[derive(Debug, PartialEq, Eq)]
pub enum Due<'a> {
    /// Nothing is due.
    Nothing,
    /// These datagrams go out again.
    Again(&'a [Vec<u8>]),
    /// The peer did not answer.
    GiveUp,
}

/// A request of ours that waits for its response.
#[derive(Debug)]
struct Outstanding {
    id: u32,
    exchange: ExchangeType,
    message: Outgoing,
    schedule: Schedule,
}

/// The message IDs of one IKE SA.
#[derive(Debug)]
pub struct Window {
    next: u32,
    outstanding: Option<Outstanding>,
    expected: u32,
    answered: Option<Outgoing>,
}

impl Window {
    /// RFC 7296 §2.2: each endpoint counts its own requests from zero. `expected` is the peer's next one.
    pub fn new(expected: u32) -> Self {
        Self { next: 0, outstanding: None, expected, answered: None }
    }

    /// The ID of our next request; `None` while one waits, or when the IDs have run out (§2.2: they never wrap).
    pub fn next_id(&self) -> Option<u32> {
        (self.outstanding.is_none() && self.next < u32::MAX).then_some(self.next)
    }

    /// As if so many requests had been made either way.
    #[cfg(test)]
    pub fn skip_to(&mut self, next: u32, expected: u32) {
        (self.next, self.expected, self.answered) = (next, expected, None);
    }

    /// The ID of our next request, or of the peer's next one, whether or not one waits.
    pub fn position(&self, of_peer: bool) -> u32 {
        if of_peer { self.expected } else { self.next }
    }

    /// Whether the IDs have run out.
    pub fn is_exhausted(&self) -> bool {
        self.next == u32::MAX || self.expected == u32::MAX
    }

    /// Whether half of the IDs of either side have just been used up.
    pub fn is_half_spent(&self) -> bool {
        [self.next, self.expected].contains(&limits::MANY_MESSAGES)
    }

    /// A request with [`next_id`](Self::next_id) has been sent.
    pub fn sent(&mut self, now: Instant, exchange: ExchangeType, message: Outgoing, entropy: &mut dyn Entropy) {
        debug_assert!(self.outstanding.is_none(), "a window of one");
        let schedule = Schedule::start(now, entropy);
        self.outstanding = Some(Outstanding { id: self.next, exchange, message, schedule });
        self.next = self.next.saturating_add(1);
    }

    /// The request that waits was sent with other content (§2.6: with a cookie, §1.3: with another group).
    pub fn replace(&mut self, now: Instant, message: Outgoing, entropy: &mut dyn Entropy) {
        if let Some(outstanding) = &mut self.outstanding {
            outstanding.message = message;
            outstanding.schedule = Schedule::start(now, entropy);
        }
    }

    /// The exchange of the request that waits.
    pub fn awaits(&self) -> Option<ExchangeType> {
        self.outstanding.as_ref().map(|outstanding| outstanding.exchange)
    }

    /// Where a response belongs.
    pub fn response(&self, id: u32) -> ResponseId {
        match &self.outstanding {
            Some(outstanding) if outstanding.id == id => ResponseId::Awaited,
            _ if id < self.next => ResponseId::Repeated,
            _ => ResponseId::Outside,
        }
    }

    /// The awaited response has been accepted.
    pub fn complete(&mut self) {
        self.outstanding = None;
    }

    /// Where a request belongs.
    pub fn request(&self, id: u32) -> RequestId {
        if id == self.expected && id < u32::MAX {
            RequestId::Next
        } else if self.answered.is_some() && id.checked_add(1) == Some(self.expected) {
            RequestId::Repeated
        } else {
            RequestId::Outside
        }
    }

    /// The next request has been answered with `message`.
    pub fn answered(&mut self, message: Outgoing) {
        self.answered = Some(message);
        self.expected = self.expected.saturating_add(1);
    }

    /// The answer to the last request.
    pub fn last_answer(&self) -> &[Vec<u8>] {
        self.answered.as_ref().map_or(&[], |message| message.datagrams(1))
    }

    /// How often the request that waits has been sent.
    pub fn transmissions(&self) -> u32 {
        self.outstanding.as_ref().map_or(0, |outstanding| outstanding.schedule.sent())
    }

    /// When [`due`](Self::due) has something to say.
    pub fn deadline(&self) -> Option<Instant> {
        self.outstanding.as_ref().map(|outstanding| outstanding.schedule.next())
    }

    /// Time has passed.
    pub fn due(&mut self, now: Instant, entropy: &mut dyn Entropy) -> Due<'_> {
        match &mut self.outstanding {
            Some(outstanding) if outstanding.schedule.next() <= now => {
                if outstanding.schedule.again(now, entropy) {
                    Due::Again(outstanding.message.datagrams(outstanding.schedule.sent()))
                } else {
                    Due::GiveUp
                }
            }
            _ => Due::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;

    #[test]
    fn requests_count_up_and_the_last_answer_is_kept() {
        let mut window = Window::new(0);
        assert_eq!(window.request(0), RequestId::Next);
        assert_eq!(window.request(1), RequestId::Outside);
        assert_eq!(window.request(u32::MAX), RequestId::Outside);
        window.answered(Outgoing::whole(b"first".to_vec()));
        assert_eq!(window.request(0), RequestId::Repeated);
        assert_eq!(window.last_answer(), [b"first".to_vec()]);
        assert_eq!(window.request(1), RequestId::Next);
        window.answered(Outgoing::whole(b"second".to_vec()));
        assert_eq!(window.request(0), RequestId::Outside);
        assert_eq!(window.request(1), RequestId::Repeated);
    }

    #[test]
    fn a_response_is_awaited_once() {
        let mut entropy = SeededEntropy::new(1);
        let mut window = Window::new(0);
        assert_eq!(window.response(0), ResponseId::Outside);
        assert_eq!(window.next_id(), Some(0));
        window.sent(Instant::ZERO, ExchangeType::IKE_SA_INIT, Outgoing::whole(vec![1]), &mut entropy);
        assert_eq!(window.next_id(), None);
        assert_eq!(window.response(0), ResponseId::Awaited);
        assert_eq!(window.response(1), ResponseId::Outside);
        window.complete();
        assert_eq!(window.response(0), ResponseId::Repeated);
        assert_eq!(window.next_id(), Some(1));
    }

    #[test]
    fn message_ids_never_wrap() {
        let mut window =
            Window { next: u32::MAX, outstanding: None, expected: u32::MAX, answered: Some(Outgoing::default()) };
        assert_eq!(window.next_id(), None);
        assert!(window.is_exhausted());
        assert_eq!(window.request(u32::MAX), RequestId::Outside);
        window.answered(Outgoing::default());
        assert_eq!(window.request(0), RequestId::Outside);
    }
}
