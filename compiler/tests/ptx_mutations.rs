//! Broken kernels: what the PTX machine and the lint would let pass, they do not guard. Each mutation changes the text of a
//! training step in one way that `ptxas` takes, and must be caught: by the lint, by a fault, by results that are wrong, or by bits that
//! depend on the schedule.

#[path = "support/mod.rs"]
mod support;

use lstmc_compiler::backend::ptx::{self, Launch, Ptx};
use lstmc_compiler::graph::Purpose;
use lstmc_compiler::kernel::{self, Machine};
use lstmc_compiler::model::Model;
use lstmc_compiler::pipeline;
use lstmc_compiler::plan::Verified;
use lstmc_compiler::target::{Grid, Partition, SplitK, Target};
use ptx_vm::{Lint, lint};
use support::checked::checked;
use support::executors::SEED;
use support::gpu;
use support::steps::{GPU, Left, apart, left, machine};
use support::tensors::{Feed, feed};

const SCHEDULES: u64 = 6;

/// So many words that each part of the product by the transposed last weight goes more than once through all stages of shared
/// memory.
const VOCAB: u32 = 300;

/// With distinct rows, dropout, two cells, folds over rows and over columns, and products of every form.
fn model(precision: &str) -> Model {
    let text = format!(
        "data {{ train: \"t\" tokens: words batches: stream(rows: 5, steps: 4) }}\n\
         model {{ tokens -> embedding(17) -> dropout(0.3) -> lstm(35) -> gru(18) -> dense(vocab) -> softmax }}\n\
         train {{ loss: cross_entropy optimizer: sgd(rate: 0.5) clip: norm(1) precision: {precision} epochs: 1 }}\n"
    );
    checked(&text, VOCAB as usize).unwrap()
}

struct Case {
    program: Verified,
    ptx: Ptx,
    feed: Feed,
    before: Machine<f32>,
    expected: Left,
    tolerance: f64,
}

impl Case {
    fn of(precision: &str, tolerance: f64) -> Self {
        let model = model(precision);
        // As products of real sizes are cut, in time loops too.
        let partition = Partition::Grid(Grid { partial_sums: 0 });
        let split_k = Some(SplitK::FewTiles { largest: 32, smallest: 32, enough: 2, min_part: 150, most: 2 });
        let target = Target { split_k, partition, ..Target::nvidia(GPU) };
        let graph = pipeline::graph_of(&model, Purpose::Train, &target, &mut |_, _| {});
        let program = pipeline::program_of(&model, Purpose::Train, &target);
        assert!(program.module.to_string().contains(" parts 2: "), "{}", program.module);
        let feed = feed(&graph, VOCAB, 0.5, 1);
        let mut expected = machine::<f64>(&graph, &program.module, &feed);
        kernel::run(&program.module, &mut expected, SEED, feed.step).unwrap();
        let expected = left(&program.module, &expected);
        let ptx = ptx::compile(&program);
        let before = machine::<f32>(&graph, &program.module, &feed);
        Self { program, ptx, feed, before, expected, tolerance }
    }

    /// How a text is found out, if it is.
    fn caught(&self, text: String) -> Option<String> {
        let findings = lint(&text, Lint::default()).map_err(|error| error.to_string());
        match findings {
            Err(error) => return Some(format!("parser: {error}")),
            Ok(findings) if !findings.is_empty() => return Some(format!("lint: {}", findings[0])),
            Ok(_) => {}
        }
        let mut ptx = Ptx { text, ..self.ptx.clone() };
        let mut first: Option<Left> = None;
        for schedule in 0..SCHEDULES {
            // On a grid of one CTA it does everything, one thing after the other.
            let free = |(launch, _): &(&mut Launch, &Launch)| !launch.is_cooperative();
            for (launch, own) in ptx.step.iter_mut().zip(&self.ptx.step).filter(free) {
                launch.ctas = own.ctas.min(1 + 2 * (schedule as usize % 3));
            }
            let mut machine = self.before.clone();
            let steps = self.feed.step..self.feed.step + 1;
            if let Err(fault) = gpu::run(&self.program, &ptx, &mut machine, SEED, steps, schedule) {
                return Some(format!("machine: {fault}"));
            }
            let found = left(&self.program.module, &machine);
            if let Some(difference) = apart(&self.expected, &found, self.tolerance) {
                return Some(format!("results: {difference}"));
            }
            if bits(first.get_or_insert_with(|| found.clone())) != bits(&found) {
                return Some("bits that depend on the schedule".into());
            }
        }
        None
    }
}

