//! The statements of a kernel: loads, stores, positions, ids, random numbers and arithmetic.

use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Type, Value, types};

use super::builder::{KernelBuilder, LANES, Values, Variable};
use super::homes::Origin;
use crate::backend::elementary;
use crate::kernel::{Address, Axis, Expr, Index, Var};
use crate::scalar::Scalar;

/// A pointer and a constant distance from it, in bytes.
#[derive(Clone, Copy)]
struct Place {
    base: Value,
    offset: i64,
}

impl Place {
    fn after(self, bytes: usize) -> Self {
        Self { offset: self.offset + bytes as i64, ..self }
    }
}

impl KernelBuilder<'_, '_> {
    /// Computes a variable.
    pub fn define(&mut self, var: Var, expr: &Expr) {
        let variable = self.expr(expr);
        self.vars.insert(var, variable);
    }

    fn expr(&mut self, expr: &Expr) -> Variable {
        match expr {
            Expr::Const(value) => Variable::Real(Values::uniform(self.math().splat(*value as f32))),
            Expr::Load(from) => Variable::Real(self.load(from)),
            Expr::LoadId(from) => Variable::Id(self.load_id(from)),
            Expr::Map(op, args) => Variable::Real(self.map(*op, args)),
            Expr::Position(axis) => Variable::Real(self.position(*axis)),
            Expr::Number(var) => Variable::Real(self.number(*var)),
            Expr::Random { stream, offset, terms, shard } => {
                Variable::Real(self.random(*stream, *offset, terms, *shard))
            }
        }
    }

    pub fn store(&mut self, to: &Address, value: Var) {
        let value = self.real(value).clone();
        let stride = self.vector_stride(&to.terms);
        let flags = MemFlagsData::new().with_notrap();
        if self.gathers(&to.terms) || stride > 1 {
            for copy in 0..self.copies() {
                for lane in 0..LANES {
                    let place = self.lane_place(to, copy, lane);
                    let element = self.b.ins().extractlane(value.at(copy), lane as u8);
                    self.store_at(flags, element, place);
                }
            }
            return;
        }
        let place = self.place(to);
        if self.vectors.is_none() || stride == 0 {
            let element = self.b.ins().extractlane(value.at(0), 0u8);
            return self.store_at(flags, element, place);
        }
        for copy in 0..self.copies() {
            self.store_at(flags, value.at(copy), place.after(copy * LANES * 4));
        }
    }

    fn load(&mut self, from: &Address) -> Values {
        let stride = self.vector_stride(&from.terms);
        if self.gathers(&from.terms) || stride > 1 {
            return self.gather(from, types::F32X4);
        }
        let flags = self.load_flags(from);
        let place = self.place(from);
        if stride == 0 {
            let element = self.load_at(types::F32, flags, place);
            return Values::uniform(self.b.ins().splat(types::F32X4, element));
        }
        self.load_vectors(types::F32X4, flags, place)
    }

    fn load_id(&mut self, from: &Address) -> Values {
        let stride = self.vector_stride(&from.terms);
        if self.gathers(&from.terms) || stride > 1 {
            return self.gather(from, types::I32X4);
        }
        let flags = self.load_flags(from);
        let place = self.place(from);
        if stride == 0 {
            let id = self.load_at(types::I32, flags, place);
            return Values::uniform(self.b.ins().uextend(types::I64, id));
        }
        self.load_vectors(types::I32X4, flags, place)
    }

    fn load_vectors(&mut self, ty: Type, flags: MemFlagsData, place: Place) -> Values {
        let each = 0..self.copies();
        let values = each.map(|copy| self.load_at(ty, flags, place.after(copy * LANES * 4))).collect();
        Values { values, varying: true }
    }

    /// Lane by lane, where neighbouring iterations do not read neighbouring elements.
    fn gather(&mut self, from: &Address, ty: Type) -> Values {
        let flags = self.load_flags(from);
        let mut values = Vec::new();
        for copy in 0..self.copies() {
            let place = self.lane_place(from, copy, 0);
            let first = self.load_at(ty.lane_type(), flags, place);
            let mut vector = self.b.ins().splat(ty, first);
            for lane in 1..LANES {
                let place = self.lane_place(from, copy, lane);
                let element = self.load_at(ty.lane_type(), flags, place);
                vector = self.b.ins().insertlane(vector, element, lane as u8);
            }
            values.push(vector);
        }
        Values { values, varying: true }
    }

