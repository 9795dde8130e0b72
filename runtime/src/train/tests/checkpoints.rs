//! Which checkpoints a training leaves, when it ends before its time, and where it can be taken up again.

use super::*;
use crate::run_dir::Choice;

/// The names of the run's checkpoints.
fn checkpoints(run: &RunDir) -> Vec<String> {
    let entries = fs::read_dir(run.path().join("checkpoints")).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names.iter().map(|name| name.trim_end_matches(".safetensors").to_owned()).collect()
}

/// Training that makes the model better up to some epoch, and then worse.
fn overfitting(epochs: usize) -> Bench {
    let mut bench = Bench::stream(epochs);
    // The loss is |w + something small|, and w falls: it passes the lowest point on its way.
    bench.start = 0.6;
    bench.recipe.keep_best = true;
    bench.recipe.keep = Some(1);
    bench
}

/// The epoch of the lowest validation loss, by the metrics.
fn best_of(run: &RunDir) -> u64 {
    let rows = run.metrics().unwrap();
    let best = rows.iter().min_by(|a, b| a.valid_loss.unwrap().total_cmp(&b.valid_loss.unwrap()));
    best.unwrap().epoch
}

#[test]
fn the_best_checkpoint_stays_beside_the_newest() {
    let bench = overfitting(9);
    let run = bench.create("a");
    let mut trainer = bench.trainer(&run, None);
    let mut reports = Vec::new();
    trainer.run(&mut |report| reports.push(report.best)).unwrap();
    let best = best_of(&run);
    assert!(1 < best && best < 9, "the test needs a best epoch in the middle: {best}");
    assert_eq!(checkpoints(&run), [format!("epoch-{best:02}"), "epoch-09".into()]);
    assert_eq!(run.best().unwrap(), Place::Epoch(best));
    assert_eq!(reports, (1..=9).map(|epoch| epoch <= best).collect::<Vec<_>>());
    let summary = trainer.summary().unwrap().unwrap();
    assert_eq!(
        (summary.row.epoch, summary.checkpoint),
        (best, Some(run.checkpoint(&Place::Epoch(best).name())))
    );
}

#[test]
fn patience_ends_a_run_and_is_counted_on() {
    let mut bench = overfitting(30);
    bench.recipe.patience = Some(3);
    let whole_run = bench.create("whole");
    let mut whole = bench.trainer(&whole_run, None);
    assert_eq!(whole.run(&mut |_| {}).unwrap(), Outcome::Settled);
    let best = best_of(&whole_run);
    let last = whole.position().epoch;
    assert_eq!(last, best + 3);
    assert_eq!(checkpoints(&whole_run), [best, last].map(|epoch| format!("epoch-{epoch:02}")));
    // Again nothing is left to do.
    assert_eq!(bench.resumed(&whole_run, None).run(&mut |_| {}).unwrap(), Outcome::Settled);
    for cut in 1..4 * last {
        let run = bench.create(&format!("cut-{cut}"));
        bench.trainer(&run, Some(cut)).run(&mut |_| {}).unwrap();
        let mut rest = bench.resumed(&run, None);
        assert_eq!(rest.run(&mut |_| {}).unwrap(), Outcome::Settled);
        assert_eq!(bits(&rest), bits(&whole), "cut at {cut}");
        assert_eq!(rest.position().validations, whole.position().validations, "cut at {cut}");
        assert_eq!(checkpoints(&run), checkpoints(&whole_run), "cut at {cut}");
    }
}

#[test]
fn a_run_goes_on_from_an_older_checkpoint_and_leaves_the_later_ones_behind() {
    let bench = Bench::stream(5);
    let run = bench.create("a");
    let mut whole = bench.trainer(&run, None);
    whole.run(&mut |_| {}).unwrap();
    let (end, rows) = (bits(&whole), timeless(&run));
    let mut again = bench.trainer(&run, Some(13));
    let left = again.resume(&run.load("epoch-02", Accept::Verified).unwrap()).unwrap();
    assert_eq!(left, [3, 4, 5].map(Place::Epoch));
    assert_eq!(run.latest().unwrap(), "epoch-02");
    assert_eq!(timeless(&run), rows[..2]);
    let left = ["left-epoch-03", "left-epoch-04", "left-epoch-05"].map(String::from);
    assert_eq!(checkpoints(&run), [&["epoch-01", "epoch-02"].map(String::from)[..], &left].concat());
    again.run(&mut |_| {}).unwrap();
    // A copy of a checkpoint from elsewhere is the run's own.
    let copy = bench.dir.path().join("copy.safetensors");
    fs::copy(run.checkpoint("epoch-01"), &copy).unwrap();
    let mut again = bench.trainer(&run, None);
    let checkpoint = run.chosen(&Choice::Path(copy), Accept::Verified).unwrap();
    assert_eq!(again.resume(&checkpoint).unwrap(), [Place::Epoch(2), Place::Epoch(3), Place::Step(13)]);
    assert_eq!(run.latest().unwrap(), "step-000004");
    again.run(&mut |_| {}).unwrap();
    assert_eq!((bits(&again), timeless(&run)), (end, rows));
}

#[test]
fn where_the_best_checkpoint_is_gone_another_is() {
    let mut bench = overfitting(9);
    bench.recipe.keep = None;
    let run = bench.create("a");
    bench.trainer(&run, None).run(&mut |_| {}).unwrap();
    let best = best_of(&run);
    fs::remove_file(run.checkpoint(&Place::Epoch(best).name())).unwrap();
    let rest = bench.resumed(&run, None);
    let found = rest.position().validations.best.unwrap();
    assert_ne!(found.epoch, best);
    let others = run.metrics().unwrap().into_iter().filter(|row| row.epoch != best);
    assert_eq!(Some(found.loss), others.filter_map(|row| row.valid_loss).reduce(f64::min));
}
