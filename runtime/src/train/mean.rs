//! The mean of the parameters in their place.

use crate::checkpoint::mean_of;
use crate::engine::{TensorKind, Trainee};
use crate::error::Result;

/// Calls `look` while the means of the parameters are in their place.
pub(super) fn with<T>(
    programs: &mut dyn Trainee,
    look: impl FnOnce(&mut dyn Trainee) -> Result<T>,
) -> Result<T> {
    let tensors = programs.trained().tensors();
    let params = tensors.iter().filter(|tensor| tensor.kind == TensorKind::Param);
    let names: Vec<String> = params.map(|tensor| tensor.name.clone()).collect();
    let mut before = Vec::new();
    for param in names {
        let engine = programs.train();
        let own = engine.read(&param)?;
        let mean = engine.read(&mean_of(&param))?;
        engine.write(&param, &mean)?;
        before.push((param, own));
    }
    let found = look(programs);
    let engine = programs.train();
    before.iter().try_for_each(|(param, own)| engine.write(param, own))?;
    found
}
