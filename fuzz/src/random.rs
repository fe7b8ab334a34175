//! A generator of numbers that gives the same row in every run and on every machine.

/// SplitMix64: small, and good enough to choose places and values.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// The row of one input of a run.
    pub(crate) fn of(seed: u64, input: u64) -> Self {
        let mut random = Random(seed ^ input.wrapping_mul(0xd134_2543_de82_ef95));
        random.next();
        random
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below a bound, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("a usize has at most 64 bits");
        usize::try_from(self.next() % bound).expect("it is below a usize")
    }

    /// Draws an event with a chance of one in `count`.
    pub(crate) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    /// An element of a slice; `None` if it is empty.
    pub(crate) fn element<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        (!of.is_empty()).then(|| &of[self.below(of.len())])
    }
}