    fn map(&mut self, op: Scalar, args: &[Var]) -> Values {
        let args: Vec<Values> = args.iter().map(|&var| self.real(var).clone()).collect();
        let varying = args.iter().any(|arg| arg.varying);
        let mut values = Vec::new();
        for copy in 0..if varying { self.copies() } else { 1 } {
            let operands: Vec<Value> = args.iter().map(|arg| arg.at(copy)).collect();
            values.push(self.math().map(op, &operands, !varying));
        }
        Values { values, varying }
    }

    fn position(&mut self, axis: Axis) -> Values {
        let number = self.whole(0, &[(Index::Axis(axis), 1)]);
        let values = number.values.iter();
        let values = values.map(|&value| self.b.ins().fcvt_from_sint(types::F32X4, value)).collect();
        Values { values, varying: number.varying }
    }

    fn number(&mut self, var: Var) -> Values {
        let id = self.id(var).clone();
        if !id.varying {
            let number = self.b.ins().fcvt_from_sint(types::F32, id.at(0));
            return Values::uniform(self.b.ins().splat(types::F32X4, number));
        }
        let values =
            id.values.iter().map(|&value| self.b.ins().fcvt_from_uint(types::F32X4, value)).collect();
        Values { values, varying: true }
    }

    fn random(&mut self, stream: u32, offset: usize, terms: &[(Index, usize)], shard: usize) -> Values {
        let mut index = self.whole(offset, terms);
        if let Some(start) = self.shard_start(shard) {
            let narrow = self.b.ins().ireduce(types::I32, start);
            let start = self.b.ins().splat(types::I32X4, narrow);
            index.values.iter_mut().for_each(|index| *index = self.b.ins().iadd(*index, start));
        }
        let key = self.keys[&stream];
        let key = self.b.ins().splat(types::I32X4, key);
        let key = self.math().as_real(key);
        let mut values = Vec::with_capacity(index.values.len());
        for &index in &index.values {
            let mut math = self.math();
            let index = math.as_real(index);
            values.push(elementary::random(&mut math, key, index));
        }
        Values { values, varying: index.varying }
    }

    /// `offset` plus each index times its stride as `i32x4`, wrapping around.
    fn whole(&mut self, offset: usize, terms: &[(Index, usize)]) -> Values {
        let ids: Vec<(Values, usize)> = terms
            .iter()
            .filter_map(|&(index, stride)| Some((self.varying_id(index)?.clone(), stride)))
            .collect();
        let sum = self.flat_index(offset, &self.shared(terms));
        let narrow = self.b.ins().ireduce(types::I32, sum);
        let base = self.b.ins().splat(types::I32X4, narrow);
        let stride = self.vector_stride(terms) as u32;
        if stride == 0 && ids.is_empty() {
            return Values::uniform(base);
        }
        let mut values = Vec::new();
        for copy in 0..self.copies() {
            let start = ((copy * LANES) as u32).wrapping_mul(stride);
            let lanes = self.math().iota(start, stride);
            let mut value = self.b.ins().iadd(base, lanes);
            for (id, stride) in &ids {
                let stride = self.b.ins().iconst(types::I32, i64::from(*stride as u32));
                let stride = self.b.ins().splat(types::I32X4, stride);
                let term = self.b.ins().imul(id.at(copy), stride);
                value = self.b.ins().iadd(value, term);
            }
            values.push(value);
        }
        Values { values, varying: true }
    }

    /// `offset` plus each index times its stride, for the first lane of the first copy.
    pub fn flat_index(&mut self, offset: usize, terms: &[(Index, usize)]) -> Value {
        let mut sum = self.b.ins().iconst(types::I64, offset as i64);
        for &(index, stride) in terms {
            let value = self.index(index);
            let term = self.b.ins().imul_imm_s(value, stride as i64);
            sum = self.b.ins().iadd(sum, term);
        }
        sum
    }

    /// The flat index at which the run's shard begins, where shards are so far from each other; none where there is one.
    pub fn shard_start(&mut self, apart: usize) -> Option<Value> {
        let shard = self.shard?;
        (apart > 0).then(|| self.b.ins().imul_imm_s(shard, apart as i64))
    }

