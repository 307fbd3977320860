//! `--keylog DIR`: the tables that Wireshark reads to decrypt a capture. Loud, and never on by itself.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::ike::api::KeyLog;

/// Names of Wireshark's own tables, so that the folder can stand in for its profile.
const IKE_TABLE: &str = "ikev2_decryption_table";
const ESP_TABLE: &str = "esp_sa";

/// The two open tables.
pub(super) struct KeyLogFiles {
    ike: File,
    esp: File,
}

impl KeyLogFiles {
    /// Opens both tables in `folder` for appending, readable by the owner alone.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let table = |name| OpenOptions::new().create(true).append(true).mode(0o600).open(folder.join(name));
        Ok(Self { ike: table(IKE_TABLE)?, esp: table(ESP_TABLE)? })
    }

    /// Writes one line.
    pub(super) fn write(&mut self, entry: &KeyLog) -> io::Result<()> {
        match entry {
            KeyLog::Ike(line) => writeln!(self.ike, "{line}"),
            KeyLog::Esp(line) => writeln!(self.esp, "{line}"),
        }
    }
}
