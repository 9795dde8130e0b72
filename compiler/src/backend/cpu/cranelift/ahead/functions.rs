//! The parts of a model that are written in C ([`crate::backend::standalone`]) as machine code.

use std::collections::HashMap;

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{self, AbiParam, Block, InstBuilder, MemFlagsData, Signature, Value, types};
use cranelift_frontend::{FunctionBuilder, Variable};
use cranelift_module::{DataId, FuncId, Module};

use crate::backend::standalone::syntax::{Binary, Expr, Function, Stmt, Type, Unary};

/// What functions may name.
#[derive(Default)]
pub(super) struct Names {
    pub functions: HashMap<String, (FuncId, Function)>,
    /// Tables: pointers to elements of a type.
    pub tables: HashMap<String, (DataId, Type)>,
    /// Whole numbers without a sign.
    pub numbers: HashMap<String, u64>,
    /// Functions of the model's block that give the address so many bytes into it, and what lies there.
    pub parts: HashMap<String, (i64, Type)>,
}

/// How a value of a type is held; none of no value. A byte is held as it is, and read as an `int`.
pub(super) fn held(ty: &Type) -> Option<ir::Type> {
    Some(match ty {
        Type::Void | Type::Model => return None,
        Type::Byte => types::I8,
        Type::Int | Type::Word => types::I32,
        Type::Long | Type::Pointer(_) => types::I64,
        Type::Float => types::F32,
        Type::Double => types::F64,
    })
}

pub(super) fn signature(function: &Function, module: &impl Module) -> Signature {
    let mut signature = module.make_signature();
    signature.params.extend(function.params.iter().filter_map(|(ty, _)| held(ty)).map(AbiParam::new));
    signature.returns.extend(held(&function.result).map(AbiParam::new));
    signature
}

/// A value with its type.
#[derive(Clone)]
struct Typed {
    value: Value,
    ty: Type,
}

/// Generates the body of a function.
pub(super) fn build<M: Module>(module: &mut M, names: &Names, function: &Function, b: FunctionBuilder<'_>) {
    let mut lowering =
        Lowering { module, names, b, locals: HashMap::new(), loops: vec![], result: &function.result };
    let start = lowering.b.create_block();
    lowering.b.append_block_params_for_function_params(start);
    lowering.b.switch_to_block(start);
    let params = lowering.b.block_params(start).to_vec();
    for ((ty, name), value) in function.params.iter().zip(params) {
        lowering.declare(ty, name, value);
    }
    let ends = lowering.block(&function.body);
    if !ends {
        lowering.b.ins().return_(&[]);
    }
    lowering.b.seal_all_blocks();
    let config = lowering.module.target_config();
    lowering.b.finalize(config);
}

struct Lowering<'l, 'f, M> {
    module: &'l mut M,
    names: &'l Names,
    b: FunctionBuilder<'f>,
    locals: HashMap<String, (Variable, Type)>,
    /// Where `continue` and `break` go, innermost loop last.
    loops: Vec<(Block, Block)>,
    result: &'l Type,
}

impl<M: Module> Lowering<'_, '_, M> {
    fn declare(&mut self, ty: &Type, name: &str, value: Value) {
        let held = held(ty).unwrap_or_else(|| panic!("internal error: {name} has no value"));
        let variable = self.b.declare_var(held);
        self.b.def_var(variable, value);
        self.locals.insert(name.to_owned(), (variable, ty.clone()));
    }

    /// Says whether control does not come to its end.
    fn block(&mut self, body: &[Stmt]) -> bool {
        body.iter().any(|stmt| self.statement(stmt))
    }

    fn statement(&mut self, stmt: &Stmt) -> bool {
        match stmt {
            Stmt::Declare(ty, name, value) => {
                let value = self.expr(value);
                let value = self.convert(value, ty);
                self.declare(ty, name, value);
            }
            Stmt::Assign(to, op, value) => self.assign(to, *op, value),
            Stmt::Call(call) => {
                let Expr::Call(name, args) = call else { panic!("internal error: {call:?} has no effect") };
                self.call(name, args);
            }
            Stmt::If(condition, yes, no) => return self.branch(condition, yes, no),
            Stmt::While(condition, body) => self.repeat(condition, body),
            Stmt::Break | Stmt::Continue => {
                let &(next, after) =
                    self.loops.last().unwrap_or_else(|| panic!("internal error: no loop to leave"));
                self.b.ins().jump(if *stmt == Stmt::Break { after } else { next }, &[]);
                return true;
            }
            Stmt::Return(value) => {
                let value = value.as_ref().map(|value| {
                    let value = self.expr(value);
                    self.convert(value, &self.result.clone())
                });
                self.b.ins().return_(value.as_slice());
                return true;
            }
        }
        false
    }

