//! The shape of compiled programs: how many products, kernels and barriers there are, and where. What a cell's equations
//! allow is reached for every cell alike; the prelude's have no advantage.

mod support;

use lstmc_compiler::graph::{Form, OutputRole, Purpose};
use lstmc_compiler::kernel::{
    BufferId, BufferKind, CpuGemm, Expr, Format, Gemm, InputRole, Kernel, Precision, Rounds, Stmt,
};
use lstmc_compiler::pipeline;
use lstmc_compiler::plan::{Program, Schedule, Task, Verified};
use lstmc_compiler::scalar::Scalar;
use lstmc_compiler::target::{Nvidia, Target};
use support::checked::checked;
use support::shipped::text;

/// The training step of a model in `models/`.
fn training(name: &str, vocab: usize, workers: usize) -> Verified {
    of_source(&text(name), vocab, workers)
}

fn of_source(text: &str, vocab: usize, workers: usize) -> Verified {
    let model = checked(text, vocab).unwrap_or_else(|errors| panic!("{errors}"));
    pipeline::program_of(&model, Purpose::Train, &Target::cpu(workers))
}

const STREAM: &str = "stream(rows: 20, steps: 5)";

/// A model of one layer, which may be defined in `definitions`.
fn one_layer(definitions: &str, layer: &str) -> String {
    format!(
        "{definitions}
        data {{ train: \"t\"; tokens: words; batches: {STREAM} }}
        model {{ tokens -> embedding(32) -> {layer} -> dense(vocab) -> softmax }}
        train {{ loss: cross_entropy; optimizer: sgd; epochs: 1 }}"
    )
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    gemms: usize,
    /// Products that also sum their right side's columns.
    summing: usize,
    sums: usize,
    kernels: usize,
    barriers: usize,
    others: usize,
}

/// Of a schedule, with what is in their loops.
fn counts(schedule: Schedule<'_>) -> Counts {
    let mut counts = Counts::default();
    for task in schedule.tasks() {
        match task {
            // The product of a row of ones by a matrix sums its rows.
            Task::Gemm(gemm, _) if gemm.m == 1 => counts.sums += 1,
            Task::Gemm(gemm, _) => {
                counts.gemms += 1;
                counts.summing += usize::from(gemm.cpu.right_sums.is_some());
            }
            Task::Kernel(..) => counts.kernels += 1,
            Task::Barrier => counts.barriers += 1,
            Task::Pack(..) | Task::Scatter(..) | Task::Distinct(..) | Task::Exchange(..) => {
                counts.others += 1
            }
            Task::Loop(_, body) => {
                let inner = self::counts(body);
                counts.gemms += inner.gemms;
                counts.sums += inner.sums;
                counts.kernels += inner.kernels;
                counts.barriers += inner.barriers;
                counts.others += inner.others;
            }
        }
    }
    counts
}

/// Of each time loop, in order, and whether it runs backwards.
fn loops(program: &Program) -> Vec<(bool, Counts)> {
    let of = |task: Task<'_>| match task {
        Task::Loop(inner, body) => Some((inner.reverse, counts(body))),
        _ => None,
    };
    program.step_schedule().tasks().filter_map(of).collect()
}

/// One product and one kernel in each round, and no worker waits.
const FUSED: Counts = Counts { gemms: 1, summing: 0, sums: 0, kernels: 1, barriers: 0, others: 0 };

/// The models that are stacks of LSTMs over enough rows for each worker to keep its own.
const FORWARD_AND_BACK: [(bool, Counts); 4] = [(false, FUSED), (false, FUSED), (true, FUSED), (true, FUSED)];

#[test]
fn a_time_step_is_one_product_and_one_kernel() {
    for (name, vocab) in [
        ("ptb-small.lstm", 10_000),
        ("ptb-medium.lstm", 10_000),
        ("ptb-keras.lstm", 10_000),
        ("tied.lstm", 10_000),
    ] {
        for workers in [1, 2] {
            assert_eq!(loops(&training(name, vocab, workers)), FORWARD_AND_BACK, "{name}, {workers} workers");
        }
    }
}

/// Forward, each LSTM has its input's product for all steps and its recurrent one. Backward, each has its recurrent one
/// and, for all steps, the gradients of both weights and of its input. The softmax layer has one and two. The gradients of
/// all biases of a layer come with one of these.
#[test]
fn a_training_step_has_the_products_of_its_equations() {
    let program = training("ptb-small.lstm", 10_000, 2);
    let lstms = 2 * (2 + 4);
    let counts = counts(program.step_schedule());
    assert_eq!((counts.gemms, counts.summing, counts.sums), (lstms + 3, 3, 0));
}

/// Each looked-up row is multiplied once in each direction, and the time loop finds it by itself: what it reads is laid out
/// for no place.
#[test]
fn looked_up_rows_are_multiplied_once() {
    let program = training("ptb-keras.lstm", 10_000, 2);
    let of = |task: Task<'_>| match task {
        Task::Gemm(gemm, _) if gemm.prefix.is_some() => Some((gemm.form, gemm.m, gemm.n, gemm.k)),
        _ => None,
    };
    let products: Vec<_> = program.step_schedule().tasks().filter_map(of).collect();
    let expected = [(Form::NN, 600, 2000, 500), (Form::NT, 600, 500, 2000), (Form::TN, 500, 2000, 600)];
    assert!(products.len() == 3 && expected.iter().all(|one| products.contains(one)), "{products:?}");
    assert_eq!(program.step_schedule().tasks().filter(|task| matches!(task, Task::Distinct(_))).count(), 1);
    let wide = |task: &Task<'_>| match *task {
        Task::Kernel(kernel, _) => kernel.axes.iter().product::<usize>() == 600 * 2000,
        _ => false,
    };
    assert_eq!(program.step_schedule().tasks().filter(wide).count(), 0);
}

