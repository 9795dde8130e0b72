use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use safetensors::tensor::TensorView;

use super::*;
use crate::checkpoint::{Accept, Meta, Position};
use crate::text::Role;

fn vocabulary() -> Vocabulary {
    Vocabulary::build(["a", "b"], 0)
}

fn settings() -> Settings {
    let text = Record::new(Role::Train, "a.txt".into(), b"a b", 2);
    Settings { data: "somewhere".into(), seed: 3, texts: vec![text], imported: None }
}

fn run(dir: &tempfile::TempDir) -> RunDir {
    RunDir::create(&dir.path().join("run"), "model {}", &vocabulary(), &settings()).unwrap()
}

fn row(step: u64) -> Row {
    Row { epoch: 1, step, train_loss: Some(0.5), ..Row::default() }
}

#[test]
fn a_run_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    run(&dir);
    let run = RunDir::open(&dir.path().join("run")).unwrap();
    assert_eq!(run.source().unwrap(), "model {}");
    assert_eq!(run.vocabulary().unwrap(), vocabulary());
    assert_eq!(run.settings().unwrap(), settings());
    assert!(matches!(RunDir::open(dir.path()), Err(Error::NotARun { .. })));
}

/// As version 0.1 wrote them.
#[test]
fn settings_without_texts_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let run = run(&dir);
    fs::write(run.path().join(SETTINGS), r#"{"data":"somewhere","seed":3}"#).unwrap();
    assert_eq!(run.settings().unwrap(), Settings { texts: vec![], ..settings() });
}

#[test]
fn a_folder_that_holds_a_run_is_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let again = || RunDir::create(&dir.path().join("run"), "other", &vocabulary(), &settings());
    let first = run(&dir);
    assert!(matches!(again(), Err(Error::Busy { .. })), "it is being written");
    fs::write(first.checkpoint("epoch-01"), "").unwrap();
    drop(first);
    assert!(matches!(again(), Err(Error::RunExists { .. })));
    let run = RunDir::open(&dir.path().join("run")).unwrap();
    assert_eq!(run.source().unwrap(), "model {}");
}

#[test]
fn a_run_without_a_checkpoint_is_begun_again() {
    let dir = tempfile::tempdir().unwrap();
    let first = run(&dir);
    first.append(&row(1)).unwrap();
    let path = first.path().to_owned();
    drop(first);
    let again = RunDir::create(&path, "other", &vocabulary(), &settings()).unwrap();
    assert_eq!(again.source().unwrap(), "other");
    assert!(!path.join(METRICS).exists());
}

#[test]
fn runs_get_the_next_free_name() {
    let dir = tempfile::tempdir().unwrap();
    let create = || RunDir::create_in(dir.path(), "run", "model {}", &vocabulary(), &settings()).unwrap();
    let first = run(&dir);
    // One that is still being made: locked, and without a model.
    let second = RunDir::claim(&dir.path().join("run-2")).unwrap();
    let third = create();
    assert_eq!(third.path(), dir.path().join("run-3"));
    drop((first, second));
    assert_eq!(create().path(), dir.path().join("run-2"));
    assert_eq!(create().path(), dir.path().join("run-4"));
}

#[test]
fn one_process_at_a_time_takes_a_run_up() {
    let dir = tempfile::tempdir().unwrap();
    let first = run(&dir);
    assert!(matches!(RunDir::take_up(first.path()), Err(Error::Busy { .. })));
    assert!(RunDir::open(first.path()).is_ok(), "reading needs no lock");
    let path = first.path().to_owned();
    drop(first);
    let second = RunDir::take_up(&path).unwrap();
    assert!(matches!(RunDir::take_up(&path), Err(Error::Busy { .. })));
    drop(second);
    assert!(matches!(RunDir::take_up(dir.path()), Err(Error::NotARun { .. })));
    assert!(!dir.path().join("lock").exists(), "nothing is made in another folder");
}

#[test]
fn what_a_live_process_is_writing_stays() {
    let dir = tempfile::tempdir().unwrap();
    let first = run(&dir);
    let (path, folder) = (first.path().to_owned(), first.checkpoints_folder().unwrap());
    let writing = files::Writing::begin(&folder, "epoch-01.safetensors").unwrap();
    assert!(matches!(RunDir::take_up(&path), Err(Error::Busy { .. })));
    assert_eq!(folder.names().unwrap().len(), 1);
    // As if it had been killed.
    std::mem::forget(writing);
    drop(first);
    RunDir::take_up(&path).unwrap();
    assert!(folder.names().unwrap().is_empty());
}

#[test]
fn a_file_of_a_run_that_is_gone_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let run = run(&dir);
    fs::remove_file(run.path().join(VOCABULARY)).unwrap();
    assert!(matches!(run.vocabulary(), Err(Error::Lost { missing: "vocab.json", .. })));
    for name in ["epoch-01", "epoch-02"] {
        fs::write(run.checkpoint(name), "").unwrap();
        if name == "epoch-01" {
            assert_eq!(run.latest().unwrap(), name, "the only one");
        }
    }
    let error = run.latest().unwrap_err();
    assert!(error.to_string().contains("the newest: epoch-01, epoch-02"), "{error}");
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let result = RunDir::create(&file.join("run"), "m", &vocabulary(), &settings());
    assert!(matches!(result, Err(Error::Write { .. })));
}

