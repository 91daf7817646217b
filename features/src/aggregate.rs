//! Aggregates: the algebra behind every feature.
//!
//! Each function lifts events into a partial, partials merge in any order to the same bits (T18), and a partial is lowered to
//! a value at the end. [`Function`] is what a definition names; [`Partial`] is what chunks keep.

/// What a feature computes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Function {
    /// Number of events (`"*"`), or of non-null values.
    Count,
    /// Exact for integers; for floats exact until one final rounding.
    Sum,
    /// Sum divided by count.
    Mean,
    /// The least value.
    Min,
    /// The greatest value.
    Max,
    /// Mean squared distance from the mean, over n.
    VarPop,
    /// The same over n - 1; null below two values.
    VarSamp,
    /// Square root of [`Function::VarPop`].
    StddevPop,
    /// Square root of [`Function::VarSamp`].
    StddevSamp,
    /// The value of the first event in order.
    First,
    /// The value of the last event in order.
    Last,
    /// The values of the first k events, oldest first.
    FirstK {
        /// How many.
        k: u32,
    },
    /// The values of the last k events, newest first.
    LastK {
        /// How many.
        k: u32,
    },
    /// Number of different values: exact up to a bound, then HyperLogLog.
    Distinct {
        /// The bound.
        exact_up_to: u32,
    },
    /// The q-quantile by DDSketch, within 1 % of the value.
    Quantile {
        /// In 0..=1.
        q: f64,
    },
    /// The k most frequent values, the most frequent first, ties by value.
    TopK {
        /// How many.
        k: u32,
    },
    /// Events a second over the length of the window.
    Rate,
    /// Seconds between the last event in the window and the as-of time.
    TimeSinceLast,
}