/// The kernels outside loops that touch the `len` elements of the arena from byte `place` on.
fn kernels_over(program: &Program, place: usize, len: usize) -> Vec<&Kernel> {
    let range = place..place + len * 4;
    let touches = |id: BufferId| {
        let start = program.offsets[id.0 as usize];
        let end = start + program.module.buffer(id).len() * 4;
        start < range.end && range.start < end
    };
    let kernels = program.step_schedule().tasks().filter_map(|task| match task {
        Task::Kernel(kernel, _) => Some(kernel),
        _ => None,
    });
    kernels.filter(|kernel| buffers(&kernel.body).into_iter().any(touches)).collect()
}

fn buffers(stmts: &[Stmt]) -> Vec<BufferId> {
    let of = |stmt: &Stmt| match stmt {
        Stmt::Let { expr: Expr::Load(at) | Expr::LoadId(at), .. } | Stmt::Store { to: at, .. } => {
            vec![at.buffer]
        }
        Stmt::Let { .. } => vec![],
        Stmt::For(inner) => buffers(&inner.body),
    };
    stmts.iter().flat_map(of).collect()
}

fn exponentials(stmts: &[Stmt]) -> usize {
    let of = |stmt: &Stmt| match stmt {
        Stmt::Let { expr: Expr::Map(Scalar::Exp, _), .. } => 1,
        Stmt::Let { .. } | Stmt::Store { .. } => 0,
        Stmt::For(inner) => exponentials(&inner.body),
    };
    stmts.iter().map(of).sum()
}

/// Softmax, cross-entropy and their gradient are one kernel, which writes the gradient over the logits and computes each
/// exponential once. No other kernel looks at either.
#[test]
fn the_loss_writes_its_gradient_over_the_logits() {
    for name in ["ptb-small.lstm", "ptb-medium.lstm", "ptb-large.lstm"] {
        let program = training(name, 10_000, 2);
        let logits = program.step_schedule().tasks().find_map(|task| match task {
            Task::Gemm(gemm, _) if gemm.form == Form::NN && gemm.n == 10_000 => Some(gemm),
            _ => None,
        });
        let logits = logits.expect("a product makes the logits");
        let (place, len) = (program.offsets[logits.c.at.buffer.0 as usize], logits.m * logits.n);
        let gradients = program.step_schedule().tasks().filter_map(|task| match task {
            Task::Gemm(gemm, _) if gemm.form == Form::NT && gemm.k == 10_000 => Some(gemm.a.at.buffer),
            _ => None,
        });
        let places: Vec<usize> = gradients.map(|buffer| program.offsets[buffer.0 as usize]).collect();
        assert_eq!(places, [place], "{name}");
        let writes =
            |kernel: &&Kernel| kernel.axes.iter().product::<usize>() == len && kernel.name.contains("exp");
        let all = kernels_over(&program, place, len);
        assert_eq!(all.iter().filter(|kernel| writes(kernel)).count(), 1, "{name}");
        let large = all.iter().filter(|kernel| kernel.axes.iter().product::<usize>() == len);
        let exponentials: Vec<usize> = large.map(|kernel| exponentials(&kernel.body)).collect();
        assert_eq!(exponentials, [1], "{name}");
    }
}

