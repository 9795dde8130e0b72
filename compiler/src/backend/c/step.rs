//! The function that computes a step: its items in order.

use std::fmt::Write;

use super::Unit;
use crate::kernel::{Item, Time};

impl Unit<'_> {
    pub(super) fn step(&mut self) -> String {
        let program = self.program;
        let mut text = String::new();
        self.items(&program.module.items, &mut vec![], None, &mut text);
        let prefix = self.prefix;
        format!(
            "/* A step: from what was read last to the distribution of what comes next. */\nstatic void {prefix}_compute({prefix} *m)\n{{\n{text}}}\n\n"
        )
    }

    fn items(
        &mut self,
        items: &[Item],
        times: &mut Vec<Time>,
        round: Option<(&str, usize)>,
        text: &mut String,
    ) {
        let indent = 4 + 4 * times.len();
        for item in items {
            let line = match item {
                Item::Kernel(kernel) => self.kernel(kernel, times),
                Item::Gemm(gemm) => self.product(gemm, round),
                Item::Loop(inner) => {
                    let (time, rounds) = (inner.time.0, inner.rounds);
                    let done = format!("r{time}");
                    let now = if inner.reverse {
                        format!("{} - {done}", rounds.saturating_sub(1))
                    } else {
                        done.clone()
                    };
                    let _ = writeln!(
                        text,
                        "{:indent$}for (size_t {done} = 0; {done} < {rounds}; {done}++) {{\n{:indent$}    const size_t t{time} = {now};\n{:indent$}    (void)t{time};",
                        "", "", ""
                    );
                    times.push(inner.time);
                    self.items(&inner.items, times, Some((&done, rounds)), text);
                    times.pop();
                    "}".to_owned()
                }
                Item::Pack(_) | Item::Scatter(_) | Item::Distinct(_) | Item::Exchange(_) => {
                    panic!("internal error: an item of a program that trains, or of another target")
                }
            };
            let _ = writeln!(text, "{:indent$}{line}", "");
        }
    }
}