/// That tells zeros of both signs apart.
fn bits(left: &Left) -> Vec<u64> {
    left.iter().flat_map(|(_, values)| values).map(|value| value.to_bits()).collect()
}

/// The text with the `place`th occurrence replaced.
fn nth(text: &str, place: usize, from: &str, to: &str) -> String {
    let (at, _) =
        text.match_indices(from).nth(place).unwrap_or_else(|| panic!("fewer than {place} of {from:?}"));
    format!("{}{to}{}", &text[..at], &text[at + from.len()..])
}

/// The text without the first occurrence of this from a place on.
fn without(text: &str, from: usize, what: &str) -> String {
    let at = from + text[from..].find(what).unwrap_or_else(|| panic!("no {what:?}"));
    format!("{}{}", &text[..at], &text[at + what.len()..])
}

/// The text of the first entry whose name has this in it, changed.
fn in_entry(text: &str, name: &str, change: impl Fn(&str) -> String) -> String {
    let start = text.match_indices(".visible .entry").map(|(at, _)| at);
    let start =
        start.into_iter().find(|&at| text[at..].lines().next().is_some_and(|line| line.contains(name)));
    let start = start.unwrap_or_else(|| panic!("no entry is named {name}"));
    let end = text[start..].find("\n}\n").map_or(text.len(), |len| start + len);
    format!("{}{}{}", &text[..start], change(&text[start..end]), &text[end..])
}

/// Every line that begins so, changed.
fn lines(text: &str, begin: &str, change: impl Fn(&str) -> String) -> String {
    let line = |line: &str| if line.trim_start().starts_with(begin) { change(line) } else { line.to_owned() };
    text.lines().map(line).collect::<Vec<_>>().join("\n") + "\n"
}

/// The operands of an instruction exchanged.
fn exchanged(line: &str, a: usize, b: usize) -> String {
    let (head, rest) = line.split_at(line.find('%').unwrap_or(line.len()));
    let mut operands: Vec<&str> = rest.trim_end_matches(';').split(", ").collect();
    operands.swap(a, b);
    format!("{head}{};", operands.join(", "))
}

/// A product with another end of its last stage, which is where the first comes again.
fn around(entry: &str, end: impl Fn(usize) -> usize) -> String {
    let at = entry.rfind("setp.eq.u32").unwrap();
    let close = at + entry[at..].find(';').unwrap();
    let start = entry[..close].rfind(' ').unwrap() + 1;
    let own: usize = entry[start..close].parse().unwrap();
    format!("{}{}{}", &entry[..start], end(own), &entry[close..])
}

type Mutation = (&'static str, &'static str, fn(&str) -> String);