/// Cells that the compiler has no support for do as well as their equations allow: peephole and coupled gates as the
/// prelude's LSTM; two recurrent products where two states are multiplied; layer normalisation, whose sums over a row
/// stand between the product and the gates.
#[test]
fn cells_get_what_their_equations_allow() {
    let shape = |name: &str| {
        let shape = |(reverse, counts): &(bool, Counts)| (*reverse, counts.gemms, counts.kernels);
        loops(&training(name, 112, 1)).iter().map(shape).collect::<Vec<_>>()
    };
    assert_eq!(shape("cells/coupled.lstm"), [(false, 1, 1), (true, 1, 1)]);
    assert_eq!(shape("cells/peephole.lstm"), [(false, 1, 1), (true, 1, 1)]);
    assert_eq!(shape("cells/your-own-invention.lstm")[0], (false, 2, 1));
    assert_eq!(shape("cells/your-own-invention.lstm")[1].1, 2);
    assert_eq!(shape("cells/layer-norm.lstm")[0], (false, 1, 2));
    assert_eq!(shape("cells/layer-norm.lstm")[1].1, 1);
}

#[test]
fn a_layer_without_state_is_no_loop() {
    for layer in ["dense(64, activation: relu)", "layer_norm", "dropout(0.5)"] {
        assert_eq!(loops(&of_source(&one_layer("", layer), 100, 2)), [], "{layer}");
    }
}

/// The prelude's LSTM, in a user's file and words, with the gates in another order.
const OWN: &str = "layer memory(input: [in], size) {
    param F, G, H, K: [in, size]
    param P, Q, S, T: [size, size]
    param p, q, s, t: [size] = zeros
    state cell, out: [size] = zeros

    write = sigmoid(s + input @ H + out @ S)
    keep = sigmoid(input @ F + out @ P + p)
    show = sigmoid(out @ T + t + input @ K)
    new = tanh(input @ G + out @ Q + q)

    next cell = new * write + cell * keep
    next out = tanh(next cell) * show
    return next out
}";

#[test]
fn a_users_cell_gets_what_the_preludes_gets() {
    for workers in [1, 2] {
        let prelude = of_source(&one_layer("", "lstm(48)"), 100, workers);
        let own = of_source(&one_layer(OWN, "memory(48)"), 100, workers);
        assert_eq!(loops(&own), [(false, FUSED), (true, FUSED)]);
        assert_eq!(loops(&own), loops(&prelude));
        assert_eq!(counts(own.step_schedule()), counts(prelude.step_schedule()));
        assert_eq!(own.arena_bytes, prelude.arena_bytes);
    }
}

fn products<'p>(schedule: Schedule<'p>, found: &mut Vec<&'p Gemm>) {
    for task in schedule.tasks() {
        match task {
            Task::Gemm(gemm, _) => found.push(gemm),
            Task::Loop(_, body) => products(body, found),
            _ => {}
        }
    }
}

/// A state that starts at zero is not multiplied in the first round, and the gradient of the first state of all is not needed.
/// A state that goes on from batch to batch is multiplied in every round.
#[test]
fn products_leave_out_the_rounds_that_need_none() {
    let windows = "windows(length: 5, stride: 5, rows: 20)";
    for (batches, forwards) in [(windows, Rounds::AfterFirst), (STREAM, Rounds::All)] {
        let program = of_source(&one_layer("", "lstm(48)").replace(STREAM, batches), 100, 2);
        let mut found = vec![];
        products(program.step_schedule(), &mut found);
        let recurrent = |form| {
            let mut of_form = found.iter().filter(|gemm| gemm.form == form && gemm.cpu.packed.is_some());
            of_form.next().map(|gemm| gemm.rounds)
        };
        assert_eq!(recurrent(Form::NN), Some(forwards), "{program}");
        assert_eq!(recurrent(Form::NT), Some(Rounds::BeforeLast), "{program}");
    }
}

