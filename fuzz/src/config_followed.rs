//! Configuration files whose references are followed: keys, certificates, lists and users in a folder of this target's own, in
//! which nothing ever changes. Only there: a file that names any other place is read as a text alone.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use portcullis::config;

use super::config_file::{promised, shown};

/// What stands for the folder in an input.
pub const FOLDER: &str = "@";
/// The contents that nobody may be shown.
const SECRETS: [&str; 6] =
    ["9vT2kqXw0ZsB7yLr4NfM1cJhG6eDuPaI", "swordfish", "qwertyuiop", "correct horse", "zzzzzzzz", "hunter2"];

/// One file: loaded, with what it names, in every way in which a file can be loaded. How many tunnels it has, if it loads.
pub fn file(text: &str) -> Option<usize> {
    // Nothing outside the folder is opened, however it is written.
    let elsewhere =
        text.split("file:").skip(1).any(|behind| !behind.starts_with("@/") && !behind.starts_with("relative"));
    if elsewhere || text.contains("..") || text.contains('\\') || text.contains("credential:") {
        return None;
    }
    let folder = folder();
    let text = text.replace(FOLDER, &folder.display().to_string());
    // Tests run side by side.
    let path = folder.join(format!("{}-{:?}.toml", std::process::id(), std::thread::current().id()));
    fs::write(&path, &text).expect("the folder can be written to");
    let (loaded, rules) = (config::load(&path), config::load_rules(&path));
    match &loaded {
        Ok(loaded) => {
            promised(loaded);
            shown(&loaded.warnings, None);
            let rules = rules.as_ref().expect("what loads with its secrets loads without them");
            assert_eq!((rules.policy.digest(), rules.policy.rules()), (loaded.policy.digest(), loaded.policy.rules()));
            let again = config::reload(&path, loaded).expect("it was loaded a moment ago");
            assert_eq!((&again.tunnels, again.subjects()), (&loaded.tunnels, loaded.subjects()));
            let (placed, _) = config::load_with_places(&path, true).expect("it was loaded a moment ago");
            assert_eq!(placed.tunnels, loaded.tunnels);
        }
        Err(refused) => {
            assert!(!refused.errors.is_empty());
            shown(&refused.errors, None);
            shown(&refused.warnings, None);
        }
    }
    // A test that fails is an error of the file, and not of its rules.
    let tests = config::load_tests(&path);
    assert!(rules.is_err() || tests.is_ok_and(|tests| tests.tests.iter().all(|test| test.passed)));
    assert_eq!(config::load_with_places(&path, false).is_ok(), rules.is_ok());
    fs::remove_file(&path).expect("it was written a moment ago");
    let tunnels = loaded.as_ref().ok().map(|loaded| loaded.tunnels.len());
    let said = loaded.map_or_else(
        |refused| refused.render(false),
        |loaded| loaded.warnings.iter().map(|warning| warning.render(false)).collect(),
    );
    for secret in SECRETS {
        assert!(text.contains(secret) || !said.contains(secret), "a secret is shown:\n{said}");
    }
    tunnels
}

/// The folder, made once: the same in every run.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let root = option_env!("CARGO_TARGET_TMPDIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let folder = root.join("portcullis-fuzz");
        fs::create_dir_all(folder.join("folder")).expect("a folder can be made");
        for (name, content) in files() {
            // Others may be reading what was there.
            let (path, new) = (folder.join(name), folder.join(format!("{}-new", std::process::id())));
            let mode = if name == "open" { 0o644 } else { 0o600 };
            fs::write(&new, content).expect("a file can be written");
            fs::set_permissions(&new, fs::Permissions::from_mode(mode)).expect("it is ours");
            fs::rename(&new, &path).expect("it can be put there");
        }
        folder
    })
}

fn files() -> Vec<(&'static str, Vec<u8>)> {
    let pem = |kind: &str, der: &[u8]| {
        format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", base64(der)).into_bytes()
    };
    let certificate = |der: &[u8]| pem("CERTIFICATE", der);
    let own = certificate(include_bytes!("../fixtures/end_a.der"));
    let key = include_bytes!("../fixtures/end_a.key").to_vec();
    let users = (0..2000).map(|user| format!("u{user} = \"p\"\n")).collect::<Vec<_>>().concat();
    vec![
        ("key", SECRETS[0].into()),
        ("key-with-newline", format!("{}\r\n", SECRETS[0]).into_bytes()),
        ("open", SECRETS[0].into()),
        ("word", b"swordfish\n".to_vec()),
        ("keyboard", b"qwertyuiop1234567890".to_vec()),
        ("sentence", b"correct horse battery staple".to_vec()),
        ("repeated", vec![b'z'; 64]),
        ("steps", b"abcdefghijklmnopqrstuvwxyz0123456789".to_vec()),
        ("bytes", include_bytes!("../fixtures/end_b.der").iter().rev().take(40).copied().collect()),
        ("sequence", (0..=255).collect()),
        ("few-bytes", vec![0, 255, 1, 254]),
        ("empty", Vec::new()),
        ("newline", b"\n".to_vec()),
        ("long", vec![b'x'; 5000]),
        ("as-long-as-may-be", vec![b'x'; 4097]),
        ("own.pem", own.clone()),
        ("own.key", key.clone()),
        ("other.pem", certificate(include_bytes!("../fixtures/end_b.der"))),
        ("other.key", include_bytes!("../fixtures/end_b.key").to_vec()),
        ("authority.pem", certificate(include_bytes!("../fixtures/end_authority.der"))),
        ("ca.pem", certificate(include_bytes!("../fixtures/ca.der"))),
        ("both.pem", [own, key].concat()),
        ("list.pem", pem("X509 CRL", include_bytes!("../fixtures/crl.der"))),
        ("list.der", include_bytes!("../fixtures/crl.der").to_vec()),
        ("response.der", include_bytes!("../fixtures/ocsp_good.der").to_vec()),
        ("damaged.pem", certificate(b"0\x82\x01\x00 no certificate")),
        ("users", b"ali = \"hunter2\"\n\"b c\" = 'hunter2'\n".to_vec()),
        ("users-broken", b"ali = hunter2\n".to_vec()),
        ("users-numbers", b"\nali = 5\n".to_vec()),
        ("users-empty", b"ali = \"\"\n".to_vec()),
        ("users-none", b"# nobody\n".to_vec()),
        ("users-many", users.into_bytes()),
        ("users-bytes", vec![0xff, 0xfe]),
    ]
}

/// RFC 4648 §4.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let word = three.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let letter = LETTERS[word as usize >> (18 - 6 * place) & 63];
            out.push(if place <= three.len() { letter.into() } else { '=' });
        }
    }
    out
}
