//! Weights that the host rounds before a run's steps, where no kernel does.

use super::{BufferId, Form, Format, Matrix};

/// A buffer that a product reads as B in place of a weight: the same numbers, each column of `op(B)` rounded.
#[derive(Clone, Debug, PartialEq)]
pub struct RoundedWeight {
    /// NN or NT.
    pub form: Form,
    pub k: usize,
    pub n: usize,
    /// The weight as it was trained.
    pub from: Matrix,
    /// Filled by the host before the prologue, and read only: a parameter that is none of the model's. B lies at its beginning,
    /// its rows one after the other.
    pub to: BufferId,
    pub format: Format,
}

impl RoundedWeight {
    /// Rows of B as it lies, and their length.
    pub fn shape(&self) -> [usize; 2] {
        match self.form {
            Form::NN | Form::TN => [self.k, self.n],
            Form::NT => [self.n, self.k],
        }
    }

    /// What [`RoundedWeight::to`] holds where the weight's buffer holds these values.
    pub fn rounded(&self, buffer: &[f32]) -> Vec<f32> {
        let [rows, width] = self.shape();
        let row = |row: usize| &buffer[self.from.at.offset + row * self.from.stride..][..width];
        let mut values: Vec<f32> = (0..rows).flat_map(row).copied().collect();
        if self.form == Form::NT {
            values.chunks_exact_mut(width.max(1)).for_each(|column| self.format.round(column));
            return values;
        }
        for j in 0..width {
            let mut column: Vec<f32> = values.iter().skip(j).step_by(width).copied().collect();
            self.format.round(&mut column);
            values.iter_mut().skip(j).step_by(width).zip(column).for_each(|(to, from)| *to = from);
        }
        values
    }
}
