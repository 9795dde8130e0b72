//! Tensors of PyTorch checkpoints: the ZIP archives of version 1.6 and later, and the streams of pickles before.
//!
//! The crate `pytorch-reader` reads them, and runs nothing. What it reads into memory is bounded here by the length of the file,
//! which its own limits are not: an archive may say that its entries are longer than it, and a view of one number that it is a
//! tensor of any size. TAR archives can say so too, and are refused.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use pytorch_reader::{DType, PytorchReader, Tensor};
use zip::ZipArchive;

use super::{Elements, Stored};

/// What archives begin with.
const ZIP: [&[u8]; 2] = [b"PK\x03\x04", b"PK\x05\x06"];
/// The number that older files begin with, as pickles have it: as bytes, or in decimals.
const MAGIC: [&[u8]; 2] =
    [&[0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19], b"119547037146038801333356"];
/// How far from the beginning of the file that ends at most.
const MAGIC_WITHIN: usize = 64;
/// The description of the tensors in an archive.
const PICKLE: &str = "data.pkl";

/// Whether a file that begins like this is one.
pub(super) fn is_one(head: &[u8]) -> bool {
    let first = &head[..head.len().min(MAGIC_WITHIN)];
    let has = |magic: &&[u8]| first.windows(magic.len()).any(|bytes| bytes == *magic);
    ZIP.iter().any(|zip| head.starts_with(zip)) || !is_tar(head) && MAGIC.iter().any(has)
}

pub(super) fn is_tar(head: &[u8]) -> bool {
    head.get(257..262) == Some(b"ustar")
}

/// The tensors of a file, which stays open.
#[derive(Debug)]
pub(super) struct Reader {
    tensors: HashMap<String, Tensor>,
    /// Of the file, in bytes.
    length: u64,
}

impl Reader {
    /// The reader, and what it can read; or what is wrong with the file.
    pub fn open(path: &Path) -> Result<(Self, BTreeMap<String, Stored>), String> {
        const SAVE: &str =
            "; in PyTorch, save the parameters alone, with torch.save(model.state_dict(), \"weights.pt\")";
        let length = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
        let found = unpacked_is_no_longer(path, length).and_then(|()| {
            PytorchReader::new(path).map(PytorchReader::into_tensors).map_err(|error| error.to_string())
        });
        let tensors = found
            .map_err(|error| format!("its tensors cannot be read: {}{SAVE}", error.trim_end_matches('.')))?;
        let stored = tensors.iter().map(|(name, tensor)| (name.clone(), stored(name, tensor))).collect();
        Ok((Self { tensors, length }, stored))
    }

    pub fn bytes(&self, name: &str) -> Result<Vec<u8>, String> {
        let tensor = self.tensors.get(name).ok_or_else(|| format!("it has no tensor {name}"))?;
        let (wanted, length) = (tensor.byte_len() as u64, self.length);
        if wanted > length {
            return Err(format!("{name} would be {wanted} bytes, and the file has {length}"));
        }
        tensor.read().map_err(|error| error.to_string())
    }
}

/// Whether the description in an archive is no longer than the whole file, so that no small file is a large one. PyTorch packs
/// nothing; what other programs have packed is mostly values.
fn unpacked_is_no_longer(path: &Path, length: u64) -> Result<(), String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let Ok(mut archive) = ZipArchive::new(BufReader::new(file)) else {
        // It is no archive, or a broken one, which the reader says in its words.
        return Ok(());
    };
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(|error| error.to_string())?;
        if entry.name_raw().ends_with(PICKLE.as_bytes()) && entry.size() > length {
            let size = entry.size();
            return Err(format!("its {PICKLE} says that it has {size} bytes, and the file has {length}"));
        }
    }
    Ok(())
}

fn stored(name: &str, tensor: &Tensor) -> Stored {
    let elements = match tensor.dtype() {
        DType::F32 => Elements::F32,
        DType::F64 => Elements::F64,
        DType::F16 => Elements::F16,
        DType::BF16 => Elements::Bf16,
        other => Elements::Other(format!("{other:?}").to_lowercase()),
    };
    Stored { shape: tensor.shape().into(), elements, source: name.into() }
}
