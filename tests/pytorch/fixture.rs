//! Reads what `make_fixtures.py` wrote.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use lstmc_compiler::model::Model;
use safetensors::{Dtype, SafeTensors};

use crate::checked::checked;

/// Floats of either width, as f64.
pub struct Tensor {
    pub shape: Vec<usize>,
    pub values: Vec<f64>,
}

/// Ids in row-major order.
pub struct Ids {
    pub shape: Vec<usize>,
    pub values: Vec<u32>,
}

pub struct Batch {
    /// `[T, B]`
    pub tokens: Ids,
    /// `[T, B]`, or `[B]` where only the last step predicts.
    pub targets: Ids,
}

/// A model and three steps of its training, as PyTorch did them.
pub struct Fixture {
    pub name: String,
    pub model: Model,
    /// The same model with an optimizer that leaves the parameters as they are and keeps their gradients, unclipped, in a
    /// state named `gradient`.
    pub gradient_model: Model,
    /// Parameters before the first step.
    pub start: BTreeMap<String, Tensor>,
    pub batches: Vec<Batch>,
    /// By kind and step: by name of a parameter or state, or "".
    recorded: BTreeMap<(String, u64), BTreeMap<String, Tensor>>,
}

impl Fixture {
    pub fn all() -> Vec<Fixture> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        let entries = fs::read_dir(folder).expect("the fixtures' folder");
        let mut paths: Vec<_> = entries.map(|entry| entry.expect("a folder entry").path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "safetensors"));
        paths.sort();
        paths.iter().map(|path| Fixture::read(path)).collect()
    }

    fn read(path: &Path) -> Fixture {
        let bytes = fs::read(path).expect("a fixture");
        let (_, header) = SafeTensors::read_metadata(&bytes).expect("a safetensors file");
        let vocab = header.metadata().as_ref().and_then(|entries| entries.get("vocab")?.parse().ok());
        let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
        let source = fs::read_to_string(path.with_extension("lstm")).expect("the model beside the fixture");
        let vocab = vocab.expect("a vocabulary size");
        let mut fixture = Fixture {
            name: path.file_stem().expect("a file name").to_string_lossy().into_owned(),
            model: check(&source, vocab),
            gradient_model: check(&keeping_gradients(&source), vocab),
            start: BTreeMap::new(),
            batches: vec![],
            recorded: BTreeMap::new(),
        };
        for (key, view) in file.iter() {
            let (kind, rest) = key.split_once('/').expect("a kind");
            if view.dtype() == Dtype::U32 {
                continue;
            }
            let (step, name) = rest.split_once('/').unwrap_or((rest, ""));
            match step.parse() {
                Ok(step) => {
                    let kind = fixture.recorded.entry((kind.to_string(), step)).or_default();
                    kind.insert(name.to_string(), floats(&view));
                }
                Err(_) => _ = fixture.start.insert(rest.to_string(), floats(&view)),
            }
        }
        let read =
            |kind: &str, step: usize| file.tensor(&format!("{kind}/{step}")).ok().map(|view| ids(&view));
        fixture.batches = (1..)
            .map_while(|step| Some(Batch { tokens: read("tokens", step)?, targets: read("targets", step)? }))
            .collect();
        fixture.check_complete();
        fixture
    }

    /// Each of the model's parameters is there, in its shape, and has a gradient and a new value at each step.
    fn check_complete(&self) {
        assert_eq!(self.batches.len(), 3, "{}: steps", self.name);
        let shapes = |tensors: &BTreeMap<String, Tensor>| -> BTreeMap<String, Vec<usize>> {
            tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shape.clone())).collect()
        };
        let params =
            self.model.params.iter().map(|param| (param.name.clone(), param.shape.clone())).collect();
        assert_eq!(shapes(&self.start), params, "{}: parameters", self.name);
        for step in 1..=3 {
            for kind in ["gradient", "param"] {
                let found = self.recorded.get(&(kind.to_string(), step)).map(shapes);
                assert_eq!(found.as_ref(), Some(&params), "{}: {kind}/{step}", self.name);
            }
        }
    }

    /// All that was recorded of one kind at one step, by name.
    pub fn tensors(&self, kind: &str, step: u64) -> impl Iterator<Item = (&String, &Tensor)> {
        self.recorded.get(&(kind.to_string(), step)).into_iter().flatten()
    }

    pub fn tensor(&self, kind: &str, step: u64, name: &str) -> &Tensor {
        let found = self.recorded.get(&(kind.to_string(), step)).and_then(|tensors| tensors.get(name));
        found.unwrap_or_else(|| panic!("{} has no {kind}/{step}/{name}", self.name))
    }
}

fn keeping_gradients(source: &str) -> String {
    let keep =
        "optimizer keep(p, g, rate = 0) {\n    state gradient\n    next gradient = g\n    return p\n}\n";
    let line = |line: &str| match line.trim_start().split_once(':') {
        Some(("clip", _)) => String::new(),
        Some(("optimizer", _)) => "    optimizer: keep\n".to_string(),
        _ => format!("{line}\n"),
    };
    let lines: String = source.lines().map(line).collect();
    format!("{keep}{lines}")
}

fn check(source: &str, vocab: usize) -> Model {
    checked(source, vocab).unwrap_or_else(|errors| panic!("{errors}"))
}

fn floats(view: &safetensors::tensor::TensorView) -> Tensor {
    let values = match view.dtype() {
        Dtype::F32 => words(view.data()).map(|word| f64::from(f32::from_le_bytes(word))).collect(),
        Dtype::F64 => words(view.data()).map(f64::from_le_bytes).collect(),
        other => panic!("a tensor of {other:?}"),
    };
    Tensor { shape: view.shape().to_vec(), values }
}

fn ids(view: &safetensors::tensor::TensorView) -> Ids {
    assert_eq!(view.dtype(), Dtype::U32);
    Ids { shape: view.shape().to_vec(), values: words(view.data()).map(u32::from_le_bytes).collect() }
}

fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.as_chunks().0.iter().copied()
}
