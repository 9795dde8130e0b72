//! What stands between a batch's gradients and the parameters, beside clipping and the optimizer: sums over a batch's shards and
//! over several batches, and the mean of what the updates leave.
//!
//! Both keep tensors that are shaped like the parameters, as an optimizer's states are. One program serves all batches: whether a
//! batch's gradients complete an update, and how much the mean takes of it, are numbers that the host gives.

use crate::graph::{Builder, InputRole, Op, OutputRole, Type, Value};
use crate::scalar::Scalar;

/// What the sums of a parameter's gradients, and the mean of its values, are called behind its name. No optimizer's state has a
/// name with a point.
pub const GRADIENT_SUM: &str = "gradient.sum";
pub const PARAM_MEAN: &str = "param.mean";

/// Sums of gradients over several steps.
pub(super) struct Accumulation {
    /// 1 where an update is made, else 0.
    last: Value,
}

impl Accumulation {
    /// Replaces gradients by the mean of those of `shards` shards of each of `batches` batches, which is whole at the last of them.
    pub fn of(
        builder: &mut Builder,
        gradients: &mut [(String, Value)],
        [shards, batches]: [usize; 2],
    ) -> Self {
        let last = builder.input("last", Type::real([]), InputRole::Last);
        let this = Self { last };
        let part = builder.constant(1.0 / (shards * batches) as f64);
        for (param, gradient) in gradients {
            let shape = builder.shape(*gradient);
            let mut whole = *gradient;
            if shards > 1 {
                whole = builder.op(Op::SumShards, &[whole]);
            }
            if batches > 1 {
                let sum = state(builder, param, GRADIENT_SUM, &shape);
                whole = builder.add(sum, whole);
                let none = builder.full(0.0, &shape);
                let next = this.choose(builder, none, whole);
                builder.output(next, OutputRole::Update(format!("{param}/{GRADIENT_SUM}")));
            }
            let part = builder.spread_to(part, vec![], &shape);
            *gradient = builder.mul(whole, part);
        }
        this
    }

    /// `new` where an update is made, else `old`.
    pub fn choose(&self, builder: &mut Builder, new: Value, old: Value) -> Value {
        let shape = builder.shape(old);
        let last = builder.spread_to(self.last, vec![], &shape);
        builder.map(Scalar::Select, &[last, new, old])
    }
}

/// The running mean of parameters: `mean + weight * (param - mean)`, with the weight 1/k after the k-th of the updates that it is
/// taken of, and 0 where it stays as it is.
pub(super) struct Mean {
    weight: Value,
}

impl Mean {
    pub fn new(builder: &mut Builder) -> Self {
        Self { weight: builder.input("mean_weight", Type::real([]), InputRole::MeanWeight) }
    }

    /// Takes what an update leaves of a parameter into its mean.
    pub fn take(&self, builder: &mut Builder, name: &str, param: Value) {
        let shape = builder.shape(param);
        let mean = state(builder, name, PARAM_MEAN, &shape);
        let weight = builder.spread_to(self.weight, vec![], &shape);
        let away = builder.sub(param, mean);
        let part = builder.mul(away, weight);
        let next = builder.add(mean, part);
        builder.output(next, OutputRole::Update(format!("{name}/{PARAM_MEAN}")));
    }
}

fn state(builder: &mut Builder, param: &str, name: &str, shape: &[usize]) -> Value {
    let role = InputRole::OptimizerState { param: param.to_owned(), start: 0.0 };
    builder.input(format!("{param}/{name}"), Type::real(shape.to_vec()), role)
}