    fn branch(&mut self, condition: &Expr, yes: &[Stmt], no: &[Stmt]) -> bool {
        let condition = self.condition(condition);
        let (on_yes, on_no, after) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        self.b.ins().brif(condition, on_yes, &[], on_no, &[]);
        let mut ends = true;
        for (block, body) in [(on_yes, yes), (on_no, no)] {
            self.b.switch_to_block(block);
            if !self.block(body) {
                ends = false;
                self.b.ins().jump(after, &[]);
            }
        }
        if !ends {
            self.b.switch_to_block(after);
        }
        ends
    }

    fn repeat(&mut self, condition: &Expr, body: &[Stmt]) {
        let (test, inside, after) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        self.b.ins().jump(test, &[]);
        self.b.switch_to_block(test);
        let condition = self.condition(condition);
        self.b.ins().brif(condition, inside, &[], after, &[]);
        self.b.switch_to_block(inside);
        self.loops.push((test, after));
        if !self.block(body) {
            self.b.ins().jump(test, &[]);
        }
        self.loops.pop();
        self.b.switch_to_block(after);
    }

    fn assign(&mut self, to: &Expr, op: Option<Binary>, value: &Expr) {
        let value = match op {
            None => self.expr(value),
            Some(op) => self.binary(op, to, value),
        };
        match to {
            Expr::Name(name) => {
                let (variable, ty) = self.local(name);
                let value = self.convert(value, &ty);
                self.b.def_var(variable, value);
            }
            Expr::Element(base, index) => {
                let (address, ty) = self.element(base, index);
                let value = self.convert(value, &ty);
                self.b.ins().store(flags(), value, address, 0);
            }
            _ => panic!("internal error: {to:?} cannot be assigned to"),
        }
    }

    fn local(&self, name: &str) -> (Variable, Type) {
        self.locals.get(name).cloned().unwrap_or_else(|| panic!("internal error: {name:?} is not known"))
    }

    /// Whether an expression is not zero, as a branch takes it.
    fn condition(&mut self, condition: &Expr) -> Value {
        let value = self.expr(condition);
        self.is_not_zero(value)
    }

    fn is_not_zero(&mut self, value: Typed) -> Value {
        match value.ty {
            Type::Float => {
                let zero = self.b.ins().f32const(0.0);
                self.b.ins().fcmp(FloatCC::NotEqual, value.value, zero)
            }
            Type::Double => {
                let zero = self.b.ins().f64const(0.0);
                self.b.ins().fcmp(FloatCC::NotEqual, value.value, zero)
            }
            _ => self.b.ins().icmp_imm_u(IntCC::NotEqual, value.value, 0),
        }
    }

    fn expr(&mut self, expr: &Expr) -> Typed {
        match expr {
            Expr::Whole(value, unsigned) => self.whole(*value, *unsigned),
            Expr::Real(value, true) => Typed { value: self.b.ins().f32const(*value as f32), ty: Type::Float },
            Expr::Real(value, false) => Typed { value: self.b.ins().f64const(*value), ty: Type::Double },
            Expr::Name(name) => self.name(name),
            Expr::Call(name, args) => {
                self.call(name, args).unwrap_or_else(|| panic!("internal error: {name} gives no value"))
            }
            Expr::Element(base, index) => {
                let (address, ty) = self.element(base, index);
                let held = held(&ty).unwrap_or_else(|| panic!("internal error: an element without a value"));
                let value = self.b.ins().load(held, flags(), address, 0);
                self.promoted(Typed { value, ty })
            }
            Expr::Cast(ty, value) => {
                let value = self.expr(value);
                let value = self.convert(value, ty);
                self.promoted(Typed { value, ty: ty.clone() })
            }
            Expr::Unary(op, value) => self.unary(*op, value),
            Expr::Binary(op, left, right) => self.binary(*op, left, right),
        }
    }

    fn whole(&mut self, value: u64, unsigned: bool) -> Typed {
        let ty = match (u32::try_from(value), unsigned) {
            (Ok(_), true) => Type::Word,
            (Ok(_), false) => Type::Int,
            (Err(_), _) => {
                return Typed { value: self.b.ins().iconst(types::I64, value as i64), ty: Type::Long };
            }
        };
        Typed { value: self.b.ins().iconst(types::I32, value as i64), ty }
    }

    fn name(&mut self, name: &str) -> Typed {
        if let Some(&value) = self.names.numbers.get(name) {
            return self.whole(value, true);
        }
        if let Some((data, of)) = self.names.tables.get(name) {
            let data = self.module.declare_data_in_func(*data, self.b.func);
            let value = self.b.ins().symbol_value(types::I64, data);
            return Typed { value, ty: Type::Pointer(Box::new(of.clone())) };
        }
        let (variable, ty) = self.local(name);
        let value = self.b.use_var(variable);
        self.promoted(Typed { value, ty })
    }

