//! Graph text. [`super::parse`] reads it back; printing what was parsed gives the same text.
//!
//! ```text
//! graph train {
//!   in %0: f[10, 8] param "embedding_1.table" parts "embedding_1.table" 0 8
//!   in %1: id[2, 3] tokens "tokens"
//!   %2: f[2, 3, 8] = take %0 %1
//!   %9: f[3, 8], %10: f[2, 3, 8] = loop 2 reverse {
//!     carry %4: f[3, 8] = %3 next %8
//!     slice %5: f[3, 8] of %2
//!     %8: f[3, 8] = add %4 %5
//!     stack %8
//!   }
//!   out %9 update "h"
//! }
//! ```

use std::fmt::{self, Display, Write};

use super::{Graph, InputRole, Loop, Node, Op, OutputRole, Sharded, Value};

impl Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

impl Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "graph {} {{", self.name)?;
        for input in &self.inputs {
            write!(f, "  in {}: {} ", input.value, self.ty(input.value))?;
            match &input.role {
                InputRole::Param { parts } => {
                    write!(f, "param {:?} parts", input.name)?;
                    for part in parts {
                        write!(f, " {:?} {} {}", part.name, part.start, part.len)?;
                    }
                    writeln!(f)?;
                }
                InputRole::OptimizerState { param, start } => {
                    writeln!(f, "optimizer_state {:?} of {param:?} start {start:?}", input.name)?;
                }
                InputRole::Carried { start } => writeln!(f, "carried {:?} start {start:?}", input.name)?,
                InputRole::Tokens => writeln!(f, "tokens {:?}", input.name)?,
                InputRole::Targets => writeln!(f, "targets {:?}", input.name)?,
                InputRole::Rate => writeln!(f, "rate {:?}", input.name)?,
                InputRole::Step => writeln!(f, "step {:?}", input.name)?,
                InputRole::Last => writeln!(f, "last {:?}", input.name)?,
                InputRole::MeanWeight => writeln!(f, "mean_weight {:?}", input.name)?,
            }
        }
        self.write_nodes(f, &self.body, 1)?;
        for output in &self.outputs {
            write!(f, "  out {} ", output.value)?;
            match &output.role {
                OutputRole::Update(name) => writeln!(f, "update {name:?}")?,
                OutputRole::Gradient(name) => writeln!(f, "gradient {name:?}")?,
                OutputRole::Loss => writeln!(f, "loss")?,
                OutputRole::Hits => writeln!(f, "hits")?,
                OutputRole::GradientNorm => writeln!(f, "gradient_norm")?,
                OutputRole::Probabilities => writeln!(f, "probabilities")?,
                OutputRole::Objective => writeln!(f, "objective")?,
            }
        }
        writeln!(f, "}}")
    }
}

impl Graph {
    /// The text of these nodes, indented `depth` times.
    pub(super) fn write_nodes(&self, f: &mut impl Write, nodes: &[Node], depth: usize) -> fmt::Result {
        for node in nodes {
            let indent = "  ".repeat(depth);
            let results: Vec<String> = node.results.iter().map(|&v| format!("{v}: {}", self.ty(v))).collect();
            write!(f, "{indent}{} = {}", results.join(", "), node.op.name())?;
            if let Op::Loop(inner) = &node.op {
                self.write_loop(f, inner, depth)?;
                continue;
            }
            for arg in &node.args {
                write!(f, " {arg}")?;
            }
            writeln!(f, "{}", attributes(&node.op))?;
        }
        Ok(())
    }

    fn write_loop(&self, f: &mut impl Write, inner: &Loop, depth: usize) -> fmt::Result {
        let indent = "  ".repeat(depth);
        writeln!(f, " {}{} {{", inner.rounds, if inner.reverse { " reverse" } else { "" })?;
        for carried in &inner.carried {
            let ty = self.ty(carried.param);
            writeln!(f, "{indent}  carry {}: {ty} = {} next {}", carried.param, carried.init, carried.next)?;
        }
        for sliced in &inner.sliced {
            writeln!(f, "{indent}  slice {}: {} of {}", sliced.param, self.ty(sliced.param), sliced.source)?;
        }
        self.write_nodes(f, &inner.body, depth + 1)?;
        for stacked in &inner.stacked {
            writeln!(f, "{indent}  stack {}", stacked.value)?;
        }
        writeln!(f, "{indent}}}")
    }
}

/// What follows the operands: ` axes=[0, 1] shape=[2, 3]`.
fn attributes(op: &Op) -> String {
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = match op {
        Op::Const(value) => write!(text, " {value:?}"),
        Op::Broadcast { axes, shape } => write!(text, " axes={axes:?} shape={shape:?}"),
        Op::Reduce { axes, .. } => write!(text, " axes={axes:?}"),
        Op::Scatter { rows } | Op::Combine { rows } | Op::Distinct { rows } => write!(text, " rows={rows}"),
        Op::Spread { len } => write!(text, " len={len}"),
        Op::Positions { len } => write!(text, " len={len}"),
        Op::Random { stream, shape, part } => {
            let written = write!(text, " stream={stream} shape={shape:?}");
            part.map_or(written, |Sharded { axis, count }| write!(text, " shards=[{axis}, {count}]"))
        }
        Op::Split { axis, sizes } => write!(text, " axis={axis} sizes={sizes:?}"),
        Op::Concat { axis } => write!(text, " axis={axis}"),
        Op::At { index } => write!(text, " index={index}"),
        Op::Put { index, len } => write!(text, " index={index} len={len}"),
        _ => Ok(()),
    };
    text
}
