//! The two ends of a measurement: a client that asks and a server that answers, on one machine or on two.
//!
//! ```text
//! client                                            server, port P
//!   TCP P   hello, then one request at a time  ->     one client, others are told that it is busy
//!   TCP P   data connections, each with the session's number
//!   UDP P   numbered datagrams of a trial      ->     counted
//!   UDP P+1 a datagram with the session's number  <-> sent back as it is
//! ```
//!
//! Requests and answers are JSON behind a length of four bytes that is checked before anything is read. The server sends
//! nothing to anybody who does not know the session's number, and never more than it got but over a connection that the
//! client has opened.

pub mod client;
pub mod datagrams;
pub mod server;
mod streams;
pub mod words;

/// The port of both protocols, unless the operator says otherwise: that of other tools for the same purpose.
pub const PORT: u16 = 5201;