    /// A byte becomes an `int`.
    fn promoted(&mut self, value: Typed) -> Typed {
        match value.ty {
            Type::Byte => Typed { value: self.b.ins().uextend(types::I32, value.value), ty: Type::Int },
            _ => value,
        }
    }

    fn call(&mut self, name: &str, args: &[Expr]) -> Option<Typed> {
        if let Some((offset, of)) = self.names.parts.get(name) {
            let base = self.expr(&args[0]);
            let value = self.b.ins().iadd_imm_s(base.value, *offset);
            return Some(Typed { value, ty: Type::Pointer(Box::new(of.clone())) });
        }
        let names = self.names;
        let (id, function) =
            names.functions.get(name).unwrap_or_else(|| panic!("internal error: {name:?} is not known"));
        let values: Vec<Value> = args
            .iter()
            .zip(&function.params)
            .map(|(arg, (ty, _))| {
                let arg = self.expr(arg);
                self.convert(arg, ty)
            })
            .collect();
        let function_ref = self.module.declare_func_in_func(*id, self.b.func);
        let call = self.b.ins().call(function_ref, &values);
        let value = self.b.inst_results(call).first().copied()?;
        Some(self.promoted(Typed { value, ty: function.result.clone() }))
    }

    /// Where an element lies, and its type.
    fn element(&mut self, base: &Expr, index: &Expr) -> (Value, Type) {
        let (base, index) = (self.expr(base), self.expr(index));
        let Type::Pointer(of) = base.ty.clone() else { panic!("internal error: an element of no pointer") };
        (self.ahead(base, index).value, *of)
    }

    /// A pointer so many elements further.
    fn ahead(&mut self, base: Typed, index: Typed) -> Typed {
        let Type::Pointer(of) = &base.ty else { panic!("internal error: an element of no pointer") };
        let size = held(of).map_or(1, ir::Type::bytes);
        let index = self.convert(index, &Type::Long);
        let bytes = self.b.ins().imul_imm_s(index, i64::from(size));
        Typed { value: self.b.ins().iadd(base.value, bytes), ty: base.ty }
    }

    fn unary(&mut self, op: Unary, value: &Expr) -> Typed {
        let value = self.expr(value);
        match (op, &value.ty) {
            (Unary::Not, _) => {
                let truth = self.is_not_zero(value);
                let no = self.b.ins().bxor_imm_u(truth, 1);
                self.truth(no)
            }
            (Unary::Minus, Type::Float | Type::Double) => {
                Typed { value: self.b.ins().fneg(value.value), ty: value.ty }
            }
            (Unary::Minus, _) => Typed { value: self.b.ins().ineg(value.value), ty: value.ty },
            (Unary::Complement, _) => Typed { value: self.b.ins().bnot(value.value), ty: value.ty },
        }
    }

    /// A condition as an `int`.
    fn truth(&mut self, condition: Value) -> Typed {
        Typed { value: self.b.ins().uextend(types::I32, condition), ty: Type::Int }
    }

    fn binary(&mut self, op: Binary, left: &Expr, right: &Expr) -> Typed {
        if matches!(op, Binary::And | Binary::Or) {
            return self.either(op, left, right);
        }
        let (left, right) = (self.expr(left), self.expr(right));
        if op == Binary::Add && matches!(left.ty, Type::Pointer(_)) {
            return self.ahead(left, right);
        }
        if matches!(op, Binary::ShiftLeft | Binary::ShiftRight) {
            // The type is that of the left side; only numbers without a sign are shifted.
            let value = match op {
                Binary::ShiftLeft => self.b.ins().ishl(left.value, right.value),
                _ => self.b.ins().ushr(left.value, right.value),
            };
            return Typed { value, ty: left.ty };
        }
        let ty = common(&left.ty, &right.ty);
        let (a, b) = (self.convert(left, &ty), self.convert(right, &ty));
        if matches!(ty, Type::Float | Type::Double) {
            self.of_reals(op, a, b, ty)
        } else {
            self.of_whole(op, a, b, ty)
        }
    }

    /// `&&` and `||`: the right side is computed only where it decides.
    fn either(&mut self, op: Binary, left: &Expr, right: &Expr) -> Typed {
        let (more, after) = (self.b.create_block(), self.b.create_block());
        let result = self.b.append_block_param(after, types::I32);
        let left = self.condition(left);
        let known = self.truth(left).value;
        match op {
            Binary::And => self.b.ins().brif(left, more, &[], after, &[known.into()]),
            _ => self.b.ins().brif(left, after, &[known.into()], more, &[]),
        };
        self.b.switch_to_block(more);
        let right = self.condition(right);
        let right = self.truth(right).value;
        self.b.ins().jump(after, &[right.into()]);
        self.b.switch_to_block(after);
        Typed { value: result, ty: Type::Int }
    }

