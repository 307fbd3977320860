//! Replays every committed fuzz seed, and keeps the generated ones equal to what `fuzz/src/seeds.rs` makes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use portcullis::entropy::{Entropy, SeededEntropy};

#[path = "../fuzz/src/lib.rs"]
mod bodies;

/// What a target does with one input.
type Body = fn(&[u8]);

/// How a target changes an input.
#[derive(Clone, Copy)]
enum Changes {
    /// As libFuzzer does by itself.
    Blind,
    /// Step by step.
    Steps(bodies::steps::List),
    /// Line by line.
    Lines,
}

/// The targets, their bodies, and how they change their inputs.
const TARGETS: &[(&str, Body, Changes)] = &[
    ("ike_message", bodies::ike::message, Changes::Steps(bodies::ike::BEHIND_HEADER)),
    ("ike_inner_chain", bodies::ike::inner_chain, Changes::Steps(bodies::ike::BARE)),
    ("inner_ip", bodies::inner_ip::packet, Changes::Blind),
    ("selectors", bodies::selectors::lists, Changes::Blind),
    ("proposals", portcullis::ike::fuzz::proposals, Changes::Blind),
    ("fragments", portcullis::ike::fuzz::fragments, Changes::Blind),
    ("segment", bodies::segment::packet, Changes::Blind),
    ("rewrite", bodies::rewrite::packet, Changes::Blind),
    ("tcp_tracker", bodies::tcp_tracker::packets, Changes::Steps(bodies::tcp_tracker::LIST)),
    ("esp_open", bodies::esp_open::packets, Changes::Steps(bodies::esp_open::LIST)),
    ("responder", bodies::responder::things, Changes::Steps(bodies::responder::LIST)),
    ("initiator", bodies::responder::hostile_responder, Changes::Steps(bodies::responder::LIST)),
    ("simulation", bodies::simulation::world, Changes::Steps(bodies::simulation::LIST)),
    ("certificate", bodies::certificate::anything, Changes::Blind),
    ("eap", bodies::eap::conversation, Changes::Steps(bodies::eap::LIST)),
    ("config_file", bodies::config_file::file, Changes::Lines),
    ("import_file", bodies::import_file::file, Changes::Blind),
    ("capture", bodies::capture::anything, Changes::Blind),
    ("explain", bodies::explain::anything, Changes::Blind),
    ("control_socket", bodies::control_socket::line, Changes::Blind),
    ("recognise_mq", bodies::recognise::mq, Changes::Steps(bodies::recognise::LIST)),
    ("recognise_ssh", bodies::recognise::ssh, Changes::Steps(bodies::recognise::LIST)),
    ("recognise_smtp", bodies::recognise::smtp, Changes::Steps(bodies::recognise::LIST)),
    ("recognise_tls", bodies::recognise::tls, Changes::Steps(bodies::recognise::LIST)),
    ("agreement_state", bodies::agreement_state::state, Changes::Blind),
];

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target)
}

/// The targets, or the one that `PORTCULLIS_TARGET` names.
fn targets() -> impl Iterator<Item = &'static (&'static str, Body, Changes)> {
    let only = std::env::var("PORTCULLIS_TARGET").ok();
    TARGETS.iter().filter(move |(target, ..)| only.as_deref().is_none_or(|only| only == *target))
}

/// `PORTCULLIS_CORPUS=fuzz/corpus` adds what a fuzzer has found.
#[test]
fn every_seed_goes_through_its_target() {
    let corpus = std::env::var_os("PORTCULLIS_CORPUS");
    for (target, body, _) in targets() {
        let seeds = fs::read_dir(folder(target)).expect("a folder of seeds for every target");
        let found = corpus.as_deref().and_then(|corpus| fs::read_dir(Path::new(corpus).join(target)).ok());
        let mut count = 0;
        for file in seeds.chain(found.into_iter().flatten()) {
            let file = file.expect("an entry").path();
            let seed = fs::read(&file).expect("a seed can be read");
            assert!(std::panic::catch_unwind(|| body(&seed)).is_ok(), "{target}, {}", file.display());
            count += 1;
        }
        assert!(count > 0, "{target} has no seed");
    }
}

