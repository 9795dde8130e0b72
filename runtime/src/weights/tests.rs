use std::fs;
use std::io::Write;

use proptest::prelude::*;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::*;

/// What `tests/weights/make_weights.py` wrote.
fn example(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/weights").join(name)).expect("an example")
}

/// Has a file of these bytes opened and read; says what was wrong.
fn read(bytes: &[u8]) -> Result<Vec<Vec<f32>>> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("w");
    fs::write(&path, bytes).expect("a file");
    let weights = Weights::open(&path)?;
    weights.tensors.keys().map(|name| weights.values(name)).collect()
}

fn refusal(bytes: &[u8]) -> String {
    read(bytes).expect_err("it is refused").to_string()
}

#[test]
fn every_way_of_saving_has_the_same_tensors() {
    let [zip, legacy, safetensors] =
        ["lstm.pt", "lstm-legacy.pt", "lstm.safetensors"].map(|name| read(&example(name)).expect("tensors"));
    assert_eq!(zip.len(), 11);
    assert!(zip == legacy && zip == safetensors);
    assert!(zip.iter().flatten().all(|value| value.abs() < 0.6 && *value != 0.0));
}

#[test]
fn elements_are_converted() {
    let of = |elements, bytes: &[u8]| converted(&elements, bytes);
    assert_eq!(of(Elements::F64, &1.5f64.to_le_bytes()), Some(vec![1.5]));
    assert_eq!(of(Elements::F64, &1e60f64.to_le_bytes()), Some(vec![f32::INFINITY]));
    // A sign, five bits of exponent around 15, ten of fraction; and the upper half of an f32.
    assert_eq!(of(Elements::F16, &[0x00, 0xc0, 0x01, 0x00]), Some(vec![-2.0, 2f32.powi(-24)]));
    assert_eq!(of(Elements::Bf16, &[0x40, 0xc0]), Some(vec![-3.0]));
    assert_eq!(of(Elements::Other("i64".into()), &[0; 8]), None);
}

/// An archive whose description is so many bytes of the letter N, which are objects, and take no room in it.
fn packed(length: usize) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(vec![]);
    let mut zip = ZipWriter::new(&mut bytes);
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    zip.start_file("archive/data.pkl", options).expect("an entry");
    zip.write_all(&vec![b'N'; length]).expect("its bytes");
    zip.finish().expect("an archive");
    bytes.into_inner()
}

#[test]
fn small_files_are_not_taken_for_large_ones() {
    let bytes = packed(50 << 20);
    assert!(bytes.len() < 1 << 20, "{}", bytes.len());
    assert!(refusal(&bytes).contains("says that it has 52428800 bytes, and the file has "));
    // A view of one number, 2^30 times.
    let said = refusal(&example("expanded.pt"));
    assert!(said.contains("encoder.weight would be 4294967296 bytes, and the file has 1584"), "{said}");
    // A TAR archive can have a hole of any length.
    let mut tar = vec![0; 512];
    tar[257..262].copy_from_slice(b"ustar");
    tar[300..310].copy_from_slice(MAGIC_BYTES);
    assert!(refusal(&tar).contains("it is a TAR archive"));
    // As long as the file is, it is none.
    assert!(refusal(b"\xff\xff\xff\xff\xff\xff\xff\x00{").contains("begins like safetensors, and is not"));
}

const MAGIC_BYTES: &[u8] = &[0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

#[test]
fn the_mean_of_a_checkpoint_is_read_in_place_of_its_parameters() {
    let meta = |averaged: u64| {
        let position = crate::checkpoint::Position { averaged, ..Default::default() };
        serde_json::to_string(&crate::checkpoint::Meta::new("s".into(), "v".into(), 0, position))
            .expect("JSON")
    };
    for (averaged, expected) in [(0, 1.0), (3, 2.0)] {
        let tensors = ["p", "optimizer/p/param.mean", "carried/l.h"]
            .map(str::to_owned)
            .into_iter()
            .zip([1.0, 2.0, 3.0])
            .map(|(name, value)| (name, vec![1], vec![value]))
            .collect::<Vec<(String, Vec<usize>, Vec<f32>)>>();
        let entries = std::collections::HashMap::from([("lstmc".to_owned(), meta(averaged))]);
        let bytes = crate::export::safetensors(&tensors, entries).expect("a file");
        assert_eq!(read(&bytes).expect("tensors"), [[expected]]);
    }
}

/// A change of a file: bytes replaced, and a part left out.
fn changed() -> impl Strategy<Value = Vec<u8>> {
    let name = prop::sample::select(vec![
        "lstm-legacy.pt",
        "lstm.safetensors",
        "rnn.pt",
        "lstm-module.pt",
        "expanded.pt",
    ]);
    let place = any::<prop::sample::Index>;
    (name, prop::collection::vec((place(), any::<u8>()), 0..12), place(), prop::option::of(place())).prop_map(
        |(name, changes, from, to)| {
            let mut bytes = example(name);
            for (place, byte) in changes {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            match to {
                // Nothing is left out.
                None => bytes,
                Some(to) => {
                    let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
                    [&bytes[..from.min(to)], &bytes[from.max(to)..]].concat()
                }
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_damage_makes_a_reader_panic(bytes in changed()) {
        if let Ok(tensors) = read(&bytes) {
            prop_assert!(tensors.iter().flatten().all(|value| value.is_finite()));
            // Each is no longer than the file: eleven are there at most.
            let values: usize = tensors.iter().map(Vec::len).sum();
            prop_assert!(values <= 11 * bytes.len());
        }
    }
}
