//! Seeded random draws for tests: the same on every machine.

/// SplitMix64: three lines, and good enough for any test.
#[derive(Debug, Clone)]
pub struct Draws(u64);

impl Draws {
    /// Prints the seed, so that a test that fails says which draws it failed on.
    pub fn seeded(seed: u64) -> Draws {
        println!("seed {seed}");
        Draws(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Returns a number between 0 and 1, both left out.
    pub fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// Returns a standard normal number.
    pub fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Returns a count of independent events, of which `mean` are expected.
    pub fn count(&mut self, mean: f64) -> u32 {
        let (mut count, mut product, limit) = (0, self.uniform(), (-mean).exp());
        while product > limit {
            product *= self.uniform();
            count += 1;
        }
        count
    }

    /// Returns numbers of variance 1, of which each remembers `memory` of the one before.
    pub fn wandering(&mut self, memory: f64, len: usize) -> Vec<f64> {
        let fresh = (1.0 - memory * memory).sqrt();
        let mut value = self.normal();
        let numbers = (0..len).map(|_| {
            value = memory * value + fresh * self.normal();
            value
        });
        numbers.collect()
    }
}
