//! What does this flow really speak? Connection tracking; deep inspection has its place here.

mod flow_table;
mod icmp;
mod tcp_state;

pub use flow_table::{FlowTable, Origin, Pass, Reply, Verdict};
