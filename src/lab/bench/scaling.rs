//! `bench path`, on several threads at once: each has two data paths of its own that face each other, and nothing in common
//! with the others, as workers have it whose flows stay where they belong. What keeps the sum below the multiple of one is the
//! machine: cores that share a physical one, its caches, memory and clock.

use std::sync::Barrier;
use std::time::Duration;

use super::figure::Figure;
use super::path::Course;
use super::{pins, stats};
use crate::platform::clock;
use crate::platform::privileges::bind_to_processor;

/// Samples for each number of threads, taken in turn.
const SAMPLES: u32 = 9;
/// Beyond this many threads their number doubles from step to step.
const ONE_BY_ONE: usize = 4;

/// How many threads run at once: as many as there are processors at last.
fn steps() -> Vec<usize> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let doubled = std::iter::successors(Some(2 * ONE_BY_ONE), |count| count.checked_mul(2));
    let mut steps: Vec<usize> = (1..=ONE_BY_ONE).chain(doubled.take_while(|count| *count < cores)).collect();
    steps.retain(|count| *count < cores);
    steps.push(cores);
    steps
}

/// How many variants there are.
pub(super) fn variants() -> usize {
    2 * steps().len()
}

/// Measures single packets and trains, `each` long for a variant, each thread on a processor of its own if that is wanted.
pub(super) fn measure(each: Duration, say: &mut dyn FnMut(&str)) -> Vec<Figure> {
    let processors = pins::processors();
    let mut figures = of_kind(each, processors, "single", Course::usual, say);
    figures.extend(of_kind(each, processors, "train", Course::usual_train, say));
    figures
}

fn of_kind(
    each: Duration,
    processors: &[usize],
    kind: &str,
    make: fn() -> Course,
    say: &mut dyn FnMut(&str),
) -> Vec<Figure> {
    let steps = steps();
    let most = steps.last().copied().unwrap_or(1);
    let mut courses: Vec<Course> = (0..most).map(|_| make()).collect();
    let mut samples = vec![Vec::new(); steps.len()];
    for round in 0..SAMPLES {
        for (count, samples) in steps.iter().zip(&mut samples) {
            if round == 0 {
                say(&case(kind, *count));
            }
            samples.push(at_once(courses.iter_mut().take(*count), *count, processors, each / SAMPLES));
        }
    }
    let alone = samples.first().and_then(|samples| stats::median(samples)).unwrap_or(0.0);
    let figures = steps.iter().zip(samples).map(|(count, samples)| {
        let layer =
            format!("{}, out and in, on {count} threads with two data paths each", Course::layer(kind == "train"));
        let mut figure =
            Figure::new("portcullis", "", &case(kind, *count), layer, "packets a second in sum").of(samples);
        if let Some(sum) = stats::median(&figure.samples).filter(|_| *count > 1 && alone > 0.0) {
            figure.note(format!("{:.2} times what one thread does", sum / alone));
        }
        figure
    });
    figures.collect()
}

fn case(kind: &str, count: usize) -> String {
    format!("threads-{count}-{kind}")
}

/// Packets a second of all courses together, each on a thread of its own.
fn at_once<'a>(
    courses: impl Iterator<Item = &'a mut Course>,
    count: usize,
    processors: &[usize],
    window: Duration,
) -> f64 {
    let start = Barrier::new(count);
    std::thread::scope(|scope| {
        let run = |(at, course): (usize, &'a mut Course)| {
            let start = &start;
            let processor = processors.get(at % processors.len().max(1)).copied();
            scope.spawn(move || {
                // One that it may not use after all: then it goes where the kernel puts it.
                let _ = processor.map(bind_to_processor);
                start.wait();
                let began = clock::now();
                let mut packets = 0;
                loop {
                    packets += course.there_and_in();
                    let took = clock::now() - began;
                    if took >= window {
                        #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
                        return packets as f64 / took.as_secs_f64();
                    }
                }
            })
        };
        let threads: Vec<_> = courses.enumerate().map(run).collect();
        threads.into_iter().map(|thread| thread.join().expect("it only counts")).sum()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_end_with_every_processor_and_none_comes_twice() {
        let steps = steps();
        assert!(steps.windows(2).all(|pair| pair[0] < pair[1]), "{steps:?}");
        assert_eq!(steps.last().copied(), std::thread::available_parallelism().ok().map(std::num::NonZero::get));
    }

    #[test]
    fn several_threads_are_summed() {
        let mut courses = [Course::usual(), Course::usual()];
        assert!(at_once(courses.iter_mut(), 2, &[0], Duration::from_millis(1)) > 0.0);
    }
}