/// One row's recurrent products read their weight from alternating ends. With more rows it is packed, in
/// a loop of one round nothing is read twice, and a weight larger than the caches gains nothing.
#[test]
fn products_of_few_rows_alternate() {
    for (rows, length, units, alternating) in
        [(1, 5, 48, 2), (4, 5, 48, 2), (5, 5, 48, 0), (1, 1, 48, 0), (1, 5, 1024, 2), (1, 5, 1040, 0)]
    {
        let batches = format!("windows(length: {length}, stride: 5, rows: {rows})");
        let source = one_layer("", &format!("lstm({units})")).replace(STREAM, &batches);
        let program = of_source(&source, 100, 2);
        let mut found = vec![];
        products(program.step_schedule(), &mut found);
        let both: Vec<_> = found.iter().filter(|gemm| gemm.cpu.alternating).collect();
        assert_eq!(both.len(), alternating, "{rows} rows of {length}, {units} units: {program}");
        if let [forth, back] = both[..] {
            assert_eq!((forth.form, back.form), (Form::NN, Form::NT));
            // The loop that goes back begins where the one that goes forth has ended.
            assert!(forth.from_end(length - 1) != back.from_end(length - 1));
            assert!((1..length).all(|time| forth.from_end(time) != forth.from_end(time - 1)));
        }
    }
}

/// With `precision: bf16` every product of some rows is in bf16 and what a loop multiplies by is packed in it, and so in bf16x3 and bf16x6
/// on a processor that gains from it; elsewhere that is f32. Evaluation is in f32.
#[test]
fn products_are_in_the_precision_of_training() {
    let text = |precision: &str| {
        one_layer("", "lstm(48)").replace("epochs: 1", &format!("epochs: 1; precision: {precision}"))
    };
    let plain = Target::cpu(2);
    let with_tiles = Target { bf16_parts: true, ..plain.clone() };
    for (name, target, wanted) in [
        ("bf16", &plain, Precision::Bf16),
        ("bf16x3", &with_tiles, Precision::Bf16x3),
        ("bf16x6", &with_tiles, Precision::Bf16x6),
        ("bf16x3", &plain, Precision::F32),
        ("bf16x6", &plain, Precision::F32),
        ("f32", &with_tiles, Precision::F32),
    ] {
        let model = checked(&text(name), 100).unwrap_or_else(|errors| panic!("{errors}"));
        for (purpose, wanted) in [(Purpose::Train, wanted), (Purpose::Evaluate, Precision::F32)] {
            let program = pipeline::program_of(&model, purpose, target);
            let mut found = vec![];
            products(program.step_schedule(), &mut found);
            assert!(
                found.iter().any(|gemm| gemm.cpu.packed.is_some())
                    && found.iter().any(|gemm| gemm.cpu.packed.is_none())
            );
            for gemm in found {
                assert_eq!(gemm.precision, if gemm.m > 1 { wanted } else { Precision::F32 }, "{gemm}");
                assert!(gemm.cpu.packed.is_none_or(|format| format == gemm.precision.into()), "{gemm}");
            }
        }
    }
    let few = text("bf16").replace("rows: 20", "rows: 4");
    let few = pipeline::program_of(
        &checked(&few, 100).unwrap_or_else(|errors| panic!("{errors}")),
        Purpose::Train,
        &Target::cpu(2),
    );
    let mut found = vec![];
    products(few.step_schedule(), &mut found);
    assert!(found.iter().any(|gemm| gemm.m == 4 && gemm.precision == Precision::F32), "{few}");
}

/// What there is to compile does not grow with the sizes of a model: PTB-large is as long as PTB-medium.
#[test]
fn ptb_large_is_no_longer_than_ptb_medium() {
    let [medium, large] = ["ptb-medium.lstm", "ptb-large.lstm"].map(|name| training(name, 10_000, 2));
    let (items, other) = (counts(large.step_schedule()), counts(medium.step_schedule()));
    assert_eq!((items.gemms, items.kernels, items.others), (other.gemms, other.kernels, other.others));
    assert!(items.kernels < 60, "{items:?}");
}

/// With one short row in a batch a weight's gradient is a sum of few outer products. The update computes it as it goes:
/// there is no product of that form, and nothing as large as a weight but the weights and the optimizer's state.
#[test]
fn gradients_of_one_short_row_are_not_written() {
    for workers in [1, 2] {
        let program = training("aesop-deep.lstm", 112, workers);
        let is_gradient = |task: Task<'_>| matches!(task, Task::Gemm(gemm, _) if gemm.form == Form::TN);
        assert!(!program.step_schedule().tasks().any(is_gradient), "{program}");
        let temporaries = program.module.buffers.iter().filter(|buffer| buffer.kind == BufferKind::Temp);
        let largest = temporaries.map(|buffer| buffer.len()).max();
        assert_eq!(largest, Some(2 * 3 * 4 * 512), "two parts of the gates of three steps: {program}");
    }
    // Twenty rows are worth a product.
    let of_rows = of_source(&one_layer("", "lstm(48)"), 100, 1);
    assert!(
        of_rows
            .step_schedule()
            .tasks()
            .any(|task| matches!(task, Task::Gemm(gemm, _) if gemm.form == Form::TN))
    );
}