#[test]
fn rows_have_exactly_the_documented_fields() {
    let text = serde_json::to_string(&row(7)).unwrap();
    assert_eq!(
        text,
        "{\"epoch\":1,\"step\":7,\"train_loss\":0.5,\"train_perplexity\":null,\"train_accuracy\":null,\
         \"valid_loss\":null,\"valid_perplexity\":null,\"valid_accuracy\":null,\"valid_word_perplexity\":null,\
         \"valid_bits_per_character\":null,\"learning_rate\":null,\"gradient_norm\":null,\
         \"words_per_second\":null,\"seconds\":null}"
    );
}

#[test]
fn resuming_drops_rows_after_the_checkpoint_and_half_lines() {
    let dir = tempfile::tempdir().unwrap();
    let run = run(&dir);
    run.forget_after(0).unwrap();
    let point = |step| Point { step, ..Point::default() };
    run.append_points(&[]).unwrap();
    assert!(!run.path().join(POINTS).exists());
    (1..=4).for_each(|n| run.append(&row(n * 10)).unwrap());
    (1..=4).for_each(|n| run.append_points(&[point(n * 10 - 5), point(n * 10)]).unwrap());
    for name in [METRICS, POINTS] {
        let mut file = fs::OpenOptions::new().append(true).open(run.path().join(name)).unwrap();
        file.write_all(b"{\"epoch\":1,\"st").unwrap();
    }
    // A line that is being written is not there yet.
    assert_eq!((run.metrics().unwrap().len(), run.points().unwrap().len()), (4, 8));
    run.forget_after(30).unwrap();
    let steps: Vec<u64> = run.metrics().unwrap().iter().map(|row| row.step).collect();
    assert_eq!(steps, [10, 20, 30]);
    let steps: Vec<u64> = run.points().unwrap().iter().map(|point| point.step).collect();
    assert_eq!(steps, [5, 10, 15, 20, 25, 30]);
    let text = fs::read_to_string(run.path().join(METRICS)).unwrap();
    fs::write(run.path().join(METRICS), format!("x{text}")).unwrap();
    assert!(matches!(run.metrics(), Err(Error::BadFile { .. })));
}

#[test]
fn event_files_go_on_in_the_order_of_their_names_and_are_cut_where_the_run_is() {
    let dir = tempfile::tempdir().unwrap();
    let run = run(&dir);
    assert!(!run.has_events().unwrap());
    let others = ["events.out.tfevents.1.elsewhere", "events.out.tfevents.x.lstmc"];
    others.iter().for_each(|name| fs::write(run.path().join(name), "others").unwrap());
    let names = || {
        let names = run.folder.names().unwrap().into_iter();
        names.filter(|name| name.contains("tfevents") && !others.contains(&name.as_str())).collect::<Vec<_>>()
    };
    let sizes =
        || names().iter().map(|name| fs::metadata(run.path().join(name)).unwrap().len()).collect::<Vec<_>>();
    let first = run.begin_events(0).unwrap();
    first.row(&row(10)).unwrap();
    let at_ten = sizes();
    first.points(&[Point { step: 15, train_loss: Some(1.0), ..Point::default() }]).unwrap();
    let second = run.begin_events(15).unwrap();
    let third = run.begin_events(15).unwrap();
    second.text(20, "model", "a\nb").unwrap();
    assert!(names().is_sorted() && names().len() == 3 && run.has_events().unwrap());
    run.forget_after(10).unwrap();
    let version = 12 + 9 + 15 + 4;
    assert_eq!(sizes(), [at_ten[0], version, version]);
    drop((first, second, third));
    run.forget().unwrap();
    assert!(names().is_empty());
    assert!(others.iter().all(|name| fs::read(run.path().join(name)).unwrap() == b"others"));
}

#[test]
fn the_latest_checkpoint_replaces_passing_ones() {
    let dir = tempfile::tempdir().unwrap();
    let run = run(&dir);
    assert!(matches!(run.latest(), Err(Error::NoCheckpoint { .. })));
    for name in ["epoch-01", "step-000010", "step-000020"] {
        fs::write(run.checkpoint(name), "").unwrap();
        run.set_latest(name).unwrap();
        run.prune(name, &Keep::default()).unwrap();
    }
    assert_eq!(run.latest().unwrap(), "step-000020");
    assert!(run.checkpoint("epoch-01").exists());
    assert!(!run.checkpoint("step-000010").exists());
    fs::write(run.path().join(LATEST), "../../etc").unwrap();
    assert!(matches!(run.latest(), Err(Error::BadFile { .. })));
}

