use std::collections::HashMap;
use std::fs;

use lstmc_compiler::kernel::{BufferKind, InputRole, Part};
use lstmc_compiler::plan::Program;

use super::*;
use crate::engine::Store;
use crate::engine::cpu::Session;
use crate::testing::{buffer, idle, program};

const NAME: &str = "a.safetensors";

/// A folder for one checkpoint.
struct Place {
    folder: Folder,
    _dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { folder: Folder::open(dir.path()).unwrap(), _dir: dir }
    }

    fn path(&self) -> PathBuf {
        self.folder.join(NAME)
    }

    fn save(&self, engine: &Session, meta: &Meta) {
        save(&self.folder, NAME, engine, meta).unwrap();
    }

    fn read(&self) -> Result<Checkpoint> {
        Checkpoint::read(&self.folder, NAME, Accept::Verified)
    }

    /// Reads the checkpoint and all that is in it.
    fn restore(&self) -> Result<Session> {
        let mut engine = idle(&model(1));
        self.read()?.restore(&mut engine, Take::Everything)?;
        Ok(engine)
    }

    /// Writes the tensors anew, with these metadata, as another program would.
    fn rewrite(&self, entries: HashMap<String, String>) {
        let bytes = fs::read(self.path()).unwrap();
        let stored = SafeTensors::deserialize(&bytes).unwrap();
        fs::write(self.path(), safetensors::serialize(stored.iter(), Some(entries)).unwrap()).unwrap();
    }

    fn entries(&self) -> HashMap<String, String> {
        let bytes = fs::read(self.path()).unwrap();
        SafeTensors::read_metadata(&bytes).unwrap().1.metadata().clone().unwrap()
    }
}

fn model(columns: usize) -> Program {
    let part = |name: &str, start, len| Part { name: name.into(), start, len };
    let parts = vec![part("W_i", 0, 2), part("W_f", 2, columns)];
    let state = InputRole::OptimizerState { param: "W".into(), start: 0.0 };
    program(
        "train",
        vec![
            buffer("W", &[2, 2 + columns], BufferKind::Input(InputRole::Param { parts })),
            buffer("W/s", &[2, 2 + columns], BufferKind::Input(state)),
            buffer("l.h", &[1, 2], BufferKind::Input(InputRole::Carried { start: 0.0 })),
        ],
    )
}

fn filled() -> Session {
    let mut arena = idle(&model(1));
    arena.write("W_i", &[1.0, 2.0, 3.0, 4.0]).unwrap();
    arena.write("W_f", &[0.1, f32::MIN_POSITIVE]).unwrap();
    arena.write("optimizer/W_f/s", &[7.0, 8.0]).unwrap();
    arena.write("carried/l.h", &[9.0, -0.0]).unwrap();
    arena
}

fn meta() -> Meta {
    let totals = Totals {
        batches: 2,
        loss: 0.1 + 0.2,
        hits: 3.0,
        predictions: 40,
        seconds: 0.5,
        norms: Norms { sum: 7.5, updates: 2 },
    };
    let position =
        Position { epoch: 1, step: 2, reported: 0, totals, seconds: 1.0 / 3.0, ..Position::default() };
    Meta::new("model {}".into(), "v".into(), u64::MAX, position)
}

#[test]
fn everything_comes_back_bit_for_bit() {
    let place = Place::new();
    let arena = filled();
    place.save(&arena, &meta());
    assert_eq!(place.folder.names().unwrap(), [NAME], "no temporary file is left");
    let checkpoint = place.read().unwrap();
    assert_eq!(checkpoint.meta, meta());
    assert!(checkpoint.meta.is_of("model {}") && !checkpoint.meta.is_of("model { }"));
    let mut other = idle(&model(1));
    checkpoint.restore(&mut other, Take::Everything).unwrap();
    for tensor in arena.tensors() {
        let bits = |engine: &Session| engine.bytes(&tensor.name).unwrap().into_owned();
        assert_eq!(bits(&arena), bits(&other), "{}", tensor.name);
    }
}

