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
    fn tables_are_aligned() {
        let rows = vec![vec!["a".into(), "1".into()], vec!["long".into(), "1,000".into()]];
        assert_eq!(table(&["name", "n"], &rows), "name      n\na         1\nlong  1,000\n");
    }
}
