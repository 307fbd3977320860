//! The doors of the house (docs/ARCHITECTURE.md): imports point down only, `unsafe` and the operating system's clock
//! and randomness live in `platform/` alone, and every file says what it is for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Rooms from the ground up. A room may use rooms of lower floors, and itself.
const FLOORS: &[&[&str]] = &[
    &["time", "entropy", "secret", "ids"],
    &["wire"],
    &["event"],
    &["crypto", "policy", "agreement"],
    &["sa"],
    &["ike", "esp", "inspect"],
    &["dataplane", "guard"],
    &["config", "platform", "sim"],
    &["runtime"],
    &["report", "lab"],
    &["cli"],
];

/// Doors past the order, each with its reason.
const EXTRA_DOORS: &[(&str, &str, &str)] =
    &[("wire", "event", "a view of a packet names the reason for which it refuses the bytes")];

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("src can be read") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&root, &mut found);
    found.sort();
    found
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a source file is UTF-8");
            (path.strip_prefix(&root).expect("below src").to_owned(), text)
        })
        .collect()
}

fn room_of(path: &Path) -> String {
    let first = path.iter().next().expect("a name").to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// Files of tests beside the code they test.
fn is_test(path: &Path) -> bool {
    path.iter().any(|part| part == "tests") || path.file_stem().is_some_and(|stem| stem == "tests")
}

/// The part of a file that ships: without comments, and without what follows `#[cfg(test)] mod`.
fn shipped(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
    text[..end].lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Every room named behind `crate::`, also in a braced list.
fn rooms_used(text: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for (at, _) in text.match_indices("crate::") {
        if text[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == '$') {
            continue;
        }
        let rest = &text[at + "crate::".len()..];
        let mut names = vec![rest];
        if let Some(list) = rest.strip_prefix('{') {
            let mut depth = 1;
            let closes = |letter: char| {
                depth += i32::from(letter == '{') - i32::from(letter == '}');
                depth == 0
            };
            let list = &list[..list.find(closes).unwrap_or(list.len())];
            let mut depth = 0;
            let parts = |letter: char| {
                depth += i32::from(letter == '{') - i32::from(letter == '}');
                letter == ',' && depth == 0
            };
            names = list.split(parts).collect();
        }
        for name in names {
            let word = |letter: &char| letter.is_alphanumeric() || *letter == '_';
            let name: String = name.trim().chars().take_while(word).collect();
            if !name.is_empty() {
                used.insert(name);
            }
        }
    }
    used
}

#[test]
fn imports_point_down_only() {
    let floor: BTreeMap<&str, usize> =
        FLOORS.iter().enumerate().flat_map(|(floor, rooms)| rooms.iter().map(move |room| (*room, floor))).collect();
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let room = room_of(&path);
        if room == "lib" || room == "main" || is_test(&path) {
            continue;
        }
        let Some(&own) = floor.get(room.as_str()) else { panic!("{} is on no floor", path.display()) };
        for used in rooms_used(&shipped(&text)) {
            let Some(&other) = floor.get(used.as_str()) else { continue };
            let extra = EXTRA_DOORS.iter().any(|(from, to, _)| *from == room && *to == used);
            if used != room && other >= own && !extra {
                wrong.push(format!("{} uses crate::{used}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "imports that point up or sideways:\n{}", wrong.join("\n"));
}

#[test]
fn clocks_randomness_and_unsafe_live_in_platform() {
    let words = [
        "unsafe {",
        "unsafe fn",
        "unsafe impl",
        "SystemTime::now",
        "Instant::now",
        "Timestamp::now",
        "Zoned::now",
        "getrandom::",
        "thread_rng",
    ];
    for (path, text) in sources() {
        if room_of(&path) == "platform" {
            continue;
        }
        let text = shipped(&text);
        for word in words {
            assert!(!text.contains(word), "{} says `{word}`", path.display());
        }
    }
}

/// Which tests drive it, docs/TESTING.md tells.
#[test]
fn every_file_with_unsafe_code_is_in_the_table_of_what_drives_it() {
    let told = include_str!("../docs/TESTING.md");
    let mut files = 0;
    for (path, text) in sources() {
        let Ok(file) = path.strip_prefix("platform") else { continue };
        if ["unsafe {", "unsafe impl"].iter().any(|word| text.contains(word)) {
            files += 1;
            assert!(told.contains(&format!("| `{}` |", file.display())), "{} is not there", file.display());
        }
    }
    assert_eq!(told.lines().filter(|line| line.starts_with("| `") && line.contains(".rs` |")).count(), files);
}

#[test]
fn protection_is_taken_away_for_measurements_alone() {
    // What takes it away, and who may say it: the room that defines it, the bench, and a gateway built to measure.
    let words: [(&str, &[&str]); 2] = [
        ("_for_measurement", &["dataplane/pipeline.rs"]),
        ("Provider::Null", &["crypto/aead.rs", "runtime/provider.rs", "runtime/mod.rs"]),
    ];
    for (path, text) in sources() {
        let text = shipped(&text);
        for (word, places) in words {
            let may = path.starts_with("lab/bench") || places.iter().any(|place| path == Path::new(place));
            assert!(may || !text.contains(word), "{} says `{word}`", path.display());
        }
    }
}

#[test]
fn the_protocol_rooms_do_no_io() {
    let rooms = ["wire", "crypto", "policy", "agreement", "sa", "ike", "esp", "inspect", "dataplane", "guard"];
    let words = ["std::net::UdpSocket", "std::fs", "std::thread", "tokio::", "std::process", "std::env"];
    for (path, text) in sources() {
        if !rooms.contains(&room_of(&path).as_str()) {
            continue;
        }
        let text = shipped(&text);
        for word in words {
            assert!(!text.contains(word), "{} says `{word}`", path.display());
        }
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    for (path, text) in sources() {
        assert!(text.starts_with("//! "), "{} does not open with `//!`", path.display());
    }
}

#[test]
fn the_top_level_holds_nothing_that_has_no_place() {
    let allowed = ["Cargo.toml", "Cargo.lock", "src", "benches", "fuzz", "tests", "docs", "README.md", "target"];
    let licences = ["LICENSE-APACHE", "LICENSE-MIT"];
    for entry in fs::read_dir(env!("CARGO_MANIFEST_DIR")).expect("the root can be read") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        let named = allowed.contains(&name.as_str()) || licences.contains(&name.as_str());
        assert!(name.starts_with('.') || named, "{name} has no place at the top level");
    }
}

#[test]
fn the_reader_of_imports_sees_what_it_must_see() {
    let text =
        "use crate::wire::ike::header;\nuse crate::{esp::open, sa::{spi, child}, time};\nlet x = crate::ike::f();";
    assert_eq!(rooms_used(text), ["esp", "ike", "sa", "time", "wire"].map(String::from).into());
    assert!(rooms_used("$crate::wire; mycrate::ike").is_empty());
}
