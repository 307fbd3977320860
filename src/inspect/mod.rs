//! What does this flow really speak? Connection tracking today; what is said inside a connection has its place here.
//!
//! One [`FlowTable`] sees both directions of its flows. It is asked for every inner packet, after the header was checked
//! and before it is sealed or written to the TUN device: the table of rules is read when a flow is opened, and again
//! when the rules have changed; in between the flow's own state decides.

mod flow;
mod flow_table;
mod icmp;
pub mod probe;
pub mod recognise;
mod slots;
mod tcp_state;
#[cfg(test)]
mod tests;
mod verdict;

pub use flow_table::FlowTable;
pub use verdict::{Origin, Pass, Reply, Verdict};