    fn of_reals(&mut self, op: Binary, a: Value, b: Value, ty: Type) -> Typed {
        let condition = match op {
            Binary::Equal => FloatCC::Equal,
            Binary::NotEqual => FloatCC::NotEqual,
            Binary::Less => FloatCC::LessThan,
            Binary::LessOrEqual => FloatCC::LessThanOrEqual,
            Binary::Greater => FloatCC::GreaterThan,
            Binary::GreaterOrEqual => FloatCC::GreaterThanOrEqual,
            _ => {
                let value = match op {
                    Binary::Add => self.b.ins().fadd(a, b),
                    Binary::Sub => self.b.ins().fsub(a, b),
                    Binary::Mul => self.b.ins().fmul(a, b),
                    Binary::Div => self.b.ins().fdiv(a, b),
                    _ => panic!("internal error: {op:?} of numbers with a fraction"),
                };
                return Typed { value, ty };
            }
        };
        let condition = self.b.ins().fcmp(condition, a, b);
        self.truth(condition)
    }

    fn of_whole(&mut self, op: Binary, a: Value, b: Value, ty: Type) -> Typed {
        let signed = ty == Type::Int;
        let order = |with: IntCC, without: IntCC| if signed { with } else { without };
        let condition = match op {
            Binary::Equal => IntCC::Equal,
            Binary::NotEqual => IntCC::NotEqual,
            Binary::Less => order(IntCC::SignedLessThan, IntCC::UnsignedLessThan),
            Binary::LessOrEqual => order(IntCC::SignedLessThanOrEqual, IntCC::UnsignedLessThanOrEqual),
            Binary::Greater => order(IntCC::SignedGreaterThan, IntCC::UnsignedGreaterThan),
            Binary::GreaterOrEqual => {
                order(IntCC::SignedGreaterThanOrEqual, IntCC::UnsignedGreaterThanOrEqual)
            }
            _ => {
                let value = match op {
                    Binary::Add => self.b.ins().iadd(a, b),
                    Binary::Sub => self.b.ins().isub(a, b),
                    Binary::Mul => self.b.ins().imul(a, b),
                    Binary::Div if signed => self.b.ins().sdiv(a, b),
                    Binary::Div => self.b.ins().udiv(a, b),
                    Binary::BitOr => self.b.ins().bor(a, b),
                    Binary::BitXor => self.b.ins().bxor(a, b),
                    Binary::BitAnd => self.b.ins().band(a, b),
                    _ => panic!("internal error: {op:?} of whole numbers"),
                };
                return Typed { value, ty };
            }
        };
        let condition = self.b.ins().icmp(condition, a, b);
        self.truth(condition)
    }

    fn convert(&mut self, value: Typed, to: &Type) -> Value {
        let Typed { value, ty } = value;
        let from = &ty;
        match (from, to) {
            _ if from == to => value,
            (Type::Pointer(_), Type::Pointer(_)) | (Type::Int, Type::Word) | (Type::Word, Type::Int) => value,
            (Type::Float, Type::Double) => self.b.ins().fpromote(types::F64, value),
            (Type::Double, Type::Float) => self.b.ins().fdemote(types::F32, value),
            (Type::Int, Type::Float | Type::Double) => self.b.ins().fcvt_from_sint(real(to), value),
            (Type::Word | Type::Long, Type::Float | Type::Double) => {
                self.b.ins().fcvt_from_uint(real(to), value)
            }
            (Type::Int, Type::Long | Type::Pointer(_)) => self.b.ins().sextend(types::I64, value),
            (Type::Word, Type::Long | Type::Pointer(_)) => self.b.ins().uextend(types::I64, value),
            (Type::Long, Type::Int | Type::Word) => self.b.ins().ireduce(types::I32, value),
            (Type::Int | Type::Word | Type::Long, Type::Byte) => self.b.ins().ireduce(types::I8, value),
            _ => panic!("internal error: {from:?} as {to:?}"),
        }
    }
}

fn real(ty: &Type) -> ir::Type {
    if *ty == Type::Float { types::F32 } else { types::F64 }
}

/// The type that both sides of an operator are converted to.
fn common(a: &Type, b: &Type) -> Type {
    if let Some(pointer) = [a, b].into_iter().find(|ty| matches!(ty, Type::Pointer(_))) {
        return pointer.clone();
    }
    let order = [Type::Double, Type::Float, Type::Long, Type::Word];
    order.into_iter().find(|ty| a == ty || b == ty).unwrap_or(Type::Int)
}

fn flags() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}
