//! The control socket: one JSON object a line.

use portcullis::runtime::protocol::Request;
use portcullis::runtime::{MAX_LINE, parse_request};

/// One line as it comes off the socket. What is a request must be the same request when it is written and read again.
pub fn line(data: &[u8]) {
    match parse_request(data) {
        Ok(request) => {
            assert!(data.len() <= MAX_LINE || data.ends_with(b"\n"), "a line that never ended was taken");
            let written = serde_json::to_vec(&request).expect("a request is JSON");
            let again: Request = serde_json::from_slice(&written).expect("and reads back");
            assert_eq!(again, request, "a request changed on the way");
        }
        Err(sentence) => assert!(!sentence.is_empty(), "refused without a word"),
    }
}