/// With one short row in a batch a step takes as long as reading the weights from caches. Each worker has its own rows of
/// them, and waits for the others once for every product of all rows, and for what one worker does alone.
#[test]
fn workers_keep_their_rows_of_the_weights() {
    let program = training("aesop.lstm", 112, 2);
    let mut found = vec![];
    products(program.step_schedule(), &mut found);
    let forwards: Vec<usize> =
        found.iter().filter(|gemm| gemm.form == Form::NN).map(|gemm| gemm.parts).collect();
    assert_eq!(forwards, [2, 2], "of the layer and of the logits: {program}");
    let barriers: usize = program
        .leaves()
        .iter()
        .filter(|leaf| matches!(leaf.task, Task::Barrier))
        .map(|leaf| leaf.rounds)
        .sum();
    assert_eq!(barriers, 3 + 2 + 3, "three steps forwards, the loss, three steps backwards: {program}");
    // A program that only reads the weights lays them out once, and multiplies by all of them.
    let model = checked(&text("aesop.lstm"), 112).unwrap_or_else(|errors| panic!("{errors}"));
    let program = pipeline::program_of(&model, Purpose::Evaluate, &Target::cpu(2));
    let mut found = vec![];
    products(program.step_schedule(), &mut found);
    assert!(found.iter().all(|gemm| gemm.parts == 1), "{program}");
}

/// On a GPU a product of few tiles is cut into parts, by its sizes alone.
#[test]
fn long_contractions_are_cut_for_a_gpu() {
    let model = checked(&text("ptb-medium.lstm"), 10_000).unwrap_or_else(|errors| panic!("{errors}"));
    for nvidia in [Nvidia::SM_80, Nvidia { multiprocessors: 16, ..Nvidia::SM_90 }] {
        let program = pipeline::program_of(&model, Purpose::Train, &Target::nvidia(nvidia));
        let mut found = vec![];
        products(program.step_schedule(), &mut found);
        let parts = |sizes: [usize; 3]| -> Vec<usize> {
            let own = found.iter().filter(|gemm| [gemm.m, gemm.n, gemm.k] == sizes);
            own.map(|gemm| gemm.parts).collect()
        };
        assert_eq!(parts([700, 650, 10_000]), [3], "the gradient of what goes into the logits: {program}");
        assert_eq!(parts([700, 650, 2600]), [3, 3]);
        for enough in [[700, 10_000, 650], [650, 10_000, 700], [650, 2600, 700], [1, 10_000, 700]] {
            assert!(parts(enough).iter().all(|&parts| parts == 1), "{enough:?}: {program}");
        }
        assert_eq!(parts([20, 650, 2600]), [1, 1], "in a loop");
    }
}

/// Of a program, in how many places a weight is packed, and how many products read their weight packed.
fn packed(program: &Program) -> (usize, usize) {
    fn products(schedule: Schedule<'_>) -> usize {
        let each = schedule.tasks().map(|task| match task {
            Task::Gemm(gemm, _) => usize::from(gemm.cpu.packed.is_some()),
            Task::Loop(_, body) => products(body),
            _ => 0,
        });
        each.sum()
    }
    (counts(program.prologue_schedule()).others, products(program.step_schedule()))
}

/// What writes words reads every weight packed, and packs it once in a run; training packs what its loops read, in each
/// step; evaluation does without a second copy of what it reads once for many rows, unless it is rounded.
#[test]
fn weights_are_packed_once_in_a_run_where_they_stay_the_same() {
    let model = checked(&one_layer("", "lstm(48)"), 100).unwrap_or_else(|errors| panic!("{errors}"));
    let of = |purpose, format| pipeline::program_in(&model, purpose, format, &Target::cpu(2));
    for format in Format::OF_WEIGHTS {
        let program = of(Purpose::Generate { tokens: 1 }, format);
        assert_eq!(packed(&program), (3, 3), "{program}");
        // One token is not a loop: its row, the cell and the distribution, and nothing is copied.
        assert!(loops(&program).is_empty(), "{program}");
        let Counts { kernels, others, .. } = counts(program.step_schedule());
        assert_eq!((kernels, others), (3, 0), "{program}");
        let train = of(Purpose::Train, format);
        assert_eq!((packed(&train), counts(train.step_schedule()).others), ((0, 2), 3), "{train}");
    }
    assert_eq!(packed(&of(Purpose::Evaluate, Format::F32)), (1, 1));
    assert_eq!(packed(&of(Purpose::Evaluate, Format::Int8)), (3, 3));
    let bytes = |format| of(Purpose::Generate { tokens: 1 }, format).arena_bytes;
    assert!(bytes(Format::Int8) < bytes(Format::Bf16) && bytes(Format::Bf16) < bytes(Format::F32));
}

