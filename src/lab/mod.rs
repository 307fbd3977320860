//! How is a small network made for demo and tests? Namespaces, an MQ conversation, captures.

pub mod bench;
pub mod capture;
pub mod demo;
pub mod gateway;
pub mod midnight;
pub mod mq_dialect;
pub mod mq_segment;
pub mod mq_session;
pub mod pcap;
pub mod pcap_reader;
mod standing;
pub mod topology;
pub mod traffic;