    /// An index that all lanes share, or that of the first lane of the first copy.
    fn index(&mut self, index: Index) -> Value {
        let known = match index {
            Index::Axis(axis) => self.axes.iter().find(|(open, _)| *open == axis).map(|&(_, value)| value),
            Index::Time(time) => self.times.iter().find(|(open, _)| *open == time).map(|&(_, value)| value),
            Index::Id(var) => Some(self.id(var).at(0)),
        };
        known.unwrap_or_else(|| {
            panic!("internal error: kernel {:?}: {index:?} outside its loop", self.kernel.name)
        })
    }

    /// The stride along the vector axis; 0 outside vector loops.
    fn vector_stride(&self, terms: &[(Index, usize)]) -> usize {
        let Some(vectors) = self.vectors else { return 0 };
        let along = terms.iter().filter(|(index, _)| *index == Index::Axis(vectors.axis));
        along.map(|(_, stride)| stride).sum()
    }

    /// Whether each lane has a row of its own.
    fn gathers(&self, terms: &[(Index, usize)]) -> bool {
        terms.iter().any(|&(index, _)| self.varying_id(index).is_some())
    }

    /// An id that varies from lane to lane, if the index is one.
    fn varying_id(&self, index: Index) -> Option<&Values> {
        match index {
            Index::Id(var) => Some(self.id(var)).filter(|id| id.varying),
            _ => None,
        }
    }

    /// The terms that do not vary from lane to lane but for the vector axis.
    fn shared(&self, terms: &[(Index, usize)]) -> Vec<(Index, usize)> {
        terms.iter().copied().filter(|&(index, _)| self.varying_id(index).is_none()).collect()
    }

    /// The element of the first lane of the first copy, apart from terms that vary from lane to lane.
    fn place(&mut self, at: &Address) -> Place {
        let (origin, start) = self.homes.get(at.buffer);
        let base = self.pointer(origin, &self.shared(&at.terms));
        let offset = start + at.offset * 4;
        Place { base, offset: offset as i64 }
    }

    /// An origin and each index times its stride. Terms are added from the outside in, so that inner loops share
    /// what their outer loops know.
    pub fn pointer(&mut self, origin: Origin, terms: &[(Index, usize)]) -> Value {
        let mut terms = terms.to_vec();
        terms.sort_by_key(|&(index, _)| match index {
            Index::Time(_) => 0,
            Index::Axis(axis) => 1 + self.axes.iter().position(|&(open, _)| open == axis).unwrap_or(0),
            Index::Id(_) => usize::MAX,
        });
        let mut pointer = match origin {
            Origin::Arena => self.arena,
            Origin::Constants => {
                self.constants_at.unwrap_or_else(|| panic!("internal error: constants that are not there"))
            }
        };
        for (index, stride) in terms {
            let value = self.index(index);
            let term = self.b.ins().imul_imm_s(value, stride as i64 * 4);
            pointer = self.b.ins().iadd(pointer, term);
        }
        pointer
    }

    /// The element of one lane of one copy.
    fn lane_place(&mut self, at: &Address, copy: usize, lane: usize) -> Place {
        let place = self.place(at).after(self.vector_stride(&at.terms) * (copy * LANES + lane) * 4);
        let mut base = place.base;
        for &(index, stride) in &at.terms {
            let Some(id) = self.varying_id(index) else { continue };
            let id = id.at(copy);
            let id = self.b.ins().extractlane(id, lane as u8);
            let id = self.b.ins().uextend(types::I64, id);
            let term = self.b.ins().imul_imm_s(id, stride as i64 * 4);
            base = self.b.ins().iadd(base, term);
        }
        Place { base, ..place }
    }

    fn load_flags(&self, from: &Address) -> MemFlagsData {
        let flags = MemFlagsData::new().with_notrap();
        if self.readonly.contains(&from.buffer) { flags.with_readonly().with_can_move() } else { flags }
    }

    fn load_at(&mut self, ty: Type, flags: MemFlagsData, place: Place) -> Value {
        let (base, offset) = self.reachable(place);
        self.b.ins().load(ty, flags, base, offset)
    }

    fn store_at(&mut self, flags: MemFlagsData, value: Value, place: Place) {
        let (base, offset) = self.reachable(place);
        self.b.ins().store(flags, value, base, offset);
    }

    /// A load or store carries a distance of up to 2 GiB.
    fn reachable(&mut self, place: Place) -> (Value, i32) {
        match i32::try_from(place.offset) {
            Ok(offset) => (place.base, offset),
            Err(_) => (self.b.ins().iadd_imm_s(place.base, place.offset), 0),
        }
    }
}
