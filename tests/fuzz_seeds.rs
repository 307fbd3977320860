//! Replays every committed fuzz seed, and keeps the generated ones equal to what `fuzz/src/seeds.rs` makes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use portcullis::entropy::{Entropy, SeededEntropy};

#[path = "../fuzz/src/lib.rs"]
mod bodies;

/// What a target does with one input.
type Body = fn(&[u8]);

/// The targets and their bodies.
const TARGETS: &[(&str, Body)] = &[
    ("ike_message", bodies::ike::message),
    ("ike_inner_chain", bodies::ike::inner_chain),
    ("inner_ip", bodies::inner_ip::packet),
    ("esp_open", bodies::esp_open::packets),
    ("responder", bodies::responder::things),
    ("config_file", portcullis::config::fuzz),
    ("control_socket", bodies::control_socket::line),
];

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target)
}

#[test]
fn every_seed_goes_through_its_target() {
    for (target, body) in TARGETS {
        let files = fs::read_dir(folder(target)).expect("a folder of seeds for every target");
        let mut count = 0;
        for file in files {
            body(&fs::read(file.expect("an entry").path()).expect("a seed can be read"));
            count += 1;
        }
        assert!(count > 0, "{target} has no seed");
    }
}

/// A few blind changes to each seed, the same ones in each run. `PORTCULLIS_MUTANTS=100000` makes a longer search of it
/// where there is no nightly compiler.
#[test]
fn blindly_changed_seeds_keep_what_must_hold() {
    let mutants = std::env::var("PORTCULLIS_MUTANTS").ok().and_then(|count| count.parse().ok()).unwrap_or(64_u64);
    for (target, body) in TARGETS {
        let mut files: Vec<PathBuf> =
            fs::read_dir(folder(target)).expect("seeds").map(|file| file.expect("an entry").path()).collect();
        files.sort();
        for (number, file) in (0..).zip(files) {
            let seed = fs::read(&file).expect("a seed can be read");
            let mut source = SeededEntropy::new(number);
            let random: &mut dyn Entropy = &mut source;
            for _ in 0..mutants {
                let mut mutant = seed.clone();
                for _ in 0..=random.below(4) {
                    let at = random.below(mutant.len() as u64) as usize;
                    let [byte] = random.array();
                    match random.below(6) {
                        0 => mutant.insert(at, byte),
                        1 if !mutant.is_empty() => drop(mutant.remove(at)),
                        2 => mutant.truncate(at),
                        3 => mutant.extend_from_slice(&seed[at.min(seed.len())..]),
                        _ if !mutant.is_empty() => mutant[at] = byte,
                        _ => {}
                    }
                }
                let held = std::panic::catch_unwind(|| body(&mutant)).is_ok();
                assert!(held, "{target}, a mutant of {}: {}", file.display(), hex::encode(&mutant));
            }
        }
    }
}

#[test]
fn every_target_is_replayed_here() {
    let mut built: Vec<String> = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets"))
        .expect("the targets")
        .map(|file| file.expect("an entry").path().file_stem().expect("a name").to_string_lossy().into_owned())
        .collect();
    built.sort();
    let mut replayed: Vec<&str> = TARGETS.iter().map(|(target, _)| *target).collect();
    replayed.sort_unstable();
    assert_eq!(built, replayed);
}

#[test]
fn generated_seeds_are_those_on_disk() {
    let write = std::env::var_os("PORTCULLIS_WRITE_SEEDS").is_some();
    let seeds: BTreeMap<_, _> = bodies::seeds::all().into_iter().collect();
    for (target, _) in TARGETS {
        for (name, bytes) in seeds.get(target).unwrap_or_else(|| panic!("{target} has no seeds")) {
            let file = folder(target).join(name);
            if write {
                fs::create_dir_all(folder(target)).expect("the folder can be made");
                fs::write(&file, bytes).expect("the seed can be written");
            }
            let on_disk = fs::read(&file).unwrap_or_default();
            assert!(
                on_disk == *bytes,
                "{target}/{name} is stale: PORTCULLIS_WRITE_SEEDS=1 cargo test --test fuzz_seeds"
            );
        }
    }
}

#[test]
fn the_seeds_of_the_data_path_reach_both_sides() {
    let passed = |seed| bodies::esp_open::run(&fs::read(folder("esp_open").join(seed)).expect("a seed"));
    assert_eq!(passed("mq_conversation"), [4, 3]);
    assert_eq!(passed("from_the_peer"), [2, 2]);
    assert_eq!(passed("echo"), [2, 1]);
    assert_eq!(passed("refused"), [0, 0]);
}

#[test]
fn the_seeds_of_the_responder_reach_an_established_sa() {
    let installed = |seed| bodies::responder::run(&fs::read(folder("responder").join(seed)).expect("a seed"));
    for seed in ["handshake", "handshake_with_cookie", "handshake_encapsulated"] {
        assert_eq!(installed(seed), [2, 2], "{seed}");
    }
    assert_eq!(installed("strangers"), [2, 2]);
    let [_, responder] = installed("forged_requests");
    assert!(responder >= 2, "{responder}");
}