/// A few changes to each seed, the same ones in each run. `PORTCULLIS_MUTANTS=100000` makes a longer search of it where
/// there is no nightly compiler, `PORTCULLIS_TARGET=initiator` one of a single target.
#[test]
fn changed_seeds_keep_what_must_hold() {
    let mutants = std::env::var("PORTCULLIS_MUTANTS").ok().and_then(|count| count.parse().ok()).unwrap_or(64_u64);
    for (target, body, changes) in targets() {
        let mut files: Vec<PathBuf> =
            fs::read_dir(folder(target)).expect("seeds").map(|file| file.expect("an entry").path()).collect();
        files.sort();
        let seeds: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).expect("a seed can be read")).collect();
        // A target with many seeds has fewer changes to each, and one with long inputs fewer altogether.
        let mutants = if *target == "simulation" { mutants.div_ceil(16) } else { mutants };
        let each = mutants.min(mutants * 12 / seeds.len() as u64);
        for (number, (file, seed)) in (0..).zip(files.iter().zip(&seeds)) {
            let mut source = SeededEntropy::new(number);
            for _ in 0..each {
                let other = &seeds[(&mut source as &mut dyn Entropy).below(seeds.len() as u64) as usize];
                let mutant = changed(seed, other, *changes, &mut source);
                let held = std::panic::catch_unwind(|| body(&mutant)).is_ok();
                assert!(held, "{target}, a mutant of {}: {}", file.display(), hex::encode(&mutant));
            }
        }
    }
}

/// A mutant of `seed`, or a cross of it with `other`.
fn changed(seed: &[u8], other: &[u8], changes: Changes, source: &mut dyn Entropy) -> Vec<u8> {
    let size = seed.len();
    let mut room = seed.to_vec();
    room.resize(4096.max(size), 0);
    let max = room.len();
    let number = source.below(u64::from(u32::MAX)) as u32;
    let mut blind = |room: &mut [u8], size: usize, max: usize| blindly(source, room, size, max);
    let size = match changes {
        Changes::Steps(list) if number.is_multiple_of(4) => bodies::steps::cross(seed, other, &mut room, number, list),
        Changes::Steps(list) => bodies::steps::mutate(&mut room, size, max, number, list, &mut blind),
        Changes::Lines => bodies::config_file::mutate(&mut room, size, max, number, &mut blind),
        Changes::Blind => blind(&mut room, size, max),
    };
    room.truncate(size);
    room
}

/// Bytes set, put in, taken out, doubled and cut off, in the place of libFuzzer.
fn blindly(random: &mut dyn Entropy, room: &mut [u8], size: usize, max: usize) -> usize {
    let mut bytes = room[..size].to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() as u64) as usize;
        let [byte] = random.array();
        match random.below(6) {
            0 => bytes.insert(at, byte),
            1 if !bytes.is_empty() => drop(bytes.remove(at)),
            2 => bytes.truncate(at),
            3 => bytes.extend_from_within(at..),
            _ if !bytes.is_empty() => bytes[at] = byte,
            _ => {}
        }
    }
    bytes.truncate(max);
    room[..bytes.len()].copy_from_slice(&bytes);
    bytes.len()
}

#[test]
fn every_target_is_replayed_here() {
    let mut built: Vec<String> = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets"))
        .expect("the targets")
        .map(|file| file.expect("an entry").path().file_stem().expect("a name").to_string_lossy().into_owned())
        .collect();
    built.sort();
    let mut replayed: Vec<&str> = TARGETS.iter().map(|(target, ..)| *target).collect();
    replayed.sort_unstable();
    assert_eq!(built, replayed);
}

