//! Numbers on the command line, and what is wrong with others.

const MOST_THREADS: u16 = 1024;

/// A whole number of at least `LEAST`, as large as `T` can be.
pub fn whole<T: TryFrom<u64>, const LEAST: u64>(text: &str) -> Result<T, String> {
    let number: Option<i128> = text.parse().ok();
    let least = i128::from(LEAST);
    match number
        .map(|number| (number, u64::try_from(number).ok().and_then(|number| T::try_from(number).ok())))
    {
        Some((number, Some(value))) if number >= least => Ok(value),
        Some((number, _)) if number >= least => Err("this is too large".into()),
        _ => Err(format!("this must be a whole number of at least {LEAST}")),
    }
}

pub fn threads(text: &str) -> Result<u16, String> {
    let number = whole::<u16, 1>(text).ok().filter(|number| *number <= MOST_THREADS);
    number.ok_or_else(|| format!("this must be a whole number from 1 to {MOST_THREADS}"))
}

pub fn temperature(text: &str) -> Result<f64, String> {
    number(text).filter(|t| *t >= 0.0).ok_or_else(|| "a temperature is a number of at least 0".into())
}

pub fn probability(text: &str) -> Result<f64, String> {
    number(text)
        .filter(|p| (0.0..=1.0).contains(p))
        .ok_or_else(|| "a probability lies between 0 and 1".into())
}

fn number(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|number| number.is_finite())
}
