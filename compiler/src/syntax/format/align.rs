//! Lines under each other: the arrows of a chain, and the comments behind lines.

use super::lines::Line;

/// The most spaces by which an arrow is moved.
const MOVED: usize = 10;
/// How far a comment is behind the longest line of those that have one.
const BEHIND: usize = 4;
/// A longer line does not move the comments of others.
const LONG: usize = 64;

/// The text of lines.
pub fn text(mut lines: Vec<Line>) -> String {
    chains(&mut lines);
    let mut text = String::new();
    for group in groups(&lines) {
        let width = |line: &Line| line.indent + line.text.chars().count();
        let commented = group.iter().filter(|line| line.comment.is_some());
        let widest = commented.map(width).filter(|&width| width <= LONG).max().unwrap_or(0);
        for line in group {
            if line.spaced {
                text.push('\n');
            }
            let code = format!("{:indent$}{}", "", line.text, indent = line.indent);
            text += &match &line.comment {
                Some(comment) => format!("{code:<widest$}{:BEHIND$}{comment}\n", ""),
                None => code + "\n",
            };
        }
    }
    text
}

/// Lines that no empty line is between.
fn groups(lines: &[Line]) -> impl Iterator<Item = &[Line]> {
    lines.chunk_by(|_, next| !next.spaced)
}

/// Brings the arrows of each chain of several lines under each other, if each line begins with one.
fn chains(lines: &mut [Line]) {
    let mut first = 0;
    while first < lines.len() {
        let own = |line: &Line| line.statement == lines[first].statement || line.statement.is_none();
        let len = lines[first..].iter().take_while(|line| own(line)).count();
        let chain = &mut lines[first..first + len.max(1)];
        let mut begin =
            chain.iter().filter(|line| line.statement.is_some()).map(|line| line.arrows.first() == Some(&0));
        let starts = chain.first().is_some_and(|line| !line.arrows.is_empty());
        if starts && begin.next().is_some() && begin.all(|begins| begins) {
            align(chain);
        }
        first += len.max(1);
    }
}

/// Moves the arrows behind the first one of each line, column by column.
fn align(chain: &mut [Line]) {
    let mut rows: Vec<Vec<String>> = chain.iter().map(parts).collect();
    for column in 1.. {
        // What another arrow follows has to be as wide as what stands above and below.
        let followed = |row: &&Vec<String>| row.len() > column + 1;
        let widths: Vec<usize> =
            rows.iter().filter(followed).map(|row| row[column].chars().count()).collect();
        let (Some(least), Some(most)) = (widths.iter().min().copied(), widths.iter().max().copied()) else {
            break;
        };
        if most - least > MOVED {
            break;
        }
        for row in rows.iter_mut().filter(|row| row.len() > column + 1) {
            row[column] = format!("{:<most$}", row[column]);
        }
    }
    for (line, row) in chain.iter_mut().zip(rows).filter(|(line, _)| !line.arrows.is_empty()) {
        let (before, stages) = row.split_at(1);
        line.text = before.concat() + &stages.join(" ");
    }
}

/// What is before a line's first arrow, and what begins with each arrow.
fn parts(line: &Line) -> Vec<String> {
    let ends = line.arrows.iter().skip(1).copied().chain([line.text.len()]);
    let first = line.arrows.first().copied().unwrap_or(line.text.len());
    let cut = |from: usize, to: usize| line.text.get(from..to).unwrap_or_default().trim_end().to_owned();
    let before = line.text.get(..first).unwrap_or_default().to_owned();
    [before].into_iter().chain(line.arrows.iter().zip(ends).map(|(from, to)| cut(*from, to))).collect()
}
