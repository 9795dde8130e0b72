//! Initializers, as declarations name them.

use super::Init;
use crate::diag::{Diagnostic, Span};

/// An initializer before the parameter's shape is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum InitSpec {
    Constant(f64),
    Uniform(f64),
    Normal(f64),
    /// Fans that are not given are the parameter's own sizes.
    Glorot(Option<(f64, f64)>),
    Orthogonal(f64),
    /// What the train block's `init` says.
    Default,
}

/// The initializers' names. The first five may stand without arguments.
pub(super) const NAMES: [&str; 7] = ["zeros", "ones", "glorot", "orthogonal", "default", "uniform", "normal"];

/// How they are written, for messages.
pub(super) const WRITTEN: [&str; 7] =
    ["zeros", "ones", "glorot", "orthogonal", "default", "uniform(a)", "normal(s)"];

impl InitSpec {
    /// The initializer that a plain name stands for.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "zeros" => Some(InitSpec::Constant(0.0)),
            "ones" => Some(InitSpec::Constant(1.0)),
            "glorot" => Some(InitSpec::Glorot(None)),
            "orthogonal" => Some(InitSpec::Orthogonal(1.0)),
            "default" => Some(InitSpec::Default),
            _ => None,
        }
    }

    /// The initializer `name(args)`, or `None` if it takes another number of arguments.
    pub fn call(name: &str, args: &[f64]) -> Option<Self> {
        match (name, args) {
            ("uniform", &[a]) => Some(InitSpec::Uniform(a)),
            ("normal", &[s]) => Some(InitSpec::Normal(s)),
            ("glorot", &[fan_in, fan_out]) => Some(InitSpec::Glorot(Some((fan_in, fan_out)))),
            ("orthogonal", &[gain]) => Some(InitSpec::Orthogonal(gain)),
            _ => None,
        }
    }

    /// How `name` is written, for messages.
    pub fn usage(name: &str) -> &'static str {
        match name {
            "uniform" => "`uniform(a)` draws from -a to a",
            "normal" => "`normal(s)` draws with standard deviation s",
            "glorot" => "write `glorot` or `glorot(fan_in, fan_out)`",
            "orthogonal" => "write `orthogonal` or `orthogonal(gain)`",
            _ => "`zeros`, `ones` and `default` take no arguments",
        }
    }

    /// Whether its numbers make sense: spreads from 0 on, fans of at least 1 together.
    pub fn is_sound(self) -> bool {
        match self {
            InitSpec::Uniform(a) | InitSpec::Normal(a) => a >= 0.0,
            InitSpec::Glorot(Some((fan_in, fan_out))) => {
                fan_in >= 0.0 && fan_out >= 0.0 && fan_in + fan_out > 0.0
            }
            InitSpec::Orthogonal(gain) => gain >= 0.0,
            _ => true,
        }
    }

    /// The initializer for a parameter of this shape. `default` is the train block's, if it has one; without one a matrix
    /// is drawn as by `glorot` and a vector is zero.
    pub fn resolve(self, shape: &[usize], default: Option<InitSpec>, span: Span) -> Result<Init, Diagnostic> {
        match self {
            InitSpec::Constant(value) => Ok(Init::Constant(value)),
            InitSpec::Uniform(a) => Ok(Init::Uniform(a)),
            InitSpec::Normal(s) => Ok(Init::Normal(s)),
            InitSpec::Glorot(Some((fan_in, fan_out))) => Ok(Init::Glorot { fan_in, fan_out }),
            InitSpec::Glorot(None) => {
                let fan_in = shape.first().copied().unwrap_or(1) as f64;
                let fan_out = shape.last().copied().unwrap_or(1) as f64;
                Ok(Init::Glorot { fan_in, fan_out })
            }
            InitSpec::Orthogonal(gain) if shape.len() == 2 => Ok(Init::Orthogonal { gain }),
            InitSpec::Orthogonal(_) => {
                let message = format!("`orthogonal` starts a matrix, and this is a vector {shape:?}");
                let error = Diagnostic::error("E0412", span, message);
                Err(error.help("give it another initializer, such as `= zeros`"))
            }
            InitSpec::Default => match default {
                Some(InitSpec::Default) | None if shape.len() == 2 => {
                    InitSpec::Glorot(None).resolve(shape, None, span)
                }
                Some(InitSpec::Default) | None => Ok(Init::Constant(0.0)),
                Some(spec) => spec.resolve(shape, None, span),
            },
        }
    }
}
