//! The states of a TCP connection as a gateway between its ends sees them (RFC 9293 §3.3.2).
