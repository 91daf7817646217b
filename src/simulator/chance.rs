//! Chance that repeats: xoshiro256** seeded by splitmix64, and the few distributions that the simulator draws from.
//!
//! No logarithm or cosine of the platform is used, only arithmetic that IEEE 754 fixes, so the same seed gives the same bits
//! on every machine.

/// A generator of random numbers.
#[derive(Clone, Debug)]
pub(crate) struct Chance {
    state: [u64; 4],
}

impl Chance {
    pub(crate) fn new(seed: u64) -> Chance {
        let mut mix = seed;
        let mut next = || {
            mix = mix.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (mix ^ (mix >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        Chance { state: [next(), next(), next(), next()] }
    }

    /// A generator of its own, drawn from this one.
    pub(super) fn branch(&mut self) -> Chance {
        Chance::new(self.bits())
    }

    fn bits(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= shifted;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// Even over `[0, 1)`.
    fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Even over `[from, to)`.
    pub(crate) fn uniform(&mut self, from: f64, to: f64) -> f64 {
        from + (to - from) * self.unit()
    }

    /// An index below `count`, which is at least 1.
    pub(super) fn below(&mut self, count: usize) -> usize {
        ((u128::from(self.bits()) * count as u128) >> 64) as usize
    }

    /// One of a list that is not empty.
    pub(crate) fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }

    /// Normal, by the sum of twelve evens (Irwin and Hall): within 6 deviations, close enough for habits.
    pub(super) fn normal(&mut self, mean: f64, deviation: f64) -> f64 {
        let sum: f64 = (0..12).map(|_| self.unit()).sum();
        mean + deviation * (sum - 6.0)
    }

    /// Poisson, by counting in the distribution function from 0 on; for small means.
    pub(super) fn poisson(&mut self, mean: f64) -> u32 {
        let mut rest = self.unit();
        let mut probability = exp_of_minus(mean);
        let mut count = 0;
        while rest >= probability && count < MOST {
            rest -= probability;
            count += 1;
            probability *= mean / f64::from(count);
        }
        count
    }
}

/// A bound on counts, far above what a small mean gives.
const MOST: u32 = 1_000;

/// `exp(-x)` by its series on a 64th of `x`, squared back six times.
fn exp_of_minus(x: f64) -> f64 {
    let small = x / 64.0;
    let (mut sum, mut term) = (1.0, 1.0);
    for n in 1..20 {
        term *= small / f64::from(n);
        sum += term;
    }
    let mut power: f64 = 1.0 / sum;
    for _ in 0..6 {
        power *= power;
    }
    power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distributions_have_their_means_and_spreads() {
        let mut chance = Chance::new(7);
        let n = 100_000;
        let normals: Vec<f64> = (0..n).map(|_| chance.normal(50.0, 10.0)).collect();
        let mean = normals.iter().sum::<f64>() / f64::from(n);
        let variance = normals.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / f64::from(n);
        assert!((mean - 50.0).abs() < 0.2 && (variance - 100.0).abs() < 2.0, "{mean} {variance}");
        for expected in [0.0, 0.5, 2.0, 3.9] {
            let counts: Vec<f64> = (0..n).map(|_| f64::from(chance.poisson(expected))).collect();
            let mean = counts.iter().sum::<f64>() / f64::from(n);
            let variance = counts.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / f64::from(n);
            assert!((mean - expected).abs() < 0.05 && (variance - expected).abs() < 0.1, "{expected}: {mean} {variance}");
        }
        assert!((exp_of_minus(3.0) - (-3.0_f64).exp()).abs() < 1e-15);
        assert!((0..n).all(|_| chance.below(3) < 3 && (0.0..1.0).contains(&chance.unit())));
    }

    #[test]
    fn a_seed_is_a_golden_sequence() {
        // The published test vector of splitmix64 with seed 1234567 is the state that xoshiro starts from.
        let state = Chance::new(1_234_567).state;
        assert_eq!(state[..3], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }
}
