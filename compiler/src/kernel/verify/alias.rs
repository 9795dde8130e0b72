//! Whether two accesses can meet: bounded integer equations in the indices of their addresses.

/// An index or a difference of indices: `coefficient * x` with `low <= x <= high`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unknown {
    pub coefficient: i64,
    pub low: i64,
    pub high: i64,
}

/// Candidates that one question may try. Strides of row-major arrays need a handful.
const BUDGET: usize = 10_000;

/// Whether the unknowns can add up to `target`. Beyond the budget the answer is no: the caller then
/// misses a fault, which is left to the interpreters to find.
pub(super) fn can_reach(unknowns: &[Unknown], target: i64) -> bool {
    let mut unknowns: Vec<Unknown> = unknowns.iter().copied().filter(|u| u.coefficient != 0).collect();
    if unknowns.iter().any(|u| u.low > u.high) {
        return false;
    }
    unknowns.sort_by_key(|u| std::cmp::Reverse(u.coefficient.abs()));
    search(&unknowns, target, &mut BUDGET.clone())
}

fn search(unknowns: &[Unknown], target: i64, budget: &mut usize) -> bool {
    let Some((first, rest)) = unknowns.split_first() else { return target == 0 };
    // What the rest can reach bounds what is left for the first.
    let (least, most) = rest.iter().fold((0, 0), |(least, most), u| {
        let (a, b) = (u.coefficient * u.low, u.coefficient * u.high);
        (least + a.min(b), most + a.max(b))
    });
    let (mut low, mut high) = (target - most, target - least);
    if first.coefficient < 0 {
        (low, high) = (-high, -low);
    }
    let size = first.coefficient.abs();
    let from = low.div_euclid(size) + i64::from(low.rem_euclid(size) != 0);
    let to = high.div_euclid(size);
    for x in from.max(first.low)..=to.min(first.high) {
        if *budget == 0 {
            return false;
        }
        *budget -= 1;
        if search(rest, target - first.coefficient * x, budget) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unknown(coefficient: i64, low: i64, high: i64) -> Unknown {
        Unknown { coefficient, low, high }
    }

    #[test]
    fn rows_meet_only_beyond_their_width() {
        let columns = unknown(1, -9, 9);
        let other_rows = unknown(10, 1, 4);
        assert!(!can_reach(&[other_rows, columns], 0));
        assert!(can_reach(&[other_rows, unknown(1, -10, 10)], 0));
    }

    #[test]
    fn agrees_with_enumeration() {
        for target in -30..30 {
            for (a, b) in [(3, 5), (4, 6), (-7, 2)] {
                let found = (-3..=2).any(|x| (0..=4).any(|y| a * x + b * y == target));
                assert_eq!(can_reach(&[unknown(a, -3, 2), unknown(b, 0, 4)], target), found);
            }
        }
    }
}
