//! Inputs that are a list of steps, (what, length, bytes) each, and how they are changed so that they stay such a list.
//!
//! A blind change of a byte in front of a length moves everything behind it to another place. Here a step is taken out,
//! doubled, moved, or changed inside, and the rest stays what it was.

/// Reads the next step off `rest`: what, and the bytes. A length that reaches too far takes what is there.
pub fn next<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let ([what, length], more) = rest.split_first_chunk()?;
    let (bytes, more) = more.split_at(usize::from(*length).min(more.len()));
    *rest = more;
    Some((*what, bytes))
}

/// Writes a step.
pub fn put(out: &mut Vec<u8>, what: u8, bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(255)];
    out.extend([what, bytes.len() as u8]);
    out.extend_from_slice(bytes);
}

/// libFuzzer's own changes: bytes in a room, how many there are, how many there may be; how many there are then.
pub type Blind<'a> = &'a mut dyn FnMut(&mut [u8], usize, usize) -> usize;

type Step = (u8, Vec<u8>);

/// What a list looks like: so many bytes in front of it, and so many steps at most.
#[derive(Clone, Copy)]
pub struct List {
    /// Bytes in front of the first step.
    pub prefix: usize,
    /// Steps that are read.
    pub most: usize,
}

/// Changes the input in `data[..size]`. Gives the new size.
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32, list: List, blind: Blind<'_>) -> usize {
    let List { prefix, most } = list;
    let mut random = Random::new(seed);
    if size <= prefix || random.below(16) == 0 {
        return blind(data, size, max_size);
    }
    let (head, mut rest) = data[..size].split_at(prefix);
    let mut head = head.to_vec();
    let mut steps: Vec<Step> =
        std::iter::from_fn(|| next(&mut rest)).map(|(what, with)| (what, with.to_vec())).collect();
    for _ in 0..=random.below(3) {
        change(&mut head, &mut steps, &mut random, blind);
    }
    let mut out = head;
    for (what, with) in steps.iter().take(most) {
        if out.len() + 2 + with.len() <= max_size {
            put(&mut out, *what, with);
        }
    }
    let size = out.len().min(max_size);
    data[..size].copy_from_slice(&out[..size]);
    size
}

/// The first steps of `one` and the last ones of `other`, in `out`; how many bytes that is.
pub fn cross(one: &[u8], other: &[u8], out: &mut [u8], seed: u32, list: List) -> usize {
    let List { prefix, most } = list;
    let mut random = Random::new(seed);
    let read = |data: &[u8]| -> Vec<Step> {
        let mut rest = data.get(prefix..).unwrap_or_default();
        std::iter::from_fn(|| next(&mut rest)).map(|(what, with)| (what, with.to_vec())).collect()
    };
    let (first, last) = (read(one), read(other));
    let (until, from) = (random.below(first.len() + 1), random.below(last.len() + 1));
    let mut made = one.get(..prefix).unwrap_or(one).to_vec();
    for (what, with) in first[..until].iter().chain(&last[from..]).take(most) {
        if made.len() + 2 + with.len() <= out.len() {
            put(&mut made, *what, with);
        }
    }
    let size = made.len().min(out.len());
    out[..size].copy_from_slice(&made[..size]);
    size
}

fn change(head: &mut [u8], steps: &mut Vec<Step>, random: &mut Random, blind: Blind<'_>) {
    let at = random.below(steps.len().max(1));
    let to = random.below(steps.len() + 1);
    match (random.below(14), steps.get_mut(at)) {
        (0, Some((what, _))) => *what ^= 1 << random.below(8),
        (1, _) if !head.is_empty() => {
            let place = random.below(head.len());
            head[place] ^= 1 << random.below(8);
        }
        (2, Some(_)) => drop(steps.remove(at)),
        (3 | 4, Some(step)) => {
            let step = step.clone();
            let times = if random.below(12) == 0 { 1 + random.below(160) } else { 1 };
            steps.splice(to..to, std::iter::repeat_n(step, times));
        }
        (5, Some(_)) => {
            let step = steps.remove(at);
            steps.insert(to.min(steps.len()), step);
        }
        // Four bytes are an edit, as some targets read them.
        (6 | 7, Some((_, with))) if with.len() < 252 => with.extend(random.next().to_le_bytes()),
        (8, Some((_, with))) => with.truncate(random.below(with.len() + 1)),
        (9, Some((_, with))) if !with.is_empty() => {
            let place = random.below(with.len());
            with[place] = random.next() as u8;
        }
        (10..13, Some((_, with))) => {
            let mut room = [0; 255];
            let len = with.len();
            room[..len].copy_from_slice(with);
            let len = blind(&mut room, len, 255);
            *with = room[..len.min(255)].to_vec();
        }
        _ => {
            let step = (random.next() as u8, random.next().to_le_bytes()[..random.below(5)].to_vec());
            steps.insert(to, step);
        }
    }
}

/// Xorshift (Marsaglia 2003): the same seed, the same change.
pub struct Random(u32);

impl Random {
    /// From libFuzzer's seed.
    #[must_use]
    pub fn new(seed: u32) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9) | 1)
    }

    /// The next 32 bits.
    pub fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.next() as usize % bound.max(1)
    }
}
