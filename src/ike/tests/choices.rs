//! Counts through all sequences of choices, depth first: every order in which messages can arrive.

/// The choices of one run, and which run comes next.
#[derive(Default)]
pub(super) struct Choices {
    taken: Vec<(usize, usize)>,
    next: usize,
}

impl Choices {
    /// One of `of` ways to go on.
    pub(super) fn choose(&mut self, of: usize) -> usize {
        if self.next == self.taken.len() {
            self.taken.push((0, of));
        }
        let (choice, expected) = self.taken[self.next];
        assert_eq!(expected, of, "a run repeats itself");
        self.next += 1;
        choice
    }

    /// Whether there is another run.
    pub(super) fn advance(&mut self) -> bool {
        self.next = 0;
        while let Some((choice, of)) = self.taken.pop() {
            if choice + 1 < of {
                self.taken.push((choice + 1, of));
                return true;
            }
        }
        false
    }
}