#[test]
fn sums_of_the_first_format_are_brought_up_to_date() {
    let place = Place::new();
    place.save(&filled(), &Meta { format: 1, ..meta() });
    let read = place.read().unwrap();
    assert_eq!(read.meta.format, FORMAT);
    // Two batches of 20 predictions each, whose means were added up.
    assert_eq!(read.meta.position.totals.mean_loss(), meta().position.totals.loss / 2.0);
    place.save(&filled(), &Meta { format: 3, ..meta() });
    assert!(matches!(place.read(), Err(Error::BrokenCheckpoint { .. })));
}

/// Batches of random starts are found by going through all passes before: from a place that was never reached, for ever.
#[test]
fn a_place_that_no_run_can_have_reached_is_refused() {
    let place = Place::new();
    let read = |step, seconds| {
        place.save(&filled(), &Meta { position: Position { step, seconds, ..meta().position }, ..meta() });
        place.read()
    };
    for (step, seconds) in [(0, 0.0), (1_000_000, 0.9), (1 << 40, 1e8)] {
        assert!(read(step, seconds).is_ok(), "{step} {seconds}");
    }
    for (step, seconds) in [(1, 0.0), (1 << 40, 3.0), (1 << 40, -1.0), (1 << 40, 1e200)] {
        let error = read(step, seconds).unwrap_err();
        assert!(error.to_string().contains(&format!("{step} updates took")), "{error}");
    }
}

