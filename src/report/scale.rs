//! From numbers to places on an axis, and the numbers that stand beside it.

/// Numbers beyond this are not drawn.
const LARGEST: f64 = 1e300;

/// Whether a number has a place on an axis.
pub fn is_drawn(value: f64) -> bool {
    value.abs() <= LARGEST
}

/// An axis: what is at its ends, and where its ticks are.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    pub log: bool,
    pub low: f64,
    pub high: f64,
    pub ticks: Vec<f64>,
    /// From one tick to the next, where these are equal.
    step: f64,
}

impl Scale {
    /// One that reaches to the ticks next to these numbers, with about `count` of them.
    pub fn linear(low: f64, high: f64, count: usize) -> Self {
        let (low, high) = apart(low, high);
        let step = step(high - low, count);
        let (first, last) = ((low / step).floor(), (high / step).ceil());
        let ticks = every(first, last, step);
        Self { log: false, low: first * step, high: last * step, ticks, step }
    }

    /// One of whole numbers, that reaches no further than these.
    pub fn whole(low: f64, high: f64, count: usize) -> Self {
        let (low, high) = apart(low, high);
        let step = step(high - low, count).max(1.0);
        let ticks = every((low / step).ceil(), (high / step).floor(), step);
        Self { log: false, low, high, ticks, step }
    }

    /// A logarithmic one; both numbers are above 0. Its ticks are at 1, 2 and 5 times powers of ten, or at powers alone where the
    /// range is wide.
    pub fn log(low: f64, high: f64) -> Self {
        let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
        let wide = high.log10() - low.log10() > 2.5;
        let stride = if wide { (last - first).unsigned_abs().div_ceil(6).max(1) as usize } else { 1 };
        let factors: &[f64] = if wide { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let powers = (first..=last + stride as i32).step_by(stride);
        let all: Vec<f64> =
            powers.flat_map(|power| factors.iter().map(move |factor| factor * 10f64.powi(power))).collect();
        let from = all.iter().rposition(|&tick| tick <= low).unwrap_or(0);
        let to = all.iter().position(|&tick| tick >= high).unwrap_or(all.len() - 1).max(from + 1);
        let ticks = all.get(from..=to).map_or_else(|| vec![low, high], <[f64]>::to_vec);
        Self { log: true, low: ticks[0], high: ticks[ticks.len() - 1], ticks, step: 0.0 }
    }

    /// Where a number is, from 0 at the lower end to 1 at the upper one.
    pub fn at(&self, value: f64) -> f64 {
        let place = |value: f64| if self.log { value.max(f64::MIN_POSITIVE).log10() } else { value };
        let (low, high) = (place(self.low), place(self.high));
        ((place(value) - low) / (high - low)).clamp(0.0, 1.0)
    }

    /// What stands beside a tick.
    pub fn label(&self, tick: f64) -> String {
        if self.log {
            return compact(tick, 0.0);
        }
        // All of one axis in one unit, and as short as it can be told apart from its neighbours.
        let largest = self.low.abs().max(self.high.abs());
        if largest < 0.01 && self.step < 1e-3 && tick != 0.0 {
            return short(format!("{tick:.1e}"));
        }
        let (unit, name) = unit(largest);
        if name.is_empty() || tick == 0.0 {
            return compact(tick, self.step);
        }
        format!("{:.*}{name}", decimals(self.step / unit), tick / unit)
    }
}

/// Two numbers that are not one, around those given.
fn apart(low: f64, high: f64) -> (f64, f64) {
    let least = 1e-9 * low.abs().max(high.abs()).max(1e-300);
    if high - low > least {
        return (low, high);
    }
    let by = if low == 0.0 { 1.0 } else { 0.5 * low.abs() };
    (low - by, low + by)
}

/// 1, 2 or 5 times a power of ten, about `count` of which make the range.
fn step(range: f64, count: usize) -> f64 {
    let rough = range / count.max(1) as f64;
    let power = 10f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| rough <= factor * power).unwrap_or(10.0);
    factor * power
}

fn every(first: f64, last: f64, step: f64) -> Vec<f64> {
    let count = (last - first).clamp(0.0, 100.0) as usize;
    (0..=count)
        .map(|at| (first + at as f64) * step)
        .filter(|tick| last >= first && tick.is_finite())
        .collect()
}

/// What large numbers are counted in, from ten thousand on.
fn unit(largest: f64) -> (f64, &'static str) {
    match largest {
        large if large >= 1e13 => (1.0, ""),
        large if large >= 1e9 => (1e9, "G"),
        large if large >= 1e6 => (1e6, "M"),
        large if large >= 1e4 => (1e3, "k"),
        _ => (1.0, ""),
    }
}

/// How many decimals tell numbers apart that differ by this.
fn decimals(step: f64) -> usize {
    if step >= 1.0 || step <= 0.0 { 0 } else { (-step.log10()).ceil().clamp(0.0, 12.0) as usize }
}

/// A number in few characters: `0.5`, `250`, `20k`, `1e-4`. Numbers that differ by `step` look different.
pub fn compact(value: f64, step: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        small if small < 1e-3 => short(format!("{value:.1e}")),
        large if large >= 1e13 => short(format!("{value:.1e}")),
        some if (1000.0..10_000.0).contains(&some) && value > 0.0 => crate::show::count(value.round() as u64),
        some => {
            let (unit, name) = unit(some);
            let text = match step {
                0.0 => format!("{:.4}", value / unit).trim_end_matches('0').trim_end_matches('.').into(),
                step => format!("{:.*}", decimals(step / unit), value / unit),
            };
            text + name
        }
    }
}

