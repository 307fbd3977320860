//! What IKE has to hear from the data path: kept until it is read, never dropped, and never longer than the SAD.

use std::collections::VecDeque;

use crate::sa::event::SadEvent;
use crate::sa::spi::Spi;

/// Events in order. The same event twice before it is read is one event, so the queue is bounded by the number of SAs
/// and shapes.
#[derive(Debug, Default)]
pub struct Events {
    queue: VecDeque<SadEvent>,
}

impl Events {
    /// Room for everything that `sas` SAs and as many shapes can have to say at a time, so that no packet allocates.
    pub fn reserve(&mut self, sas: usize) {
        let wanted = 8 * (sas + 8);
        self.queue.reserve(wanted.saturating_sub(self.queue.len()));
    }

    /// Adds an event.
    pub fn push(&mut self, event: SadEvent) {
        if let SadEvent::PeerMoved { inbound, .. } = event {
            // Only the last place counts.
            self.queue.retain(|old| !matches!(old, SadEvent::PeerMoved { inbound: same, .. } if *same == inbound));
        }
        if !self.queue.contains(&event) {
            self.queue.push_back(event);
        }
    }

    /// The oldest event.
    pub fn poll(&mut self) -> Option<SadEvent> {
        self.queue.pop_front()
    }

    /// Forgets what concerns an SA that is gone.
    pub fn forget(&mut self, gone: Spi) {
        self.queue.retain(|event| match event {
            SadEvent::SoftLimit { inbound }
            | SadEvent::HardLimit { inbound }
            | SadEvent::FirstInbound { inbound }
            | SadEvent::PeerMoved { inbound, .. }
            | SadEvent::ForgeryBudget { inbound } => *inbound != gone,
            SadEvent::Acquire { .. } => true,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_one_event_and_the_last_place_of_a_peer_wins() {
        let inbound = Spi::new(0x1000).unwrap();
        let local = "192.0.2.1:4500".parse().unwrap();
        let moved = |port: u16| SadEvent::PeerMoved { inbound, remote: ([192, 0, 2, 9], port).into(), local };
        let mut events = Events::default();
        events.push(SadEvent::SoftLimit { inbound });
        events.push(moved(1));
        events.push(SadEvent::SoftLimit { inbound });
        events.push(moved(2));
        assert_eq!(events.poll(), Some(SadEvent::SoftLimit { inbound }));
        assert_eq!(events.poll(), Some(moved(2)));
        assert_eq!(events.poll(), None);
    }
}
