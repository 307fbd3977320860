//! Keys are wiped before their memory is given back. The same simulated seed runs twice: the first run tells, by its key log,
//! which keys there will be, and in the second one the allocator looks at each block that is freed.

#![allow(unsafe_code)] // an allocator that looks can be written in no other way

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use portcullis::secret::Secret;
use portcullis::sim::plan::{Feature, Plan};
use portcullis::sim::world::World;

/// The system's allocator, which looks at what is given back to it.
struct Looking;

static LOOKS: AtomicBool = AtomicBool::new(false);
static SEEN: AtomicU64 = AtomicU64::new(0);
static WANTED: OnceLock<Wanted> = OnceLock::new();

/// The beginnings of all keys, and which pairs of bytes they begin with: most places are passed over at the first look.
struct Wanted {
    keys: Vec<u64>,
    first: Vec<bool>,
}

impl Wanted {
    fn of(keys: impl Iterator<Item = u64>) -> Self {
        let keys: BTreeSet<u64> = keys.collect();
        let mut first = vec![false; 1 << 16];
        for key in &keys {
            first[usize::from(*key as u16)] = true;
        }
        Self { keys: keys.into_iter().collect(), first }
    }

    /// How many of them a block holds.
    fn count(&self, block: &[u8]) -> u64 {
        let is_key = |word: &&[u8]| {
            let word = u64::from_le_bytes((*word).try_into().expect("eight bytes"));
            self.first[usize::from(word as u16)] && self.keys.binary_search(&word).is_ok()
        };
        block.windows(8).filter(is_key).count() as u64
    }
}

// SAFETY: every call goes to the system's allocator unchanged; a block is read before it is given back.
unsafe impl GlobalAlloc for Looking {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // Zeroed, so that every byte of a block may be read.
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if LOOKS.load(Ordering::Relaxed)
            && let Some(wanted) = WANTED.get()
        {
            // SAFETY: the block is the caller's, as long as the layout says, and was zeroed when it was allocated.
            let bytes = unsafe { std::slice::from_raw_parts(block, layout.size()) };
            SEEN.fetch_add(wanted.count(bytes), Ordering::Relaxed);
        }
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Looking = Looking;

/// A hostile peer opens messages with keys that it has read from the key log, and does not care what becomes of them.
fn world(seed: u64) -> World {
    World::new(Plan::draw(seed, &BTreeSet::from([Feature::Hostile])), None)
}

/// The keys of a run, as they stand in its key log.
fn keys(world: &World) -> Vec<u64> {
    let of_ike = world.ledger.ike_keys.values().flatten().flat_map(|(_, line)| line.split(',').skip(2));
    let of_esp = world.ledger.esp_keys_told.iter().flat_map(|line| line.split(','));
    of_ike
        .chain(of_esp)
        .map(|field| field.trim_matches('"').trim_start_matches("0x"))
        .filter(|field| field.len() >= 32)
        .filter_map(|field| hex::decode(field).ok())
        .map(|key| u64::from_le_bytes(key[..8].try_into().expect("it is longer")))
        .collect()
}

#[test]
fn no_key_is_left_in_memory_that_is_given_back() {
    const SEEDS: [u64; 4] = [5, 6, 9, 11];
    let told: Vec<u64> = SEEDS
        .iter()
        .flat_map(|seed| {
            let mut world = world(*seed);
            world.run();
            assert_eq!(world.violation, None);
            keys(&world)
        })
        .collect();
    assert!(told.len() > 100, "{} keys", told.len());
    // One that is not wiped, to see that it would be found.
    let planted = [0x5a, 0xa5, 0x77, 0x31, 0x9e, 0x42, 0xc8, 0x0d];
    let all = told.iter().copied().chain([u64::from_le_bytes(planted)]);
    assert!(WANTED.set(Wanted::of(all)).is_ok());
    LOOKS.store(true, Ordering::Relaxed);
    drop(Secret::copy_of(&planted));
    assert_eq!(SEEN.load(Ordering::Relaxed), 0, "a secret is wiped");
    drop(std::hint::black_box(planted.to_vec()));
    assert_eq!(SEEN.load(Ordering::Relaxed), 1, "what is not wiped is seen");
    for seed in SEEDS {
        let mut world = world(seed);
        world.run();
        drop(world);
        let left = SEEN.load(Ordering::Relaxed) - 1;
        // An optimised build moves a value with the gaps between its fields, and with what a computation has left on the
        // stack in their place: one key in a hundred may be seen there. Without optimisation there is none at all.
        let bound = if cfg!(debug_assertions) { 0 } else { told.len() as u64 / 100 };
        assert!(left <= bound, "seed {seed}: {left} of {} keys are left behind", told.len());
    }
}