/// The name of the mutation, the precision that it is for, and what it does.
const MUTATIONS: &[Mutation] = &[
    ("no barrier before the first stages are filled", "f32", |t| {
        in_entry(t, "product", |e| nth(e, 0, "bar.sync 0;", ""))
    }),
    ("no barrier between waiting and reading", "f32", |t| {
        in_entry(t, "product_nt", |e| nth(e, 1, "bar.sync 0;", ""))
    }),
    ("waiting after the barrier", "tf32", |t| {
        in_entry(t, "product_nt", |e| {
            let wait = e.find("cp.async.wait_group").unwrap();
            let sync = wait + e[wait..].find("bar.sync 0;").unwrap();
            let end = sync + "bar.sync 0;".len();
            format!("{}bar.sync 0;\n\t{}{}", &e[..wait], e[wait..sync].trim_end(), &e[end..])
        })
    }),
    ("no waiting for what is copied", "tf32", |t| lines(t, "cp.async.wait_group", |_| String::new())),
    ("waiting for one group too few", "bf16", |t| {
        lines(t, "cp.async.wait_group", |l| l.replace("group 2", "group 3"))
    }),
    ("a round that is no group", "f32", |t| {
        in_entry(t, "product_nt", |e| {
            let last = e.rfind("cp.async.commit_group;").unwrap();
            format!("{}{}", &e[..last], &e[last + "cp.async.commit_group;".len()..])
        })
    }),
    ("copies still on their way at the end", "f32", |t| t.replace("\tcp.async.wait_all;\n", "")),
    ("a stage left out", "tf32", |t| in_entry(t, "product_nt", |e| around(e, |all| all / 4 * 3))),
    ("stages that never begin again", "f32", |t| in_entry(t, "product_nt", |e| around(e, |all| all * 2))),
    ("a tile that goes where one is read", "f32", |t| {
        in_entry(t, "product_nt", |e| {
            // `written = read; next = read + stage`: the one after it instead.
            let add = e[..e.rfind("setp.eq.u32").unwrap()].rfind("add.u32").unwrap();
            let line = &e[add..add + e[add..].find('\n').unwrap()];
            let next = line["add.u32 ".len()..].split(", ").next().unwrap();
            let copy = e[..add].rfind("mov.b32").unwrap();
            let written = e[copy + "mov.b32 ".len()..].split(", ").next().unwrap();
            format!("{}{line}\n\tmov.b32 {written}, {next};\n\t{}", &e[..copy], &e[add..])
        })
    }),
    ("no zeros beyond the matrix", "f32", |t| {
        lines(t, "cp.async.c", |l| l.rsplit_once(", ").map_or(l.to_owned(), |(copy, _)| format!("{copy};")))
    }),
    ("ldmatrix whose halves are exchanged", "tf32", |t| {
        // Of one operand only: of both it would be the same product.
        let at = t.find("ldmatrix.sync.aligned.m8n8.x4").unwrap();
        let open = at + t[at..].find('{').unwrap();
        let close = open + t[open..].find('}').unwrap();
        let words: Vec<&str> = t[open + 1..close].split(", ").collect();
        let exchanged = [words[2], words[3], words[0], words[1]].join(", ");
        format!("{}{{{exchanged}{}", &t[..open], &t[close..])
    }),
    ("a part of a contraction left out", "f32", |t| {
        in_entry(t, "product_nt", |e| {
            // One tile in two parts.
            let at = e.find("setp.ge.u32").unwrap();
            format!("{}{}", &e[..at], e[at..].replacen(", 2;", ", 1;", 1))
        })
    }),
    ("a part that begins where the contraction ends", "f32", |t| {
        in_entry(t, "product_nt", |e| nth(e, 0, "min.u32", "max.u32"))
    }),
    ("parts that all go to one place", "f32", |t| {
        // The row of C is the part's number times m, and the row in the part.
        in_entry(t, "product_nt_20x", |e| {
            let end = e.find("bar.sync").unwrap();
            let place = end + e[end..].find(", 20, %r").unwrap();
            format!("{}, 0, %r{}", &e[..place], &e[place + ", 20, %r".len()..])
        })
    }),
    ("relaxed for release", "f32", |t| t.replace("red.release.gpu", "red.relaxed.gpu")),
    ("relaxed for acquire", "f32", |t| t.replace("ld.acquire.gpu", "ld.relaxed.gpu")),
    ("a barrier whose leader does not wait for its CTA", "f32", |t| {
        in_entry(t, "time_loop", |e| {
            let red = e.find("red.release").unwrap();
            without(e, e[..red].rfind("bar.sync 0;").unwrap(), "bar.sync 0;")
        })
    }),
    ("a barrier whose CTA does not wait for its leader", "f32", |t| {
        in_entry(t, "time_loop", |e| without(e, e.find("trap;").unwrap(), "bar.sync 0;"))
    }),
    ("a barrier that counts twice", "f32", |t| {
        t.replace(".global.add.u32 [%d2], 1;", ".global.add.u32 [%d2], 2;")
    }),
    ("a spin without end", "f32", |t| t.replace("\ttrap;\n", "")),
    ("cvt.rna forgotten", "tf32", |t| {
        lines(t, "cvt.rna.tf32.f32", |l| l.replace("cvt.rna.tf32.f32", "mov.b32"))
    }),
    ("a fragment's halves swapped", "tf32", |t| {
        lines(t, "mma.sync", |l| {
            let open = l.match_indices('{').nth(1).unwrap().0;
            let close = open + l[open..].find('}').unwrap();
            let mut parts: Vec<&str> = l[open + 1..close].split(", ").collect();
            parts.swap(1, 2);
            format!("{}{{{}{}", &l[..open], parts.join(", "), &l[close..])
        })
    }),
    ("neighbours in a word of bf16 swapped", "bf16", |t| {
        // Of one operand only: of both it would be the same product.
        let at = t.find("cvt.rn.bf16x2.f32").unwrap();
        let end = at + t[at..].find('\n').unwrap();
        format!("{}{}{}", &t[..at], exchanged(&t[at..end], 1, 2), &t[end..])
    }),
    ("a fold that leaves out half a warp", "f32", |t| {
        t.replace(", 16, 31, 0xffffffff;", ", 8, 31, 0xffffffff;")
    }),
    ("a fold that not all lanes take part in", "f32", |t| t.replace("31, 0xffffffff;", "31, 0x0000ffff;")),
    ("a guard left out", "f32", |t| {
        in_entry(t, "product", |e| {
            lines(e, "@", |l| match l.split_once(' ') {
                Some((_, rest)) if l.contains("st.global") => format!("\t{rest}"),
                _ => l.to_owned(),
            })
        })
    }),
    ("a loop one round too long", "f32", |t| {
        in_entry(t, "time_loop", |e| e.replace("setp.ge.u32", "setp.gt.u32"))
    }),
    ("a sum that forgets what came before", "f32", |t| t.replacen("add.rn.f32", "max.f32", 40)),
    ("swapped operands of a difference", "f32", |t| lines(t, "sub.rn.f32", |l| exchanged(l, 1, 2))),
    ("an approximate division", "f32", |t| t.replace("div.rn.f32", "div.approx.f32")),
    ("an atomic sum of reals", "f32", |t| {
        in_entry(t, "add_rows", |e| {
            let at = e.rfind("st.global.b32 [").unwrap();
            format!("{}red.global.add.f32 [{}", &e[..at], &e[at + "st.global.b32 [".len()..])
        })
    }),
    ("another stream of random numbers", "f32", |t| t.replace("0x9E3779B97F4A7C15", "0x9E3779B97F4B7C15")),
    ("gates that are exchanged", "f32", |t| {
        in_entry(t, "time_loop", |e| {
            // The second and the third quarter of what the product gave.
            let (a, b) = (format!("+{}]", 4 * 35), format!("+{}]", 8 * 35));
            e.replace(&a, "+A]").replace(&b, &a).replace("+A]", &b)
        })
    }),
    ("units that two CTAs have", "tf32", |t| {
        in_entry(t, "time_loop", |e| {
            // Each has 12.
            let at = e.find("mul.lo.u32 %r4, %r0, 12;").unwrap();
            format!("{}mul.lo.u32 %r4, %r0, 11;{}", &e[..at], &e[at + "mul.lo.u32 %r4, %r0, 12;".len()..])
        })
    }),
    ("sums of warps that are added before all are there", "tf32", |t| {
        in_entry(t, "time_loop", |e| without(e, e.rfind("st.shared.v2.b32").unwrap(), "bar.sync 0;"))
    }),
    ("a warp's sums left out", "tf32", |t| {
        in_entry(t, "time_loop", |e| {
            let (first, _) = e.match_indices("ld.shared.b32").nth(1).unwrap();
            let plus = first + e[first..].find('+').unwrap();
            let end = plus + e[plus..].find(']').unwrap();
            format!("{}+0{}", &e[..plus], &e[end..])
        })
    }),
    ("a weight that is kept in the wrong order", "tf32", |t| {
        in_entry(t, "time_loop", |e| {
            let (at, _) = e.match_indices("mma.sync").next().unwrap();
            let end = at + e[at..].find('\n').unwrap();
            let (other, _) = e.match_indices("mma.sync").nth(1).unwrap();
            let other_end = other + e[other..].find('\n').unwrap();
            let left =
                |line: &str| -> String { line.split('{').nth(2).unwrap().split('}').next().unwrap().into() };
            let (a, b) = (left(&e[at..end]), left(&e[other..other_end]));
            format!("{}{}{}", &e[..at], e[at..end].replacen(&a, &b, 1), &e[end..])
        })
    }),
    ("weights of another member", "f32", |t| {
        in_entry(t, "time_loop", |e| {
            let second = |line: &str| line.replace("+16]", "+32]");
            lines(e, "ld.shared.v4.b32", second)
        })
    }),
    ("partial sums without a second half", "tf32", |t| {
        in_last_loop(t, |e| {
            lines(e, "and.b32", |l| l.strip_suffix(", 1;").map_or(l.into(), |l| format!("{l}, 0;")))
        })
    }),
    ("partial sums that are added before all are there", "tf32", |t| {
        in_last_loop(t, |e| {
            let poll = e.find("ld.acquire").unwrap();
            let test = poll + e[poll..].find("setp.ge.u32").unwrap();
            let comma = test + e[test..].find(';').unwrap();
            let start = e[..comma].rfind(", ").unwrap();
            format!("{}, 0{}", &e[..start], &e[comma..])
        })
    }),
    ("a CTA's partial sums left out", "tf32", |t| {
        in_last_loop(t, |e| {
            let acquired = e.find("ld.acquire").unwrap();
            let add = acquired + e[acquired..].find("add.rn.f32").unwrap();
            let end = add + e[add..].find(';').unwrap();
            format!("{}{}", &e[..add], &e[end + 1..])
        })
    }),
];