/// Evaluation keeps nothing for a backward pass: its time loops write what goes on, and no more.
#[test]
fn evaluation_writes_no_tape() {
    let model = checked(&one_layer("", "lstm(48)"), 100).unwrap_or_else(|errors| panic!("{errors}"));
    let program = pipeline::program_of(&model, Purpose::Evaluate, &Target::cpu(1));
    assert_eq!(loops(&program), [(false, FUSED)]);
    let stacks = program.module.buffers.iter().filter(|buffer| {
        buffer.kind == BufferKind::Temp
            && buffer.shape.first().is_some_and(|&rounds| rounds == 5 || rounds == 6)
    });
    let of_units = stacks.filter(|buffer| buffer.shape[1..] == [20, 48]).count();
    assert_eq!(of_units, 1, "{program}");
    assert!(program.module.buffers.iter().any(|b| b.kind == BufferKind::Output(OutputRole::Probabilities)));
}

/// Evaluation runs between two steps of training, in its arena: it reads the parameters where they are, and touches
/// nothing else that the next step needs.
#[test]
fn evaluation_leaves_training_what_it_needs() {
    for name in ["ptb-small.lstm", "ptb-keras.lstm", "tied.lstm"] {
        let host = training(name, 10_000, 2);
        let model = checked(&text(name), 10_000).unwrap_or_else(|errors| panic!("{errors}"));
        let graph = pipeline::graph_of(&model, Purpose::Evaluate, &Target::cpu(1), &mut |_, _| {});
        let numbers = pipeline::numbers_of(&model, Purpose::Evaluate, Format::F32, &Target::cpu(1));
        let (guest, shared) = pipeline::plan_beside(
            pipeline::kernels_of(&graph, numbers, &Target::cpu(1), &mut |_, _| {}),
            &host,
        );
        assert!(shared && guest.target == host.target, "{name}");
        let alive = host.module.buffers.iter().zip(&host.offsets);
        let alive = alive.filter(|(buffer, _)| !matches!(buffer.kind, BufferKind::Temp | BufferKind::Packed));
        for (own, &offset) in guest.module.buffers.iter().zip(&guest.offsets) {
            let range = offset..offset + own.len() * 4;
            assert!(range.end <= guest.arena_bytes);
            for (other, &place) in alive.clone() {
                let apart = range.end <= place || place + other.len() * 4 <= range.start;
                let same = offset == place && own == other && own.name == other.name;
                let is_param = matches!(own.kind, BufferKind::Input(InputRole::Param { .. }));
                assert!(apart || (same && is_param), "{name}: {} lies over {}", own.name, other.name);
            }
        }
    }
}

/// What a target does not want is not done, in any stage: the products are those of the mathematics, and no loop runs in
/// lanes.
#[test]
fn a_target_without_tactics_gets_plain_products() {
    let plain = Target {
        lanes: 1,
        distinct_rows: None,
        sparse_rows: None,
        column_sums: None,
        fused_sums: None,
        split_k: None,
        prepack: None,
        alternate: None,
        ..Target::cpu(2)
    };
    for (name, vocab) in [("aesop.lstm", 112), ("ptb-small.lstm", 10_000)] {
        let model = checked(&text(name), vocab).unwrap_or_else(|errors| panic!("{errors}"));
        let of = |target: &Target| {
            let program = pipeline::program_of(&model, Purpose::Train, target);
            let mut found = vec![];
            products(program.step_schedule(), &mut found);
            let tactics = found.iter().filter(|gemm| gemm.cpu != CpuGemm::default()).count();
            let distinct = program.leaves().iter().any(|leaf| matches!(leaf.task, Task::Distinct(_)));
            let lanes = program.module.to_string().contains(" vector");
            (tactics, distinct, lanes, program.prologue.len())
        };
        assert_eq!(of(&plain), (0, false, false, 0), "{name}");
        let (tactics, distinct, lanes, _) = of(&Target::cpu(2));
        assert!(tactics > 0 && distinct == (name == "ptb-small.lstm") && lanes, "{name}");
    }
}
