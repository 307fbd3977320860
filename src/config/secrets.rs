//! Where a pre-shared key comes from: `file:`, `credential:` (systemd), or `hex:` and `base64:` inside the file.
//!
//! No error carries a byte of the secret. One trailing newline of a file is stripped, because every editor adds one;
//! nothing else is.

use std::env;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::strength;
use crate::secret::Secret;

/// No pre-shared key is longer than this.
const MAX_LEN: usize = 4096;
/// So much room there is for any file, as far as it may have it: a small one that grows while it is read has it as well.
const SMALL: usize = 64 << 10;

/// Whether references are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sources {
    /// To what they name.
    Followed,
    /// They are not: something else stands for what they name, and nothing can be brought up with it.
    Unread,
}

impl Sources {
    /// A pre-shared key or a password.
    pub(super) fn psk(self, reference: &str) -> Result<Psk, Unusable> {
        match self {
            Self::Followed => resolve(reference),
            Self::Unread => pretend(reference),
        }
    }

    /// What stands in a file of at most `limit` bytes; `None` if references are not followed. A `secret` one may not be
    /// read by others.
    pub(super) fn file(
        self,
        reference: &str,
        limit: usize,
        secret: bool,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, Unusable> {
        if self == Self::Unread {
            return Ok(None);
        }
        let content = if let Some(path) = reference.strip_prefix("file:") {
            content(&absolute(path)?, limit, secret, "name the file that is meant")
        } else if let Some(name) = reference.strip_prefix("credential:") {
            content(&credential(name)?, limit, false, "name the credential that is meant")
        } else {
            return Err(unusable(
                "this does not say which file is meant",
                "begin it with `file:` and an absolute path, or with `credential:`",
            ));
        };
        content.map(Some)
    }
}

/// A key and how strong it is estimated to be.
#[derive(Debug)]
pub(super) struct Psk {
    pub(super) key: Secret,
    pub(super) bits: u32,
    /// Whether the reference was followed, so that this is the key and not what stands for it.
    pub(super) followed: bool,
}

/// Why there is no key: what is wrong, and how to mend it. Neither quotes the secret.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unusable {
    pub(super) message: String,
    pub(super) mend: String,
}

fn unusable(message: impl Into<String>, mend: impl Into<String>) -> Unusable {
    Unusable { message: message.into(), mend: mend.into() }
}

/// Follows a reference to its key.
fn resolve(reference: &str) -> Result<Psk, Unusable> {
    if let Some(path) = reference.strip_prefix("file:") {
        return read(&absolute(path)?, true);
    }
    if let Some(name) = reference.strip_prefix("credential:") {
        return read(&credential(name)?, false);
    }
    if let Some(text) = reference.strip_prefix("hex:") {
        let key = hex::decode(text).map_err(|_| {
            unusable("what follows `hex:` is not hexadecimal", "write an even number of the digits 0-9 and a-f")
        })?;
        return from_bytes(key);
    }
    if let Some(text) = reference.strip_prefix("base64:") {
        let key = STANDARD.decode(text).map_err(|_| {
            unusable(
                "what follows `base64:` is not base64",
                "write standard base64 with its padding, as `base64` prints it",
            )
        })?;
        return from_bytes(key);
    }
    Err(unusable(
        "the secret does not say where it comes from",
        "begin it with `file:`, `credential:`, `hex:` or `base64:`; the safest is a file of mode 0600: \
         `portcullis genpsk` makes its content",
    ))
}

/// Reads what stands in the file itself and takes every other reference for a good key, without following it.
fn pretend(reference: &str) -> Result<Psk, Unusable> {
    if reference.starts_with("file:") || reference.starts_with("credential:") {
        return Ok(Psk { key: Secret::copy_of(b"not followed"), bits: strength::WARNED_BELOW, followed: false });
    }
    resolve(reference)
}

fn from_bytes(key: Vec<u8>) -> Result<Psk, Unusable> {
    let key = Secret::new(key);
    if key.is_empty() {
        return Err(unusable("the secret is empty", "`portcullis genpsk` makes one"));
    }
    if key.len() > MAX_LEN {
        return Err(unusable(format!("the secret is longer than {MAX_LEN} bytes"), "32 bytes are enough"));
    }
    Ok(Psk { bits: strength::of_bytes(key.expose()), key, followed: true })
}

fn credential(name: &str) -> Result<PathBuf, Unusable> {
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return Err(unusable(
            "this is not the name of a credential",
            "write the name that stands in LoadCredential= of the systemd unit, without a path",
        ));
    }
    let Some(directory) = env::var_os("CREDENTIALS_DIRECTORY") else {
        return Err(unusable(
            "there are no credentials: $CREDENTIALS_DIRECTORY is not set",
            format!("start the gateway as a systemd unit with LoadCredential={name}:/path/of/the/key, or use `file:`"),
        ));
    };
    // systemd owns this directory and keeps everybody else out; its files may be readable by a group of ours.
    Ok(PathBuf::from(directory).join(name))
}

