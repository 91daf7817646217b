//! The exact sum of floats, rounded once: Shewchuk's partial sums, as Python's `math.fsum` has them (J. R. Shewchuk, "Adaptive Precision
//! Floating-Point Arithmetic and Fast Robust Geometric Predicates", 1997).

/// The float that is nearest to the sum. Exact as long as no partial sum overflows.
pub(crate) fn exact_sum(values: impl Iterator<Item = f64>) -> f64 {
    // The partial sums do not overlap and rise in size; their sum is exact.
    let mut partials: Vec<f64> = Vec::new();
    for value in values {
        let mut carried = value;
        let mut kept = Vec::new();
        for partial in partials {
            let (sum, rest) = two_sum(carried, partial);
            if rest != 0.0 {
                kept.push(rest);
            }
            carried = sum;
        }
        kept.push(carried);
        partials = kept;
    }
    rounded(partials)
}

/// The sum and what it lost, exactly (Knuth).
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let of_b = sum - a;
    (sum, (a - (sum - of_b)) + (b - of_b))
}

/// From the largest down, until something is lost; half-way cases are decided by the sign of what is left.
fn rounded(mut partials: Vec<f64>) -> f64 {
    let Some(mut sum) = partials.pop() else { return 0.0 };
    let mut lost = 0.0;
    while let Some(next) = partials.pop() {
        let before = sum;
        sum = before + next;
        lost = next - (sum - before);
        if lost != 0.0 {
            break;
        }
    }
    let left = partials.last().copied().unwrap_or(0.0);
    if (lost < 0.0 && left < 0.0) || (lost > 0.0 && left > 0.0) {
        let twice = lost * 2.0;
        let moved = sum + twice;
        if twice == moved - sum {
            sum = moved;
        }
    }
    sum
}
