//! Tensor types, and the one function that says which types an operation takes and gives.

use std::fmt;

use super::{Form, Op};

/// What a tensor's elements are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Elem {
    Real,
    Id,
}

/// Element kind and sizes, row-major.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Type {
    pub elem: Elem,
    pub shape: Vec<usize>,
}

impl Type {
    pub fn real(shape: impl Into<Vec<usize>>) -> Self {
        Self { elem: Elem::Real, shape: shape.into() }
    }

    pub fn id(shape: impl Into<Vec<usize>>) -> Self {
        Self { elem: Elem::Id, shape: shape.into() }
    }

    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    pub fn is_real(&self) -> bool {
        self.elem == Elem::Real
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let elem = match self.elem {
            Elem::Real => "f",
            Elem::Id => "id",
        };
        let sizes: Vec<String> = self.shape.iter().map(usize::to_string).collect();
        write!(f, "{elem}[{}]", sizes.join(", "))
    }
}

/// The result types of `op` on operands of these types, or what is wrong with them. Loops are checked by the verifier.
pub fn infer(op: &Op, args: &[&Type]) -> Result<Vec<Type>, String> {
    let wrong = || {
        let list: Vec<String> = args.iter().map(|ty| ty.to_string()).collect();
        Err(format!("{} does not take ({})", op.name(), list.join(", ")))
    };
    let one = |shape: Vec<usize>| Ok(vec![Type::real(shape)]);
    match (op, args) {
        (Op::Const(_), []) => one(vec![]),
        (Op::Broadcast { axes, shape }, [x]) if x.is_real() => {
            let ascending = axes.windows(2).all(|pair| pair[0] < pair[1]);
            let agree = axes.len() == x.rank()
                && axes.iter().zip(&x.shape).all(|(&axis, &size)| shape.get(axis) == Some(&size));
            if ascending && agree { one(shape.clone()) } else { wrong() }
        }
        (Op::Map(scalar), [first, rest @ ..]) => {
            let same = rest.iter().all(|ty| ty == first);
            if first.is_real() && same && args.len() == scalar.arity() {
                one(first.shape.clone())
            } else {
                wrong()
            }
        }
        (Op::Reduce { axes, .. }, [x]) if x.is_real() => {
            let ascending = axes.windows(2).all(|pair| pair[0] < pair[1]);
            if !ascending || axes.iter().any(|&axis| axis >= x.rank()) {
                return wrong();
            }
            let kept = x.shape.iter().enumerate().filter(|(axis, _)| !axes.contains(axis));
            one(kept.map(|(_, &size)| size).collect())
        }
        (Op::MatMul(form), [a, b]) if a.is_real() && b.is_real() => {
            match_product(*form, a, b).map_or_else(wrong, one)
        }
        (Op::MatMulPrefix(form), [a, b, count])
            if a.is_real() && a.rank() == 2 && b.is_real() && **count == Type::id([]) =>
        {
            match_product(*form, a, b).map_or_else(wrong, one)
        }
        (Op::Distinct { rows }, [ids]) if !ids.is_real() => {
            let len = ids.len().min(*rows);
            let inverse = [Type::id([*rows]), Type::real([*rows])];
            Ok([&[(*ids).clone(), Type::id([len]), Type::id([])], &inverse[..]].concat())
        }
        (Op::Take, [table, ids]) if table.is_real() && table.rank() == 2 && !ids.is_real() => {
            one([&ids.shape[..], &table.shape[1..]].concat())
        }
        (Op::Scatter { rows }, [ids, g]) if !ids.is_real() && g.is_real() => match g.shape.split_last() {
            Some((&n, lead)) if lead == ids.shape => one(vec![*rows, n]),
            _ => wrong(),
        },
        (Op::Combine { .. }, [ids, g]) if !ids.is_real() && g.is_real() => match g.shape.split_last() {
            Some((_, lead)) if lead == ids.shape => one(g.shape.clone()),
            _ => wrong(),
        },
        (Op::AddRows, [table, ids, g])
            if table.is_real() && table.rank() == 2 && !ids.is_real() && g.is_real() =>
        {
            match g.shape.split_last() {
                Some((n, lead)) if lead == ids.shape && *n == table.shape[1] => one(table.shape.clone()),
                _ => wrong(),
            }
        }
        (Op::Pick, [x, ids]) if x.is_real() && !ids.is_real() => match x.shape.split_last() {
            Some((_, lead)) if lead == ids.shape => one(lead.to_vec()),
            _ => wrong(),
        },
        (Op::Spread { len }, [g, ids]) if g.is_real() && !ids.is_real() && g.shape == ids.shape => {
            one([&g.shape[..], &[*len]].concat())
        }
        (Op::Number, [ids]) if !ids.is_real() => one(ids.shape.clone()),
        (Op::Positions { len }, []) => one(vec![*len]),
        (Op::Random { shape, part, .. }, []) => match part {
            Some(part) if part.axis >= shape.len() || part.count == 0 => wrong(),
            _ => one(shape.clone()),
        },
        (Op::Split { axis, sizes }, [x]) if x.is_real() && *axis < x.rank() => {
            if sizes.iter().sum::<usize>() != x.shape[*axis] {
                return wrong();
            }
            let piece = |&size: &usize| {
                let mut shape = x.shape.clone();
                shape[*axis] = size;
                Type::real(shape)
            };
            Ok(sizes.iter().map(piece).collect())
        }
        (Op::Concat { axis }, [first, ..]) if *axis < first.rank() => {
            let mut shape = first.shape.clone();
            shape[*axis] = 0;
            for ty in args {
                let mut rest = ty.shape.clone();
                let size = rest.get(*axis).copied().unwrap_or(0);
                if rest.len() == shape.len() {
                    rest[*axis] = shape[*axis];
                }
                if !ty.is_real() || rest != shape {
                    return wrong();
                }
                shape[*axis] += size;
            }
            one(shape)
        }
        (Op::At { index }, [x]) if x.is_real() && x.rank() > 0 && *index < x.shape[0] => {
            one(x.shape[1..].to_vec())
        }
        (Op::Put { index, len }, [x]) if x.is_real() && index < len => one([&[*len], &x.shape[..]].concat()),
        (Op::Unsqueeze, [x]) if x.is_real() => one([&x.shape[..], &[1]].concat()),
        (Op::Squeeze, [x]) if x.is_real() && x.shape.last() == Some(&1) => {
            one(x.shape[..x.rank() - 1].to_vec())
        }
        (Op::Stop | Op::SumShards, [x]) if x.is_real() => one(x.shape.clone()),
        _ => wrong(),
    }
}

fn match_product(form: Form, a: &Type, b: &Type) -> Option<Vec<usize>> {
    let (&a_last, a_lead) = a.shape.split_last()?;
    let (&b_last, b_lead) = b.shape.split_last()?;
    match form {
        Form::NN if b_lead == [a_last] && !a_lead.is_empty() => Some([a_lead, &[b_last]].concat()),
        Form::NT if b_lead.len() == 1 && b_last == a_last && !a_lead.is_empty() => {
            Some([a_lead, &[b_lead[0]]].concat())
        }
        Form::TN if a_lead == b_lead && !a_lead.is_empty() => Some(vec![a_last, b_last]),
        _ => None,
    }
}