fn absolute(path: &str) -> Result<PathBuf, Unusable> {
    let path = PathBuf::from(path);
    if path.is_absolute() {
        return Ok(path);
    }
    Err(unusable("the path of the file is not absolute", "write it from the root on: file:/etc/portcullis/.."))
}

/// A key that stands in a file.
fn read(path: &Path, check_mode: bool) -> Result<Psk, Unusable> {
    let shown = path.display();
    let mend = format!("create it: (umask 077 && portcullis genpsk > {shown}); the peer needs the same key");
    let mut content = content(path, MAX_LEN + 2, check_mode, &mend)?;
    if content.ends_with(b"\n") {
        content.pop();
        if content.ends_with(b"\r") {
            content.pop();
        }
    }
    if content.is_empty() {
        return Err(unusable(format!("{shown} is empty"), "`portcullis genpsk` makes its content"));
    }
    if content.len() > MAX_LEN {
        return Err(unusable(
            format!("{shown} is longer than {MAX_LEN} bytes"),
            "name the file that holds nothing but the key",
        ));
    }
    Ok(Psk { key: Secret::copy_of(&content), bits: strength::of_text(&content), followed: true })
}

/// All of a file. `mend` is for one that is not there.
fn content(path: &Path, limit: usize, check_mode: bool, mend: &str) -> Result<Zeroizing<Vec<u8>>, Unusable> {
    let shown = path.display();
    // Without O_NONBLOCK a named pipe in the place of the file would hold the gateway for ever.
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(path)
        .map_err(|error| unusable(format!("cannot read {shown}: {error}"), mend))?;
    let metadata =
        file.metadata().map_err(|error| unusable(format!("cannot look at {shown}: {error}"), "check the file"))?;
    if !metadata.is_file() {
        return Err(unusable(format!("{shown} is not a regular file"), "name the file that holds it"));
    }
    if check_mode && metadata.mode() & 0o077 != 0 {
        return Err(unusable(
            format!("{shown} can be read or written by others (mode {:04o})", metadata.mode() & 0o7777),
            format!("chmod 600 {shown}; if others could read it, make a new secret"),
        ));
    }
    // Room for all of it at once: a vector that grows leaves copies behind.
    let room = usize::try_from(metadata.len()).unwrap_or(limit).max(SMALL).min(limit);
    let mut content = Zeroizing::new(Vec::with_capacity(room + 1));
    file.take(limit as u64 + 1)
        .read_to_end(&mut content)
        .map_err(|error| unusable(format!("cannot read {shown}: {error}"), "check the file"))?;
    if content.len() > limit {
        return Err(unusable(format!("{shown} is longer than {limit} bytes"), "name the file that is meant"));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn file(content: &[u8], mode: u32) -> (tempfile::TempDir, String) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("psk");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let reference = format!("file:{}", path.display());
        (directory, reference)
    }

    #[test]
    fn exactly_one_trailing_newline_is_stripped() {
        for (content, expected) in [
            (&b"key"[..], &b"key"[..]),
            (b"key\n", b"key"),
            (b"key\r\n", b"key"),
            (b"key\n\n", b"key\n"),
            (b" key ", b" key "),
        ] {
            let (_directory, reference) = file(content, 0o600);
            assert_eq!(resolve(&reference).unwrap().key.expose(), expected);
        }
    }

    #[test]
    fn a_file_takes_as_much_memory_as_it_has_bytes_and_is_never_moved() {
        let limit = 16 << 20;
        for len in [0, 3, SMALL, SMALL + 1, 100_000] {
            let (directory, _) = file(&vec![b'x'; len], 0o600);
            let content = content(&directory.path().join("psk"), limit, true, "").unwrap();
            assert_eq!((content.len(), content.capacity()), (len, len.max(SMALL) + 1));
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        for mode in [0o640, 0o604, 0o620, 0o601] {
            let (_directory, reference) = file(b"key", mode);
            let refused = resolve(&reference).unwrap_err();
            assert!(refused.message.contains(&format!("mode {mode:04o}")), "{refused:?}");
            assert!(refused.mend.starts_with("chmod 600 "), "{refused:?}");
        }
        let (_directory, reference) = file(b"key", 0o400);
        assert!(resolve(&reference).is_ok());
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_quoted() {
        let (directory, empty) = file(b"\n", 0o600);
        let missing = format!("file:{}/missing", directory.path().display());
        let folder = format!("file:{}", directory.path().display());
        for reference in
            ["swordfish", "hex:swordfish", "base64:swordfish!", "hex:", "file:swordfish", &empty, &missing, &folder]
        {
            let refused = resolve(reference).unwrap_err();
            assert!(!format!("{refused:?}").contains("swordfish"), "{refused:?}");
        }
    }

    #[test]
    fn inline_bytes_are_decoded() {
        assert_eq!(resolve("hex:00ff10").unwrap().key.expose(), [0, 255, 16]);
        assert_eq!(resolve("base64:AP8Q").unwrap().key.expose(), [0, 255, 16]);
    }
}
