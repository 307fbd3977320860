//! What does this flow really speak? Connection tracking, and what is said inside a connection.
//!
//! One [`FlowTable`] sees both directions of its flows. It is asked for every inner packet, after the header was checked
//! and before it is sealed or written to the TUN device: the table of rules is read when a flow is opened, and again
//! when the rules have changed; in between the flow's own state decides.
//!
//! The walk of a segment:
//! 1. `flow_table` looks for its flow (`slots`, `flow`). There is none: a SYN may open one, if the side may that sent it
//!    (`policy`); anything else ends here, and if it is ours it is answered with a RST. One opened under another policy is
//!    judged again first, and is reset in both directions if it is not allowed any more.
//! 2. `tcp` holds flags, sequence and acknowledgement numbers against what both ends have sent and offered so far (`tcp::half`).
//!    What SYNs agree on is remembered; options that are not carried are taken off by the data path.
//! 3. `stream` hears the bytes. In the common case they are the next ones and need not be heard, which is one comparison.
//!    Else they are held against what is kept of the same place, shown to the flow's listener (`ear`), and kept until they are
//!    acknowledged; behind a gap they wait, or pass and a copy of them waits (`stream::pool`).
//! 4. The segment passes and its connection goes on by it, and packets that waited for it leave behind it
//!    ([`FlowTable::release`]); or it goes without its payload, waits, goes no further, or ends its flow: then both ends are
//!    told by a RST in their windows ([`FlowTable::poll_ending`]).
//!
//! ICMP errors pass only for a live flow that they quote, with a sequence number that is in flight (`icmp`).

mod case;
mod ear;
mod ending;
mod flow;
mod flow_table;
mod icmp;
mod live;
pub mod probe;
pub mod recognise;
pub mod replay;
mod slots;
mod stream;
mod tcp;
#[cfg(test)]
mod tests;
mod verdict;

pub use flow_table::FlowTable;
pub use live::Live;
pub use verdict::{Cause, Ending, Origin, Pass, Reply, Reset, Verdict};