/// Without a decimal that says nothing.
fn short(scientific: String) -> String {
    scientific.replace(".0e", "e")
}

/// A number with about four digits: `4.723`, `0.0016`, `20,480`, `1.2e-7`.
pub fn digits(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        small if small < 1e-4 => format!("{value:.2e}"),
        large if large >= 1e9 => format!("{value:.3e}"),
        some if some >= 1000.0 => {
            let sign = if value < 0.0 { "-" } else { "" };
            sign.to_owned() + &crate::show::count(some.round() as u64)
        }
        some => {
            let whole = some.log10().floor() as i32;
            format!("{value:.*}", (3 - whole).clamp(0, 6) as usize)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: &Scale) -> Vec<String> {
        scale.ticks.iter().map(|&tick| scale.label(tick)).collect()
    }

    #[test]
    fn ticks_are_round_numbers_around_what_is_shown() {
        let scale = Scale::linear(0.13, 4.72, 5);
        assert_eq!((scale.low, scale.high), (0.0, 5.0));
        assert_eq!(labels(&scale), ["0", "1", "2", "3", "4", "5"]);
        assert_eq!((scale.at(0.0), scale.at(2.5), scale.at(9.0)), (0.0, 0.5, 1.0));
        assert_eq!(labels(&Scale::linear(4.712, 4.7236, 4)), ["4.710", "4.715", "4.720", "4.725"]);
        assert_eq!(labels(&Scale::linear(0.0, 174_000.0, 4)), ["0", "50k", "100k", "150k", "200k"]);
        assert_eq!(labels(&Scale::linear(0.0, 1.4e6, 4)), ["0", "0.5M", "1.0M", "1.5M"]);
        assert_eq!(labels(&Scale::linear(0.0, 12_000.0, 4)), ["0", "5k", "10k", "15k"]);
        assert_eq!(labels(&Scale::linear(0.0, 0.00021, 3)), ["0", "1e-4", "2e-4", "3e-4"]);
        assert_eq!(labels(&Scale::linear(0.0005, 0.0015, 3)), ["5e-4", "1e-3", "1.5e-3"]);
        assert_eq!(labels(&Scale::linear(0.0, 0.003, 4)), ["0", "0.001", "0.002", "0.003"]);
        assert_eq!(labels(&Scale::linear(-3.0, 3.0, 3)), ["-4", "-2", "0", "2", "4"]);
    }

    #[test]
    fn an_axis_of_whole_numbers_ends_where_it_is_told_to() {
        let scale = Scale::whole(0.0, 2670.0, 5);
        assert_eq!((scale.low, scale.high), (0.0, 2670.0));
        assert_eq!(labels(&scale), ["0", "1,000", "2,000"]);
        assert_eq!(labels(&Scale::whole(1.0, 3.0, 5)), ["1", "2", "3"]);
        assert_eq!(labels(&Scale::whole(1.0, 1.0, 5)), ["1"]);
    }

    #[test]
    fn logarithmic_ticks_are_few() {
        assert_eq!(labels(&Scale::log(1.0036, 32.9)), ["1", "2", "5", "10", "20", "50"]);
        assert_eq!(
            labels(&Scale::log(90.0, 11_000.0)),
            ["50", "100", "200", "500", "1,000", "2,000", "5,000", "10k", "20k"]
        );
        let wide = Scale::log(1e-3, 1e40);
        assert!(wide.ticks.len() <= 8 && wide.low <= 1e-3 && wide.high >= 1e40, "{wide:?}");
        let middle = Scale::log(1.0, 100.0).at(10.0);
        assert!((middle - 0.5).abs() < 1e-12);
    }

    #[test]
    fn no_numbers_break_an_axis() {
        let numbers = [0.0, 1.0, -1.0, 1e-300, 1e300, -1e300, 1e17, 1e17 + 16.0, f64::MIN_POSITIVE, 4.0];
        for low in numbers {
            for high in numbers.into_iter().filter(|&high| high >= low) {
                let mut scales = vec![Scale::linear(low, high, 5), Scale::whole(low, high, 5)];
                scales.extend((low > 0.0).then(|| Scale::log(low, high)));
                for scale in scales {
                    assert!(scale.ticks.len() <= 12, "{low} {high}: {scale:?}");
                    assert!(
                        [low, high].iter().all(|&value| scale.at(value).is_finite()),
                        "{low} {high}: {scale:?}"
                    );
                    assert!(scale.low < scale.high, "{low} {high}: {scale:?}");
                    assert!(labels(&scale).iter().all(|label| label.len() <= 9), "{:?}", labels(&scale));
                }
            }
        }
    }

    #[test]
    fn numbers_in_tables_have_four_digits() {
        let texts = [0.0, 4.722_795, 0.001_593, 1.59e-7, 174_775.2, 23.88, -5.0, 1e12].map(digits);
        assert_eq!(texts, ["0", "4.723", "0.001593", "1.59e-7", "174,775", "23.88", "-5.000", "1.000e12"]);
    }
}
