//! The kept state of agreements: files as they lie on the disk, and lives of an agreement. What must hold stands beside the code.

/// One input.
pub fn state(data: &[u8]) {
    portcullis::agreement::fuzz(data);
}
