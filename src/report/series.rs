//! Numbers over a training, as many as can be told apart in a chart.

use super::scale::is_drawn;

/// Points of a series that are drawn at most.
pub const MOST: usize = 200;

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    Plain,
    /// Beside another one of the same colour.
    Faint,
    /// With a dot at each point.
    Dotted,
}

/// One line of a chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    pub name: String,
    /// Which of the colours it has, with its dashes.
    pub slot: usize,
    pub look: Look,
    /// From left to right. A number that has no place is a gap.
    pub points: Vec<(f64, f64)>,
    /// How many there were before.
    pub all: usize,
    /// Whether points are means of neighbours, where there were more; else those are left out that stand out least.
    pub smooth: bool,
}

impl Series {
    /// As many points as are drawn.
    pub fn new(name: &str, slot: usize, look: Look, points: &[(f64, f64)], smooth: bool) -> Self {
        let few = if smooth { means(points, MOST) } else { thin(points, MOST) };
        Self { name: name.into(), slot, look, points: few, all: points.len(), smooth }
    }

    /// What became of the points of which there were too many.
    pub fn note(&self) -> Option<String> {
        let (all, left) = (crate::show::count(self.all as u64), self.points.len());
        let each = self.all.div_ceil(MOST);
        (left < self.all).then(|| match self.smooth {
            true => format!("{}: each is the mean of {each} of {all} points", self.name),
            false => format!("{}: {left} of {all} points, peaks among them", self.name),
        })
    }

    /// The points that have a place.
    pub fn drawn(&self) -> impl Iterator<Item = (f64, f64)> {
        self.points.iter().copied().filter(|&(_, y)| is_drawn(y))
    }

    /// The parts between gaps.
    pub fn parts(&self) -> impl Iterator<Item = &[(f64, f64)]> {
        self.points.split(|&(_, y)| !is_drawn(y)).filter(|part| !part.is_empty())
    }
}

/// At most `most` points: the first and the last, and of each stretch between them the lowest, the highest, and a gap if there is one,
/// so that no peak goes.
fn thin(points: &[(f64, f64)], most: usize) -> Vec<(f64, f64)> {
    let [first, inner @ .., last] = points else { return points.to_vec() };
    if points.len() <= most {
        return points.to_vec();
    }
    let mut kept = vec![*first];
    // A stretch keeps three points at most.
    for stretch in inner.chunks(inner.len().div_ceil((most.max(5) - 2) / 3)) {
        let drawn = || (0..stretch.len()).filter(|&at| is_drawn(stretch[at].1));
        let by = |a: &usize, b: &usize| stretch[*a].1.total_cmp(&stretch[*b].1);
        let gap = (0..stretch.len()).find(|&at| !is_drawn(stretch[at].1));
        let mut places: Vec<usize> =
            drawn().min_by(by).into_iter().chain(drawn().max_by(by)).chain(gap).collect();
        places.sort_unstable();
        places.dedup();
        kept.extend(places.iter().map(|&at| stretch[at]));
    }
    kept.push(*last);
    kept
}

/// At most `most` points, each the mean of as many neighbours, at the place of the last.
fn means(points: &[(f64, f64)], most: usize) -> Vec<(f64, f64)> {
    let mean = |part: &[(f64, f64)]| {
        let values: Vec<f64> = part.iter().map(|&(_, y)| y).filter(|&y| is_drawn(y)).collect();
        // Of none it is no number.
        (part[part.len() - 1].0, values.iter().sum::<f64>() / values.len() as f64)
    };
    points.chunks(points.len().div_ceil(most).max(1)).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_points_stay_as_they_are() {
        for count in [0, 1, 2, 3, MOST] {
            let points: Vec<(f64, f64)> = (0..count).map(|at| (at as f64, 1.0)).collect();
            assert_eq!(thin(&points, MOST), points);
        }
    }

    #[test]
    fn many_points_lose_no_peak_and_no_gap() {
        for count in [MOST + 1, 500, 10_000] {
            let mut points: Vec<(f64, f64)> =
                (0..count).map(|at| (at as f64, ((at * 7919) % 1000) as f64 / 1000.0)).collect();
            points[count / 3].1 = 50.0;
            points[count / 2].1 = f64::NAN;
            points[count / 2 + 40].1 = -50.0;
            let kept = thin(&points, MOST);
            assert!((MOST / 2..=MOST).contains(&kept.len()), "{}", kept.len());
            assert!(kept.is_sorted_by(|a, b| a.0 < b.0));
            assert_eq!((kept[0].0, kept[kept.len() - 1].0), (0.0, (count - 1) as f64));
            for value in [50.0, -50.0] {
                assert!(kept.iter().any(|&(_, y)| y == value), "{value}");
            }
            let series = Series { points: kept, ..Series::new("a", 0, Look::Plain, &points, false) };
            assert_eq!((series.parts().count(), series.all), (2, count));
            assert!(series.note().is_some_and(|note| note.ends_with(" points, peaks among them")));
        }
    }

    #[test]
    fn neighbours_are_one_point() {
        let points: Vec<(f64, f64)> = (0..1000).map(|at| (at as f64, (at % 5) as f64)).collect();
        let kept = means(&points, MOST);
        assert_eq!(kept.len(), MOST);
        assert!(kept.iter().all(|&(_, y)| y == 2.0) && kept[0].0 == 4.0 && kept[199].0 == 999.0);
        assert_eq!(means(&points[..3], MOST), &points[..3]);
        let series = Series::new("a", 0, Look::Plain, &points, true);
        assert_eq!(series.note().as_deref(), Some("a: each is the mean of 5 of 1,000 points"));
        assert_eq!(Series::new("a", 0, Look::Plain, &points[..MOST], true).note(), None);
        assert!(means(&[], MOST).is_empty() && means(&[(1.0, f64::NAN)], 1)[0].1.is_nan());
    }
}
