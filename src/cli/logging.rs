//! The log: to standard error, filtered by `--log` or RUST_LOG. Secrets have no printed form that could get in here.

use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// Starts logging for the rest of the process. Commands are silent but for warnings; the gateway tells what it does.
pub(super) fn start(filter: Option<&str>, gateway: bool) -> Result<(), ParseError> {
    let from_environment = std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty());
    let filter = match (filter, from_environment) {
        (Some(filter), _) => EnvFilter::try_new(filter)?,
        (None, Some(filter)) => EnvFilter::try_new(filter)?,
        (None, None) => EnvFilter::new(if gateway { "info" } else { "warn" }),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(super::has_colour(&io::stderr()))
        .with_target(false);
    // The journal puts its own time beside each line.
    let started = if std::env::var_os("JOURNAL_STREAM").is_some() {
        builder.without_time().try_init()
    } else {
        builder.try_init()
    };
    // Somebody else's subscriber (a test's) is as good.
    drop(started);
    Ok(())
}
