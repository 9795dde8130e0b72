//! Numbers, times and tables for people.

/// `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `12.3 ms`, `4.5 s`, `3 m 05 s`, `2 h 03 m`.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match seconds {
        s if s < 1.0 => format!("{:.1} ms", s * 1000.0),
        s if s < 60.0 => format!("{s:.1} s"),
        s if s < 3600.0 => format!("{} m {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} m", whole / 3600, whole / 60 % 60),
    }
}

/// A time that is only estimated: `12 s`, `85 min`, `7.4 h`.
pub fn rough(seconds: f64) -> String {
    match seconds {
        s if s < 59.5 => format!("{s:.0} s"),
        s if s < 5400.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

/// A number with four decimals at most, or two digits if it is small: `1`, `0.0625`, `0.00012`.
pub fn short(number: f64) -> String {
    let decimals = match number.abs().log10().floor() {
        power if (-300.0..-3.0).contains(&power) => 1 - power as i32,
        _ => 4,
    };
    let text = format!("{number:.*}", decimals as usize);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The last of `words`, as many as have room in `width` characters; "..." stands for those before.
pub fn tail(words: &[String], between: &str, width: usize) -> String {
    let fits = |words: &[String]| words.join(between).chars().count() <= width;
    if fits(words) {
        return words.join(between);
    }
    let with_dots = |from: usize| [&["...".to_owned()], &words[from..]].concat();
    (1..=words.len()).map(with_dots).find(|words| fits(words)).unwrap_or_default().join(between)
}

/// A token in a row or column of its own, where white space could not be seen.
pub fn token(text: &str) -> String {
    if text.trim().is_empty() { format!("{text:?}") } else { text.to_owned() }
}

/// The beginning of a text that is longer than `width` characters.
pub fn head(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(3)).chain("...".chars()).collect()
}

/// `5,000 tokens in 1.2 s, 240 us each`
pub fn stats(tokens: usize, seconds: f64) -> String {
    let each = match seconds / tokens.max(1) as f64 {
        each if each < 1e-3 => format!("{:.0} us", each * 1e6),
        each => duration(each),
    };
    format!("{} tokens in {}, {each} each", count(tokens as u64), duration(seconds))
}

/// `1 thread`, `2 threads`.
pub fn threads(count: usize) -> String {
    format!("{count} thread{}", if count == 1 { "" } else { "s" })
}

/// `[20, 35, 650]`.
pub fn shape(sizes: &[usize]) -> String {
    format!("{sizes:?}")
}

/// Rows under a header, each column as wide as its widest cell; columns of numbers to the right.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let columns = header.len();
    let cell = |row: &[String], column: usize| row.get(column).cloned().unwrap_or_default();
    let header: Vec<String> = header.iter().map(|name| (*name).to_owned()).collect();
    let width =
        |column| rows.iter().chain([&header]).map(|row| cell(row, column).chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let is_number = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    let right: Vec<bool> = (0..columns)
        .map(|column| !rows.is_empty() && rows.iter().all(|row| is_number(&cell(row, column))))
        .collect();
    let line = |row: &[String]| {
        let cells = (0..columns).map(|column| {
            let (text, width) = (cell(row, column), widths[column]);
            if right[column] { format!("{text:>width$}") } else { format!("{text:<width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    let mut out = line(&header);
    rows.iter().for_each(|row| out += &line(row));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_commas() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn durations_have_a_fitting_unit() {
        let texts = [0.0123, 4.5, 185.0, 7380.0].map(duration);
        assert_eq!(texts, ["12.3 ms", "4.5 s", "3 m 05 s", "2 h 03 m"]);
    }

    #[test]
    fn estimates_are_rough() {
        assert_eq!([3.2, 59.9, 5399.0, 26_640.0].map(rough), ["3 s", "1 min", "90 min", "7.4 h"]);
    }

    #[test]
    fn each_token_took_its_time() {
        assert_eq!(stats(5000, 1.2), "5,000 tokens in 1.2 s, 240 us each");
        assert_eq!(stats(0, 0.0), "0 tokens in 0.0 ms, 0 us each");
    }

    #[test]
    fn rates_are_short() {
        let numbers = [1.0, 0.0625, 0.0078125, 0.000123, 0.0, 20.0];
        assert_eq!(numbers.map(short), ["1", "0.0625", "0.0078", "0.00012", "0", "20"]);
    }

    #[test]
    fn long_texts_are_cut() {
        let words = ["long", "ago", "the", "mice"].map(str::to_owned);
        assert_eq!(tail(&words, " ", 17), "long ago the mice");
        assert_eq!(tail(&words, " ", 16), "... ago the mice");
        assert_eq!(tail(&words, " ", 3), "...");
        assert_eq!(tail(&words, " ", 2), "");
        assert_eq!(["mice", " ", "\n"].map(token), ["mice", "\" \"", "\"\\n\""]);
        assert_eq!([head("mice", 4), head("mice and men", 7)], ["mice", "mice..."]);
    }

    #[test]
    fn tables_are_aligned() {
        let rows = vec![vec!["a".into(), "1".into()], vec!["long".into(), "1,000".into()]];
        assert_eq!(table(&["name", "n"], &rows), "name      n\na         1\nlong  1,000\n");
    }
}