/// The names of the checkpoints that stay of some.
#[track_caller]
fn stays(names: &[&str], newest: &str, keep: Keep, left: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let run = run(&dir);
    names.iter().for_each(|name| fs::write(run.checkpoint(name), "").unwrap());
    run.prune(newest, &keep).unwrap();
    let expected: Vec<String> = left.iter().map(|name| place::file_of(name)).collect();
    assert_eq!(run.checkpoints_folder().unwrap().names().unwrap(), expected);
}

#[test]
fn as_many_checkpoints_stay_as_are_to() {
    let epochs = ["epoch-01", "epoch-02", "epoch-03", "epoch-04", "left-epoch-05", "mine", "step-000007"];
    let two = Keep { newest: Some(2), ..Keep::default() };
    stays(&epochs, "epoch-04", two, &["epoch-03", "epoch-04", "left-epoch-05", "mine"]);
    let best = Keep { best: Some(Place::Epoch(1)), ..two };
    stays(&epochs, "epoch-04", best, &["epoch-01", "epoch-03", "epoch-04", "left-epoch-05", "mine"]);
    // Inside an epoch the newest is one more; what lies ahead will be written anew.
    let inside = ["epoch-03", "epoch-04", "left-epoch-05", "mine", "step-000007"];
    stays(&epochs, "step-000007", two, &inside);
    stays(&epochs, "epoch-03", two, &["epoch-02", "epoch-03", "epoch-04", "left-epoch-05", "mine"]);
    let steps = ["step-000000", "step-000010", "step-000015", "step-000020", "step-000030"];
    let reports = Keep { interval: Some(10), ..Keep::default() };
    stays(&steps, "step-000030", reports, &["step-000030"]);
    let two = Keep { newest: Some(2), ..reports };
    stays(&steps, "step-000030", two, &["step-000020", "step-000030"]);
    let best = Keep { best: Some(Place::Step(10)), newest: Some(1), ..reports };
    stays(&steps, "step-000030", best, &["step-000010", "step-000030"]);
}

#[test]
fn the_best_checkpoint_is_that_of_the_lowest_loss() {
    let dir = tempfile::tempdir().unwrap();
    let run = run(&dir);
    let add = |epoch, loss| {
        run.append(&Row { epoch, step: 4 * epoch, valid_loss: Some(loss), ..Row::default() }).unwrap();
    };
    assert!(matches!(run.best(), Err(Error::NoBest { .. })));
    for (epoch, loss) in [(1, 2.0), (2, 1.0), (3, 1.0), (4, f64::NAN), (5, 0.5)] {
        add(epoch, loss);
        if epoch < 5 {
            fs::write(run.checkpoint(&Place::Epoch(epoch).name()), "").unwrap();
        }
    }
    assert_eq!(run.best().unwrap(), Place::Epoch(2), "the last one has its row and no checkpoint yet");
    fs::remove_file(run.checkpoint("epoch-02")).unwrap();
    let error = run.best().unwrap_err().to_string();
    assert!(error.contains("that of epoch 2 did not stay"), "{error}");
    let error = run.chosen(&Choice::Number(7), Accept::Verified).unwrap_err();
    assert!(matches!(error, Error::BadFile { .. }), "several, and no `latest`: {error}");
    run.set_latest("epoch-04").unwrap();
    let error = run.chosen(&Choice::Number(7), Accept::Verified).unwrap_err().to_string();
    assert!(error.ends_with("is of epoch 7; there are epochs 1, 3 and 4, newest"), "{error}");
}

/// Another process writes checkpoints as fast as it can, and removes those before.
#[test]
fn the_newest_checkpoint_is_found_beside_a_training() {
    let dir = tempfile::tempdir().unwrap();
    let run = run(&dir);
    let meta = Meta::new(String::new(), String::new(), 0, Position::default());
    let entries = HashMap::from([("lstmc".to_owned(), serde_json::to_string(&meta).unwrap())]);
    let nothing = Vec::<(String, TensorView<'_>)>::new();
    let bytes = safetensors::serialize(nothing, Some(entries)).unwrap();
    let write = |step: u32| {
        let name = format!("step-{step:06}");
        fs::write(run.checkpoint(&name), &bytes).unwrap();
        run.set_latest(&name).unwrap();
        run.prune(&name, &Keep::default()).unwrap();
    };
    write(0);
    let over = AtomicBool::new(false);
    let looks = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut looks = 0;
            while !over.load(Relaxed) {
                run.newest(Accept::Unverified).unwrap();
                looks += 1;
            }
            looks
        });
        (1..1000).for_each(write);
        over.store(true, Relaxed);
        reader.join().unwrap()
    });
    assert!(looks > 0);
}

#[test]
fn the_log_can_be_read_on_a_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let run = run(&dir);
    run.log("cannot find \u{1b}[2J").unwrap();
    let log = fs::read_to_string(run.path().join(LOG)).unwrap();
    assert!(log.ends_with("Z cannot find \\u{1b}[2J\n"), "{log}");
}

#[test]
fn times_are_utc() {
    assert_eq!(utc(0), "1970-01-01T00:00:00Z");
    assert_eq!(utc(951_782_400), "2000-02-29T00:00:00Z");
    assert_eq!(utc(1_767_225_599), "2025-12-31T23:59:59Z");
}
