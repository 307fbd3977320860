//! How is one packet protected? ESP in tunnel mode (RFC 4303 §3), replay window (RFC 6479).
