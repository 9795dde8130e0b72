//! What a parameter is made of: tensors of a file, cut, turned, put together and added up.

use std::collections::HashMap;
use std::fmt;

use lstmc_compiler::diag::visible;
use lstmc_runtime::weights::Weights;
use ndarray::{ArrayD, Axis, IxDyn, Slice, concatenate};

/// How to make an array.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A tensor of the file, by its name.
    Tensor(String),
    /// A number, for every element.
    Number(f64),
    /// Rows as columns.
    Transpose(Box<Value>),
    /// A part along the first axes.
    Part(Box<Value>, Vec<Cut>),
    /// One under the other (axis 0), or side by side (axis 1).
    Join(usize, Vec<Value>),
    Reshape(Box<Value>, Vec<usize>),
    /// Summands, and whether they are taken away.
    Sum(Vec<(bool, Value)>),
}

/// What is taken along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    All,
    /// From the first index up to, not including, the second.
    Range(usize, usize),
    /// From an index to the end.
    From(usize),
    /// The n-th, counted from 1, of so many equal parts.
    Share(usize, usize),
}

/// A shape, or none of a number, which takes any.
type Shape = Option<Vec<usize>>;

impl Cut {
    /// The indices that it takes of so many.
    fn range(self, size: usize) -> Result<(usize, usize), String> {
        match self {
            Self::All => Ok((0, size)),
            Self::From(from) => Self::Range(from, size).range(size),
            Self::Range(from, to) if from < to && to <= size => Ok((from, to)),
            Self::Range(from, to) => Err(format!("{from}:{to} does not lie in {size} of them")),
            Self::Share(number, of) if of > 0 && (1..=of).contains(&number) && size.is_multiple_of(of) => {
                Ok((size / of * (number - 1), size / of * number))
            }
            Self::Share(number, of) => Err(format!("{number} of {of}: {size} cannot be cut so")),
        }
    }
}

impl Value {
    /// A part of a tensor's rows.
    pub fn share(self, number: usize, of: usize) -> Self {
        if of == 1 { self } else { Self::Part(self.into(), vec![Cut::Share(number, of)]) }
    }

    pub fn transposed(self) -> Self {
        Self::Transpose(self.into())
    }

    /// Sums one value up with others.
    pub fn plus(self, others: impl IntoIterator<Item = Self>) -> Self {
        let mut all = vec![(false, self)];
        all.extend(others.into_iter().map(|other| (false, other)));
        if let [(false, only)] = &all[..] { only.clone() } else { Self::Sum(all) }
    }

    /// The names of the tensors that it reads.
    pub fn tensors(&self) -> Vec<&str> {
        match self {
            Self::Tensor(name) => vec![name],
            Self::Number(_) => vec![],
            Self::Transpose(of) | Self::Part(of, _) | Self::Reshape(of, _) => of.tensors(),
            Self::Join(_, parts) => parts.iter().flat_map(Self::tensors).collect(),
            Self::Sum(terms) => terms.iter().flat_map(|(_, term)| term.tensors()).collect(),
        }
    }

    /// The shape that it has with the tensors of a file; none of a number.
    ///
    /// # Errors
    /// What does not fit, in words.
    pub fn shape(&self, weights: &Weights) -> Result<Shape, String> {
        let sized = |of: &Self, what: &str| {
            of.shape(weights)?.ok_or_else(|| format!("{what} wants a tensor, and {of} is a number"))
        };
        match self {
            Self::Tensor(name) => match weights.tensors.get(name) {
                Some(stored) => Ok(Some(stored.shape.clone())),
                None => Err(format!("the file has no tensor {}", visible(name))),
            },
            Self::Number(_) => Ok(None),
            Self::Transpose(of) => match sized(of, "transpose")?[..] {
                [rows, columns] => Ok(Some(vec![columns, rows])),
                ref other => Err(format!("transpose wants a matrix, and {of} is {other:?}")),
            },
            Self::Part(of, cuts) => {
                let mut shape = sized(of, "a part")?;
                if cuts.len() > shape.len() {
                    return Err(format!("{of} is {shape:?}, and has no {} axes to cut", cuts.len()));
                }
                for (size, cut) in shape.iter_mut().zip(cuts) {
                    let (from, to) = cut.range(*size).map_err(|error| format!("{self}: {error}"))?;
                    *size = to - from;
                }
                Ok(Some(shape))
            }
            Self::Join(axis, parts) => {
                let shapes =
                    parts.iter().map(|part| sized(part, self.name())).collect::<Result<Vec<_>, _>>()?;
                joined(*axis, &shapes).map(Some).ok_or_else(|| format!("{self} joins {shapes:?}"))
            }
            Self::Reshape(of, to) => {
                let from = sized(of, "reshape")?;
                let count =
                    |shape: &[usize]| shape.iter().try_fold(1usize, |all, &size| all.checked_mul(size));
                if count(&from) != count(to) {
                    return Err(format!("{of} is {from:?}, which cannot be {to:?}"));
                }
                Ok(Some(to.clone()))
            }
            Self::Sum(terms) => {
                let mut sum: Shape = None;
                for (_, term) in terms {
                    match (&sum, term.shape(weights)?) {
                        (Some(before), Some(shape)) if *before != shape => {
                            return Err(format!("{self} adds {before:?} and {shape:?}"));
                        }
                        (_, None) => {}
                        (_, shape) => sum = shape,
                    }
                }
                Ok(sum)
            }
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Join(0, _) => "rows",
            Self::Join(..) => "columns",
            _ => "it",
        }
    }
}

