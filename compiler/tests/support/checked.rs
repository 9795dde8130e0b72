//! The front end, from a model's text to a checked model.

use lstmc_compiler::diag::SourceMap;
use lstmc_compiler::model::{self, Model};
use lstmc_compiler::syntax;

/// Checks a model file; an error is the rendered diagnostics.
pub fn checked(text: &str, vocab: usize) -> Result<Model, String> {
    let mut map = SourceMap::default();
    let mut parse = |name: &str, text: &str| {
        let id = map.add(name, text);
        syntax::parse(&map, id).map_err(|errors| map.render(&errors, false))
    };
    let file = parse("model.lstm", text)?;
    let prelude: Vec<_> =
        model::prelude().into_iter().map(|(name, text)| parse(name, text)).collect::<Result<_, _>>()?;
    model::check(&file, &prelude, vocab).map_err(|errors| map.render(&errors, false))
}
