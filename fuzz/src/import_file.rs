//! Files of other gateways: swanctl.conf and ipsec.conf.

use std::path::Path;

use portcullis::config;
use portcullis::config::import::{Format, import};

/// What is read is written as a file of ours that loads, or there is a line that says why not; without being asked for, no
/// secret is written.
pub fn file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let lines = text.lines().count() + 1;
    for format in [None, Some(Format::Swanctl), Some(Format::Ipsec)] {
        for with_secret in [false, true] {
            match import(text, format, with_secret) {
                Ok(imported) => {
                    assert!(imported.lost.iter().all(|lost| lost.line <= lines), "a line that is not there");
                    let sentences = imported.lost.iter().all(|lost| !lost.what.chars().any(char::is_control));
                    assert!(sentences, "a sentence that a terminal obeys");
                    let loads = config::load_text(Path::new("imported.toml"), &imported.toml, None).is_ok();
                    assert!(loads || !imported.lost.is_empty(), "it does not load, and nobody says why");
                    assert!(
                        with_secret || !imported.toml.contains("secret = \"hex:"),
                        "a secret that nobody asked for"
                    );
                }
                Err(syntax) => assert!(syntax.line <= lines && syntax.column > 0 && !syntax.what.is_empty()),
            }
        }
    }
}