#[test]
fn parameters_can_be_taken_alone() {
    let place = Place::new();
    place.save(&filled(), &meta());
    let mut other = idle(&model(1));
    place.read().unwrap().restore(&mut other, Take::Parameters).unwrap();
    assert_eq!(other.read("W_i").unwrap(), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(other.read("optimizer/W_f/s").unwrap(), [0.0, 0.0]);
}

#[test]
fn a_checkpoint_cut_short_anywhere_is_refused() {
    let place = Place::new();
    place.save(&filled(), &meta());
    let whole = fs::read(place.path()).unwrap();
    for length in 0..whole.len() {
        fs::write(place.path(), &whole[..length]).unwrap();
        let result = place.read();
        assert!(matches!(result, Err(Error::BrokenCheckpoint { .. })), "{length} of {} bytes", whole.len());
    }
    let longer = [whole.as_slice(), b"x"].concat();
    fs::write(place.path(), longer).unwrap();
    assert!(matches!(place.read(), Err(Error::BrokenCheckpoint { .. })));
}

#[test]
fn another_models_checkpoint_is_refused_with_every_difference() {
    let place = Place::new();
    place.save(&filled(), &meta());
    let checkpoint = place.read().unwrap();
    let mut wider = idle(&model(3));
    let error = checkpoint.restore(&mut wider, Take::Everything).unwrap_err();
    let Error::WrongModel { differences, .. } = &error else { panic!("{error}") };
    assert_eq!(*differences, ["W_f is [2, 1], not [2, 3]", "optimizer/W_f/s is [2, 1], not [2, 3]"]);
    assert_eq!(wider.read("W_i").unwrap(), [0.0; 4], "nothing was copied");
    let parts = vec![Part { name: "V".into(), start: 0, len: 1 }];
    let v = buffer("V", &[1], BufferKind::Input(InputRole::Param { parts }));
    let mut other = idle(&program("evaluate", vec![v]));
    let error = checkpoint.restore(&mut other, Take::Parameters).unwrap_err();
    let Error::WrongModel { differences, .. } = &error else { panic!("{error}") };
    assert_eq!(*differences, ["V is missing", "W_f is not in the model", "W_i is not in the model"]);
}

#[test]
fn another_vocabulary_is_refused() {
    let place = Place::new();
    place.save(&filled(), &meta());
    let checkpoint = place.read().unwrap();
    assert!(checkpoint.check_vocabulary("v").is_ok());
    let error = checkpoint.check_vocabulary("w").unwrap_err();
    assert!(matches!(error, Error::WrongVocabulary { .. }));
}

#[test]
fn a_checkpoint_of_another_program_is_refused() {
    let place = Place::new();
    safetensors::serialize_to_file(Vec::<(String, TensorView<'_>)>::new(), None, &place.path()).unwrap();
    let error = place.read().unwrap_err();
    assert!(error.to_string().contains("not written by lstmc"), "{error}");
}

#[test]
fn no_bit_can_change() {
    let place = Place::new();
    place.save(&filled(), &meta());
    let whole = fs::read(place.path()).unwrap();
    for bit in 0..8 * whole.len() {
        let mut changed = whole.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        match Checkpoint::of(place.path(), changed, Accept::Verified) {
            Err(Error::BrokenCheckpoint { .. } | Error::Unverified { .. }) => {}
            other => panic!("bit {} of byte {}: {other:?}", bit % 8, bit / 8),
        }
    }
    place.restore().unwrap();
}

#[test]
fn what_was_changed_is_named() {
    let place = Place::new();
    place.save(&filled(), &meta());
    let whole = fs::read(place.path()).unwrap();
    let mut changed = whole.clone();
    // Tensors lie in the order of their names, so the last is `optimizer/W_i/s`.
    *changed.last_mut().unwrap() ^= 1;
    fs::write(place.path(), changed).unwrap();
    let error = place.read().unwrap_err().to_string();
    assert!(error.contains("optimizer/W_i/s is not as it was written (the CRC-32 differs)"), "{error}");

    fs::write(place.path(), &whole).unwrap();
    let mut entries = place.entries();
    let entry = entries[ENTRY].replace("\"step\":2", "\"step\":3");
    entries.insert(ENTRY.into(), entry);
    place.rewrite(entries);
    let error = place.read().unwrap_err().to_string();
    assert!(error.contains("what it says about itself is not as it was written"), "{error}");

    fs::write(place.path(), &whole).unwrap();
    let mut entries = place.entries();
    let checksums = entries[CHECKSUMS].replace("\"W_f\"", "\"W_g\"");
    entries.insert(CHECKSUMS.into(), checksums);
    place.rewrite(entries);
    let error = place.read().unwrap_err().to_string();
    assert!(error.contains("W_f was not there when it was written"), "{error}");
}

#[test]
fn a_checkpoint_without_checksums_is_read_if_it_is_accepted() {
    let place = Place::new();
    place.save(&filled(), &meta());
    let mut entries = place.entries();
    entries.remove(CHECKSUMS);
    place.rewrite(entries);
    let error = place.read().unwrap_err();
    assert!(matches!(error, Error::Unverified { .. }), "{error}");
    assert!(error.to_string().contains("--accept-unverified"), "{error}");
    let read = Checkpoint::read(&place.folder, NAME, Accept::Unverified).unwrap();
    let mut engine = idle(&model(1));
    read.restore(&mut engine, Take::Everything).unwrap();
    assert_eq!(engine.read("W_i").unwrap(), [1.0, 2.0, 3.0, 4.0]);
    // One with checksums has to agree with them, whatever is accepted.
    place.save(&filled(), &meta());
    let mut changed = fs::read(place.path()).unwrap();
    *changed.last_mut().unwrap() ^= 1;
    fs::write(place.path(), changed).unwrap();
    let error = Checkpoint::read(&place.folder, NAME, Accept::Unverified).unwrap_err();
    assert!(matches!(error, Error::BrokenCheckpoint { .. }), "{error}");
}

#[test]
fn parameters_are_numbers() {
    for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let place = Place::new();
        let mut engine = filled();
        engine.write("W_f", &[0.5, bad]).unwrap();
        place.save(&engine, &meta());
        let mut other = idle(&model(1));
        for take in [Take::Everything, Take::Parameters] {
            let error = place.read().unwrap().restore(&mut other, take).unwrap_err();
            assert!(matches!(&error, Error::NotFinite { tensor, .. } if tensor == "W_f"), "{error}");
        }
        assert_eq!(other.read("W_i").unwrap(), [0.0; 4], "nothing was copied");
    }
    // What an optimizer keeps may have grown beyond all numbers; the largest of them is still one.
    let place = Place::new();
    let mut engine = filled();
    engine.write("optimizer/W_f/s", &[f32::INFINITY, 0.0]).unwrap();
    engine.write("W_f", &[f32::MAX, f32::MIN]).unwrap();
    place.save(&engine, &meta());
    place.restore().unwrap();
}
