//! Which bytes does X have? Views of packets, values of messages; no state, no I/O.

pub mod checksum;
pub mod esp;
pub mod icmp;
pub mod ike;
pub mod ip;
pub mod ipv4;
pub mod ipv6;
pub mod natt;
pub mod pcap;
pub mod reader;
pub mod rewrite;
pub mod tcp;
pub mod tcp_options;
pub mod udp;
pub mod vnet;
pub mod writer;