/// What shapes are one under the other, or side by side; vectors have rows alone.
fn joined(axis: usize, shapes: &[Vec<usize>]) -> Shape {
    let mut shape = shapes.first()?.clone();
    let rest = |shape: &[usize]| [&shape[..axis], &shape[axis + 1..]].concat();
    if shapes.iter().any(|one| one.len() <= axis || rest(one) != rest(&shape)) {
        return None;
    }
    shape[axis] = shapes.iter().try_fold(0usize, |all, one| all.checked_add(one[axis]))?;
    Some(shape)
}

/// Makes arrays of a file's tensors, each of which is read once.
pub struct Maker<'w> {
    weights: &'w Weights,
    read: HashMap<String, ArrayD<f32>>,
}

impl<'w> Maker<'w> {
    pub fn new(weights: &'w Weights) -> Self {
        Self { weights, read: HashMap::new() }
    }

    /// The elements, row by row, in a shape.
    ///
    /// # Errors
    /// As [`Weights::values`]; a value of another shape, which [`Value::shape`] has said before.
    pub fn make(&mut self, value: &Value, shape: &[usize]) -> anyhow::Result<Vec<f32>> {
        let made = self.array(value)?;
        let whole = match made.ndim() {
            0 => made.broadcast(IxDyn(shape)).map(|array| array.to_owned()),
            _ => (made.shape() == shape).then_some(made),
        };
        let whole = whole.ok_or_else(|| anyhow::anyhow!("internal error: {value} is not {shape:?}"))?;
        Ok(whole.iter().copied().collect())
    }

    fn array(&mut self, value: &Value) -> anyhow::Result<ArrayD<f32>> {
        Ok(match value {
            Value::Tensor(name) => self.tensor(name)?,
            Value::Number(number) => ArrayD::from_elem(IxDyn(&[]), *number as f32),
            Value::Transpose(of) => self.array(of)?.reversed_axes(),
            Value::Part(of, cuts) => {
                let mut array = self.array(of)?;
                for (axis, cut) in cuts.iter().enumerate() {
                    let (from, to) = cut.range(array.len_of(Axis(axis))).map_err(anyhow::Error::msg)?;
                    array = array.slice_axis(Axis(axis), Slice::from(from..to)).to_owned();
                }
                array
            }
            Value::Join(axis, parts) => {
                let arrays = parts.iter().map(|part| self.array(part)).collect::<anyhow::Result<Vec<_>>>()?;
                concatenate(Axis(*axis), &arrays.iter().map(|array| array.view()).collect::<Vec<_>>())?
            }
            Value::Reshape(of, shape) => {
                let rows: Vec<f32> = self.array(of)?.iter().copied().collect();
                ArrayD::from_shape_vec(IxDyn(shape), rows)?
            }
            Value::Sum(terms) => {
                let mut sum: Option<ArrayD<f32>> = None;
                for (minus, term) in terms {
                    let term = self.array(term)?;
                    sum = Some(match (sum, minus) {
                        (None, false) => term,
                        (None, true) => -term,
                        (Some(sum), false) => sum + term,
                        (Some(sum), true) => sum - term,
                    });
                }
                sum.unwrap_or_else(|| ArrayD::zeros(IxDyn(&[])))
            }
        })
    }

    fn tensor(&mut self, name: &str) -> anyhow::Result<ArrayD<f32>> {
        if let Some(array) = self.read.get(name) {
            return Ok(array.clone());
        }
        let values = self.weights.values(name)?;
        let shape = self.weights.tensors.get(name).map(|stored| stored.shape.clone()).unwrap_or_default();
        let array = ArrayD::from_shape_vec(IxDyn(&shape), values)?;
        self.read.insert(name.to_owned(), array.clone());
        Ok(array)
    }
}

/// As a mapping file has it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |values: &[Value]| values.iter().map(Value::to_string).collect::<Vec<_>>().join(", ");
        match self {
            Self::Tensor(name) => f.write_str(&quoted(name)),
            Self::Number(number) => write!(f, "{number}"),
            Self::Transpose(of) => write!(f, "transpose({of})"),
            Self::Part(of, cuts) => {
                let cuts: Vec<String> = cuts.iter().map(Cut::to_string).collect();
                match **of {
                    Self::Sum(_) => write!(f, "({of})[{}]", cuts.join(", ")),
                    _ => write!(f, "{of}[{}]", cuts.join(", ")),
                }
            }
            Self::Join(_, parts) => write!(f, "{}({})", self.name(), list(parts)),
            Self::Reshape(of, shape) => {
                let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
                write!(f, "reshape({of}, {})", sizes.join(", "))
            }
            Self::Sum(terms) => {
                for (place, (minus, term)) in terms.iter().enumerate() {
                    let sign = match (place, minus) {
                        (0, false) => "",
                        (0, true) => "-",
                        (_, false) => " + ",
                        (_, true) => " - ",
                    };
                    match term {
                        Self::Sum(_) => write!(f, "{sign}({term})")?,
                        _ => write!(f, "{sign}{term}")?,
                    }
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str(":"),
            Self::From(from) => write!(f, "{from}:"),
            Self::Range(from, to) => write!(f, "{from}:{to}"),
            Self::Share(number, of) => write!(f, "{number} of {of}"),
        }
    }
}

/// Whether a sign may stand in a name without quotes.
pub fn plain(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.')
}

/// A name as a mapping file has it: in quotes where it could be something else.
pub fn quoted(name: &str) -> String {
    let number = name.starts_with(|c: char| c.is_ascii_digit()) && name.parse::<f64>().is_ok();
    if !name.is_empty() && name.chars().all(plain) && !number && !WORDS.contains(&name) {
        return name.to_owned();
    }
    format!("{name:?}")
}

/// Names that mean something else.
pub const WORDS: [&str; 5] = ["transpose", "rows", "columns", "reshape", "ignore"];