/// The text of the last time loop, whose partial sums travel, changed.
fn in_last_loop(text: &str, change: impl Fn(&str) -> String) -> String {
    let entries = text.match_indices(".visible .entry ").map(|(at, _)| at);
    let start =
        entries.filter(|&at| text[at..].lines().next().is_some_and(|line| line.contains("time_loop"))).last();
    let start = start.expect("a time loop");
    assert!(text[start..].contains("st.global.v2"), "partial sums travel");
    format!("{}{}", &text[..start], in_entry(&text[start..], "time_loop", change))
}

#[test]
fn every_mutation_is_caught() {
    let cases = [("f32", 1e-5), ("tf32", 1e-3), ("bf16", 1.5e-2)]
        .map(|(name, tolerance)| (name, Case::of(name, tolerance)));
    let case = |name: &str| &cases.iter().find(|(own, _)| *own == name).unwrap().1;
    for (precision, case) in &cases {
        assert_eq!(case.caught(case.ptx.text.clone()), None, "{precision}, without any mutation");
    }
    let mut survivors = vec![];
    for (name, precision, mutate) in MUTATIONS {
        let case = case(precision);
        let text = mutate(&case.ptx.text);
        assert!(text != case.ptx.text, "{name}: it changes nothing");
        match case.caught(text) {
            Some(how) => println!("{name}: {}", how.lines().next().unwrap_or_default()),
            None => survivors.push(*name),
        }
    }
    assert_eq!(survivors, Vec::<&str>::new());
    assert!(MUTATIONS.len() >= 15);
}
