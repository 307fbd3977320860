//! Completions for shells, and manual pages.

use std::fs;
use std::io::Write;
use std::path::Path;

use clap_complete::Shell;

use super::exit::{Exit, Failure};
use super::words::command;

/// Prints completions.
pub(super) fn completions(shell: Shell, out: &mut dyn Write) -> Result<Exit, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command(), "portcullis", &mut text);
    out.write_all(&text)?;
    Ok(Exit::Done)
}

/// Prints the manual page, or writes `portcullis.1`, `portcullis-run.1` and so on.
pub(super) fn man(directory: Option<&Path>, out: &mut dyn Write) -> Result<Exit, Failure> {
    let Some(directory) = directory else {
        clap_mangen::Man::new(command()).render(out)?;
        return Ok(Exit::Done);
    };
    fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(command(), directory))
        .map_err(|error| Failure::system(format!("cannot write manual pages to {}", directory.display()), error))?;
    writeln!(out, "manual pages written to {}", directory.display())?;
    Ok(Exit::Done)
}
