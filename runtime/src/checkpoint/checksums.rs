//! Checksums of a checkpoint's tensors and of what it says about itself. They show damage; who wrote the file they cannot
//! show.

use std::collections::BTreeMap;

use safetensors::tensor::SafeTensors;
use serde::{Deserialize, Serialize};

/// CRC-32 (that of zlib), each as eight hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checksums {
    /// Of the text of the entry `lstmc`.
    entry: String,
    /// Of each tensor's bytes.
    tensors: BTreeMap<String, String>,
}

impl Checksums {
    /// Those of the entry, and of tensors whose bytes are not known yet. What is set later is as long.
    pub fn begin<'n>(entry: &str, names: impl Iterator<Item = &'n str>) -> Self {
        let unknown = |name: &str| (name.to_owned(), checksum(&[]));
        Self { entry: checksum(entry.as_bytes()), tensors: names.map(unknown).collect() }
    }

    pub fn set(&mut self, name: &str, bytes: &[u8]) {
        self.tensors.insert(name.to_owned(), checksum(bytes));
    }

    /// Compares with what was read, or says what differs.
    pub fn check(&self, entry: &str, stored: &SafeTensors<'_>) -> Result<(), String> {
        if self.entry != checksum(entry.as_bytes()) {
            return Err("what it says about itself is not as it was written (the CRC-32 differs)".into());
        }
        for (name, view) in stored.iter() {
            match self.tensors.get(name) {
                Some(sum) if *sum == checksum(view.data()) => {}
                Some(_) => return Err(format!("{name} is not as it was written (the CRC-32 differs)")),
                None => return Err(format!("{name} was not there when it was written")),
            }
        }
        match self.tensors.keys().find(|name| stored.tensor(name).is_err()) {
            Some(gone) => Err(format!("{gone} was there when it was written")),
            None => Ok(()),
        }
    }
}

fn checksum(bytes: &[u8]) -> String {
    format!("{:08x}", crc32fast::hash(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value of the CRC catalogue.
    #[test]
    fn the_checksum_is_that_of_zlib() {
        assert_eq!(checksum(b"123456789"), "cbf43926");
        assert_eq!(checksum(b""), "00000000");
    }
}
