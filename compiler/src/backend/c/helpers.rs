//! The functions that kernels and steps call.

use super::{Helper, Unit, product, scalars};
use crate::scalar::Scalar;

impl Unit<'_> {
    /// Those that are called, each before those that call it.
    pub(super) fn helpers(&self) -> String {
        let mut all = self.used.clone();
        all.extend(self.used.iter().filter_map(|helper| needs(*helper)));
        all.into_iter().map(|helper| text(helper, self.prefix)).collect()
    }
}

/// What a function calls itself.
fn needs(helper: Helper) -> Option<Helper> {
    matches!(helper, Helper::Exp | Helper::Tanh | Helper::Sigmoid).then_some(Helper::Bits)
}

fn text(helper: Helper, prefix: &str) -> String {
    match helper {
        Helper::Bits => scalars::bits(prefix),
        Helper::Exp => scalars::function(prefix, Scalar::Exp, "exp"),
        Helper::Tanh => scalars::function(prefix, Scalar::Tanh, "tanh"),
        Helper::Sigmoid => scalars::function(prefix, Scalar::Sigmoid, "sigmoid"),
        // Of libm.
        Helper::Sqrt | Helper::Log | Helper::Pow => String::new(),
        Helper::Packed => product::packed(prefix, false),
        Helper::PackedInt8 => product::packed(prefix, true),
        Helper::Plain => product::plain(prefix),
    }
}