#[test]
fn generated_seeds_are_those_on_disk() {
    let write = std::env::var_os("PORTCULLIS_WRITE_SEEDS").is_some();
    let seeds: BTreeMap<_, _> = bodies::seeds::all().into_iter().collect();
    for (target, ..) in TARGETS {
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
fn the_seeds_of_the_tracker_pass_and_are_read() {
    let run = |seed| bodies::tcp_tracker::run(&fs::read(folder("tcp_tracker").join(seed)).expect("a seed"));
    assert_eq!(run("conversation"), [10, 0]);
    assert_eq!(run("conversation_v6"), [10, 0]);
    let [passed, read] = run("ssh");
    assert!(passed >= 12 && read > 500, "{passed} packets, {read} bytes");
    let [_, read] = run("ssh_reordered");
    assert!(read > 500, "{read} bytes");
}

#[test]
fn the_seeds_of_the_responder_reach_an_established_sa() {
    let installed = |seed| bodies::responder::run(&fs::read(folder("responder").join(seed)).expect("a seed"));
    for seed in ["handshake", "handshake_with_cookie", "handshake_encapsulated"] {
        assert_eq!(installed(seed), [2, 2], "{seed}");
    }
    // The second pair of hosts asks for its child SA in an exchange of its own, which nobody delivers there.
    for seed in ["in_pieces", "cut_anew"] {
        assert!(installed(seed).iter().all(|count| *count > 0), "{seed}");
    }
    assert_eq!(installed("strangers"), [2, 2]);
    let grown_old = fs::read(folder("responder").join("grown_old")).expect("a seed");
    assert!(bodies::responder::ike_sas(&grown_old) > 1, "no IKE SA was rekeyed");
    let [_, responder] = installed("forged_requests");
    assert!(responder >= 2, "{responder}");
}

#[test]
fn the_seeds_of_the_simulation_do_what_their_names_say() {
    let run =
        |seed| bodies::simulation::run(&fs::read(folder("simulation").join(seed)).expect("a seed")).expect("a run");
    for seed in ["collisions_far", "collisions_near", "lossy_rekeyings", "lifetimes"] {
        let [ike, children] = run(seed).rekeys;
        assert!(ike >= 4 && children >= 4, "{seed}: {ike} IKE SAs and {children} child SAs were rekeyed");
    }
    let of = |seed| run(seed).features.iter().map(|feature| feature.name()).collect::<Vec<_>>();
    assert_eq!(of("moves_behind_nat"), ["nat", "short-life", "mobike"]);
    assert_eq!(of("ml_kem"), ["quantum", "ppk"]);
    // Everything has come up again, at both ends, after what went down.
    for seed in ["operators", "troubles", "heads"] {
        assert!(run(seed).handshakes >= 4, "{seed}");
    }
}

#[test]
fn the_seeds_of_eap_end_as_they_should() {
    let content = |seed| bodies::eap::run(&fs::read(folder("eap").join(seed)).expect("a seed"));
    assert_eq!(content("honest"), [true, true]);
    assert_eq!(content("asked"), [true, true]);
    for seed in ["certified", "certified_asked"] {
        assert_eq!(content(seed), [true, true], "{seed}");
    }
    let wrong = ["certified_other_client", "certified_other_server", "certified_too_early", "certified_unlisted"];
    for seed in ["wrong_password", "unknown_user", "tls", "early_success", "certified_forged"].iter().chain(&wrong) {
        assert_eq!(content(seed), [false, false], "{seed}");
    }
}

#[test]
fn the_seeds_of_the_configuration_load() {
    for seed in ["real", "lab", "every", "more", "translated"] {
        let text = fs::read_to_string(folder("config_file").join(seed)).expect("a seed");
        let loaded = portcullis::config::load_text(Path::new(seed), &text, None);
        assert!(loaded.is_ok(), "{}", loaded.map(drop).unwrap_err().render(false));
    }
    let followed = fs::read(folder("config_file").join("followed")).expect("a seed");
    let loaded = bodies::config_followed::file(std::str::from_utf8(&followed[1..]).expect("text"));
    assert_eq!(loaded, Some(9), "tunnels, with all that they name");
}
