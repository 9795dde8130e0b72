//! A chart: lines over a training as SVG, with the numbers behind them in a table.

use std::collections::BTreeMap;
use std::fmt::Write;

use maud::{Markup, html};

use super::scale::{Scale, digits};
use super::series::{Look, Series};

/// The picture's size and its margins. It is scaled to the width that there is.
const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 44.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = 22.0;

/// Lines with as many points have a dot at each.
const DOTS: usize = 40;

/// How numbers are laid out upwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// From the smallest number to the largest.
    Near,
    /// From zero.
    Zero,
    /// Logarithmic if the largest number is so many times the smallest.
    Wide(u32),
}

/// Lines over a training.
#[derive(Clone, Debug)]
pub struct Chart {
    /// Unique on the page.
    pub id: String,
    pub title: &'static str,
    /// What is counted from left to right.
    pub by: &'static str,
    pub axis: Axis,
    /// What stands behind each number.
    pub unit: &'static str,
    pub series: Vec<Series>,
}

impl Chart {
    /// Whether there is anything to be seen.
    pub fn is_empty(&self) -> bool {
        self.series.iter().all(|series| series.drawn().next().is_none())
    }

    pub fn figure(&self) -> Markup {
        html! {
            figure class="chart" {
                figcaption { (self.title) " " span class="quiet" { "by " (self.by) @if self.scales().1.log { ", logarithmic" } } }
                (self.picture())
                details {
                    summary { "numbers" }
                    div class="wide" tabindex="0" { (self.table()) }
                    @for note in self.series.iter().filter_map(Series::note) {
                        p class="quiet" { (note) ". The run's steps.jsonl and metrics.jsonl have all." }
                    }
                }
            }
        }
    }

    /// Of the numbers from left to right, and of those upwards.
    fn scales(&self) -> (Scale, Scale) {
        let drawn = || self.series.iter().flat_map(Series::drawn);
        let ends = |values: &mut dyn Iterator<Item = f64>| {
            let start = (f64::INFINITY, f64::NEG_INFINITY);
            let (low, high) = values.fold(start, |(low, high), value| (low.min(value), high.max(value)));
            if low <= high { (low, high) } else { (0.0, 1.0) }
        };
        let (left, right) = ends(&mut drawn().map(|(x, _)| x));
        let (low, high) = ends(&mut drawn().map(|(_, y)| y));
        // A training starts at its beginning, unless this is a part of it.
        let left = if left == right || left < 0.1 * right { left.min(0.0) } else { left };
        let across = Scale::whole(left, right, 5);
        let upwards = match self.axis {
            Axis::Wide(times) if low > 0.0 && high > f64::from(times) * low => Scale::log(low, high),
            Axis::Zero => Scale::linear(low.min(0.0), high, 4),
            _ => Scale::linear(low, high, 4),
        };
        (across, upwards)
    }

    fn picture(&self) -> Markup {
        let (across, upwards) = self.scales();
        let x = |value: f64| LEFT + across.at(value) * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| HEIGHT - BOTTOM - upwards.at(value) * (HEIGHT - TOP - BOTTOM);
        let place = |value: f64| format!("{value:.1}");
        let (title, desc) = (format!("{}-title", self.id), format!("{}-desc", self.id));
        html! {
            svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-labelledby={ (title) " " (desc) }
                data-left=(LEFT / WIDTH) data-right=(1.0 - RIGHT / WIDTH) data-low=(across.low) data-high=(across.high) {
                title id=(title) { (self.title) " by " (self.by) }
                desc id=(desc) { (self.description()) }
                g class="grid" {
                    @for &tick in &upwards.ticks {
                        line x1=(LEFT) x2=(WIDTH - RIGHT) y1=(place(y(tick))) y2=(place(y(tick))) {}
                    }
                }
                g class="labels" aria-hidden="true" {
                    @for &tick in &upwards.ticks {
                        text x=(LEFT - 5.0) y=(place(y(tick) + 3.5)) text-anchor="end" {
                            (upwards.label(tick)) (self.unit.trim())
                        }
                    }
                    @for &tick in &across.ticks {
                        text x=(place(x(tick))) y=(HEIGHT - BOTTOM + 14.0) text-anchor=(anchor(x(tick))) { (across.label(tick)) }
                    }
                }
                @for series in &self.series { (line(series, &x, &y)) }
            }
        }
    }

    /// Where each line begins and ends, in a sentence.
    fn description(&self) -> String {
        let mut text = String::new();
        let number = |value: f64| digits(value) + self.unit;
        for series in &self.series {
            let Some(first) = series.drawn().next() else { continue };
            let last = series.drawn().last().unwrap_or(first);
            let by = |a: &(f64, f64), b: &(f64, f64)| a.1.total_cmp(&b.1);
            let lowest = series.drawn().min_by(by).unwrap_or(first);
            let highest = series.drawn().max_by(by).unwrap_or(first);
            let place = |x: f64| crate::show::count(x as u64);
            let at = |point: (f64, f64)| format!("{} at {} {}", number(point.1), self.by, place(point.0));
            // Writing into memory does not fail.
            let _ = write!(
                text,
                "{}: from {} to {}; lowest {}, highest {}. ",
                series.name,
                at(first),
                at(last),
                at(lowest),
                at(highest)
            );
        }
        text.trim_end().to_owned()
    }

