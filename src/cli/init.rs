//! `init`: a configuration file to begin with, for one of the agreements that are known. It is printed and never written.

use std::io::Write;

use super::exit::{Exit, Failure};
use super::words::Profile;

/// Prints the profile.
pub(super) fn init(profile: Profile, out: &mut dyn Write) -> Result<Exit, Failure> {
    let text = match profile {
        Profile::Cbp => include_str!("../../docs/profiles/cbp.toml"),
        Profile::Taxii => include_str!("../../docs/profiles/taxii.toml"),
        Profile::Ais => include_str!("../../docs/profiles/ais.toml"),
    };
    out.write_all(text.as_bytes())?;
    Ok(Exit::Done)
}
