//! Counted loops in Cranelift's blocks.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{Block, BlockArg, InstBuilder, Value, types};
use cranelift_frontend::FunctionBuilder;

/// An open loop `for index in (from..to).step_by(step)`, tested at its end, with values carried from round to round.
pub(super) struct Counted {
    header: Block,
    exit: Block,
    pub index: Value,
    pub carried: Vec<Value>,
}

impl Counted {
    /// Opens the loop; what is emitted next is its body. Unless `guarded`, `from < to` must be known to hold.
    pub fn begin(b: &mut FunctionBuilder, from: Value, to: Value, guarded: bool, carried: &[Value]) -> Self {
        let header = b.create_block();
        let exit = b.create_block();
        let index = b.append_block_param(header, types::I64);
        let mut inside = Vec::with_capacity(carried.len());
        for &value in carried {
            let ty = b.func.dfg.value_type(value);
            inside.push(b.append_block_param(header, ty));
            b.append_block_param(exit, ty);
        }
        if guarded {
            let some = b.ins().icmp(IntCC::SignedLessThan, from, to);
            b.ins().brif(some, header, &args(&[&[from], carried].concat()), exit, &args(carried));
        } else {
            b.ins().jump(header, &args(&[&[from], carried].concat()));
        }
        b.switch_to_block(header);
        Self { header, exit, index, carried: inside }
    }

    /// Closes the loop and goes on behind it with the carried values of the last round.
    pub fn end(self, b: &mut FunctionBuilder, step: i64, to: Value, next: &[Value]) -> Vec<Value> {
        let index = b.ins().iadd_imm_s(self.index, step);
        let more = b.ins().icmp(IntCC::SignedLessThan, index, to);
        b.ins().brif(more, self.header, &args(&[&[index], next].concat()), self.exit, &args(next));
        b.switch_to_block(self.exit);
        b.block_params(self.exit).to_vec()
    }
}

fn args(values: &[Value]) -> Vec<BlockArg> {
    values.iter().map(|&value| BlockArg::from(value)).collect()
}