    fn table(&self) -> Markup {
        let mut rows: BTreeMap<u64, Vec<Option<f64>>> = BTreeMap::new();
        for (column, series) in self.series.iter().enumerate() {
            for &(x, y) in &series.points {
                let cells = rows.entry(x as u64).or_insert_with(|| vec![None; self.series.len()]);
                cells[column] = Some(y);
            }
        }
        html! {
            table class="numbers" {
                thead { tr {
                    th scope="col" { (self.by) }
                    @for series in &self.series { th scope="col" { (series.name) } }
                } }
                tbody { @for (x, cells) in rows { tr {
                    th scope="row" data-x=(x) { (crate::show::count(x)) }
                    @for cell in cells { td { @match cell {
                        Some(value) if value.is_finite() => { (digits(value)) (self.unit) },
                        Some(value) => { (value) },
                        None => {},
                    } } }
                } } }
            }
        }
    }
}

/// How a number below the chart stands to its tick, so that it stays in the picture.
fn anchor(x: f64) -> &'static str {
    if x > WIDTH - 1.5 * RIGHT { "end" } else { "middle" }
}

/// A line with its gaps, and a dot where a point stands alone.
fn line(series: &Series, x: &dyn Fn(f64) -> f64, y: &dyn Fn(f64) -> f64) -> Markup {
    let mut path = String::new();
    for part in series.parts().filter(|part| part.len() > 1) {
        for (at, point) in part.iter().enumerate() {
            let to = if at == 0 { 'M' } else { 'L' };
            // Writing into memory does not fail.
            let _ = write!(path, "{to}{:.1} {:.1}", x(point.0), y(point.1));
        }
    }
    let dotted = series.look == Look::Dotted && series.points.len() <= DOTS;
    let dots = series.parts().filter(|part| dotted || part.len() == 1).flatten();
    let look = if series.look == Look::Faint { " faint" } else { "" };
    html! {
        g class={ "line s" (series.slot) (look) } {
            path d=(path) {}
            @for &(at, value) in dots { circle cx=(format!("{:.1}", x(at))) cy=(format!("{:.1}", y(value))) r="2.4" {} }
        }
    }
}

/// What a line looks like, for a legend.
pub fn swatch(slot: usize) -> Markup {
    html! {
        svg class="swatch" viewBox="0 0 28 10" aria-hidden="true" { g class={ "line s" (slot) } { path d="M1 5L27 5" {} } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>, axis: Axis) -> Chart {
        let series = vec![Series::new("training", 0, Look::Plain, &points, false)];
        Chart { id: "loss".into(), title: "Loss", by: "update", axis, unit: "", series }
    }

    fn drawn(chart: &Chart) -> String {
        chart.figure().into_string()
    }

    #[test]
    fn a_line_goes_through_its_points() {
        let svg = drawn(&chart(vec![(0.0, 0.0), (50.0, 2.0), (100.0, 4.0)], Axis::Near));
        assert!(svg.contains("d=\"M44.0 198.0L196.0 103.0L348.0 8.0\""), "{svg}");
        assert!(svg.contains("training: from 0 at update 0 to 4.000 at update 100; lowest 0"), "{svg}");
        assert!(svg.contains("<th scope=\"row\" data-x=\"50\">50</th><td>2.000</td>"), "{svg}");
        assert!(!svg.contains("<circle"));
    }

    #[test]
    fn gaps_cut_a_line_and_what_stands_alone_is_a_dot() {
        let points = vec![
            (1.0, 1.0),
            (2.0, 2.0),
            (3.0, f64::NAN),
            (4.0, 3.0),
            (5.0, f64::INFINITY),
            (6.0, 1.0),
            (7.0, 1.0),
        ];
        let svg = drawn(&chart(points, Axis::Near));
        assert_eq!(svg.matches("<circle").count(), 1, "{svg}");
        let path = svg.split("<path d=\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!((path.matches('M').count(), path.matches('L').count()), (2, 2), "{path}");
        assert!(!path.contains("NaN") && !path.contains("inf"), "{path}");
        assert!(svg.contains("<td>NaN</td>") && svg.contains("<td>inf</td>"), "{svg}");
    }

    #[test]
    fn any_few_points_make_a_chart() {
        for points in
            [vec![], vec![(1.0, 3.0)], vec![(1.0, f64::NAN)], vec![(5.0, 2.0), (9.0, 2.0)], vec![(1.0, 0.0)]]
        {
            for axis in [Axis::Near, Axis::Zero, Axis::Wide(10)] {
                let chart = chart(points.clone(), axis);
                assert_eq!(chart.is_empty(), !points.iter().any(|point| point.1.is_finite()));
                let svg = chart.picture().into_string();
                assert!(!svg.contains("NaN") && !svg.contains("inf"), "{points:?}: {svg}");
            }
        }
    }

    #[test]
    fn wide_ranges_are_logarithmic() {
        let wide = chart(vec![(1.0, 1.0), (2.0, 100.0), (3.0, 10_000.0)], Axis::Wide(10));
        assert!(drawn(&wide).contains("L196.0 103.0L"), "{}", drawn(&wide));
        assert!(drawn(&wide).contains("logarithmic"));
        let narrow = chart(vec![(1.0, 1.0), (2.0, 5.0)], Axis::Wide(10));
        assert!(!drawn(&narrow).contains("logarithmic"));
        let with_zero = chart(vec![(1.0, 0.0), (2.0, 5.0)], Axis::Wide(10));
        assert!(!drawn(&with_zero).contains("logarithmic"));
    }
}
