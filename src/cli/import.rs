//! `import`: our file from another gateway's, to standard output.

use std::io::Write;
use std::path::Path;

use super::exit::{Exit, Failure};
use super::words::Origin;
use crate::config::import::{self, Format};
use crate::report::plain;

impl From<Origin> for Format {
    fn from(origin: Origin) -> Self {
        match origin {
            Origin::Swanctl => Self::Swanctl,
            Origin::Ipsec => Self::Ipsec,
        }
    }
}

/// Prints ours; what could not be carried over goes to standard error, line by line.
pub(super) fn import(
    path: &Path,
    from: Option<Origin>,
    with_secret: bool,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let text = import::read(path)?;
    let imported = match import::import(&text, from.map(Format::from), with_secret) {
        Ok(imported) => imported,
        Err(error) => {
            eprintln!("portcullis: {}:{}:{}: {}", path.display(), error.line, error.column, error.what);
            return Ok(Exit::Config);
        }
    };
    out.write_all(imported.toml.as_bytes())?;
    out.flush()?;
    for lost in &imported.lost {
        let place = if lost.line == 0 { String::new() } else { format!(":{}", lost.line) };
        eprintln!("portcullis: {}{place}: {}", path.display(), plain(&lost.what));
    }
    Ok(if imported.lost.is_empty() { Exit::Done } else { Exit::Differs })
}
