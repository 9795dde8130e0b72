//! What was chosen for a time loop, for people.

/// A time loop.
#[derive(Clone, Debug, PartialEq)]
pub struct LoopReport {
    pub rounds: usize,
    /// Barriers of the whole grid in a round.
    pub barriers: usize,
    pub tasks: Vec<TaskReport>,
}

/// A task of a time loop.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskReport {
    pub name: String,
    /// Where it is cut by unit, how many units there are and each CTA has.
    pub units: Option<[usize; 2]>,
    pub weight: Option<WeightReport>,
    /// Why it is cut as it is.
    pub reason: &'static str,
}

/// Where a CTA has its part of a product's weight: bytes, as it is multiplied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WeightReport {
    pub registers: usize,
    pub shared: usize,
    /// Read anew in each round.
    pub cache: usize,
}
