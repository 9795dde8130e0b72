//! File tests of the stages after the graph: `kernels/*.txt` and `plans/*.txt` hold a graph, a line `----`, and the
//! kernels that it must become after the order of its sums of squares is chosen, or its plan for two workers.
//! `BLESS=1 cargo test --test stages` writes what comes out into the files.

mod support;

use std::path::Path;

use lstmc_compiler::target::{Nvidia, Target};
use lstmc_compiler::{graph, kernel, opt, pipeline, plan};
use support::files;

fn lowered(input: &str) -> Result<kernel::Module, String> {
    let graph = graph::parse(input).map_err(|error| error.to_string())?;
    graph::verify(&graph)?;
    let target = Target::cpu(1);
    let graph = opt::square_sums(&graph, &target);
    let module = pipeline::kernels_of(&graph, kernel::Numbers::default(), &target, &mut |_, _| {});
    kernel::verify(&module)?;
    Ok(module)
}

fn kernels(_: &Path, input: &str) -> Result<String, String> {
    let text = lowered(input)?.to_string();
    let again = kernel::parse(&text).map_err(|error| format!("{error}\n{text}"))?.to_string();
    if again == text { Ok(text) } else { Err(format!("the kernels are read back as others:\n{again}")) }
}

fn plan_for_two(_: &Path, input: &str) -> Result<String, String> {
    let program = plan::plan(lowered(input)?, &Target::cpu(2));
    plan::verify(&program)?;
    Ok(program.to_string())
}

#[test]
fn graphs_become_kernels() {
    files::check_all(kernels, "kernels");
}

#[test]
fn kernels_get_their_plan() {
    files::check_all(plan_for_two, "plans");
}

#[test]
fn a_targets_passes_are_those_that_it_is_said_to_have() {
    let graph = "graph g {\n  in %0: f[3] carried \"x\" start 0.0\n  out %0 probabilities\n}\n";
    let graph = graph::parse(graph).unwrap();
    for target in [Target::cpu(1), Target::nvidia(Nvidia::SM_90)] {
        let mut seen = vec![];
        let mut see = |pass: &str, _: &kernel::Module| seen.push(pass.to_owned());
        pipeline::kernels_of(&graph, kernel::Numbers::default(), &target, &mut see);
        assert_eq!(seen, pipeline::kernel_passes(&target));
    }
}
