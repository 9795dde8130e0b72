//! Exchanges: each is started and finished once, and nothing between the two disturbs it.

use std::collections::HashMap;

use super::buffer;
use crate::kernel::{BufferKind, Elem, Exchange, Item, Module, Phase, ShardSum};

/// Checks the exchanges of a module whose addresses are known to be right.
pub(super) fn check(module: &Module) -> Result<(), String> {
    if module.prologue.iter().any(has_exchange) {
        return Err("the prologue exchanges something".into());
    }
    let mut open: HashMap<u32, &Exchange> = HashMap::new();
    let mut started = vec![];
    for item in &module.items {
        match item {
            Item::Exchange(exchange) => {
                shapes(module, exchange).map_err(|error| format!("{exchange}: {error}"))?;
                let number = exchange.number;
                match exchange.phase {
                    Phase::Start if started.contains(&number) => {
                        return Err(format!("exchange {number} is started twice"));
                    }
                    Phase::Start => {
                        undisturbed(&open, item)?;
                        started.push(number);
                        open.insert(number, exchange);
                    }
                    Phase::Finish if open.remove(&number).is_none_or(|start| start.sums != exchange.sums) => {
                        return Err(format!("exchange {number} is not finished as it was started"));
                    }
                    Phase::Finish => undisturbed(&open, item)?,
                }
            }
            Item::Loop(_) if has_exchange(item) => return Err("a time loop exchanges something".into()),
            _ => undisturbed(&open, item)?,
        }
    }
    match open.keys().next() {
        Some(number) => Err(format!("exchange {number} is not finished")),
        None => Ok(()),
    }
}

fn has_exchange(item: &Item) -> bool {
    match item {
        Item::Exchange(_) => true,
        Item::Loop(inner) => inner.items.iter().any(has_exchange),
        _ => false,
    }
}

fn shapes(module: &Module, exchange: &Exchange) -> Result<(), String> {
    for ShardSum { from, to, rows, n } in &exchange.sums {
        let (source, sum) = (buffer(module, from.buffer)?, buffer(module, *to)?);
        let inside = from.terms.is_empty() && from.offset + rows * n <= source.len();
        if source.elem != Elem::Real || !inside {
            return Err(format!("{:?} has no [{rows}, {n}] there", source.name));
        }
        if from.buffer == *to
            || sum.kind != BufferKind::Temp
            || sum.elem != Elem::Real
            || sum.len() != rows * n
        {
            return Err(format!("{:?} is not a temporary [{rows}, {n}] of its own", sum.name));
        }
    }
    Ok(())
}

/// Whether an item leaves alone what exchanges that are under way read and write.
fn undisturbed(open: &HashMap<u32, &Exchange>, item: &Item) -> Result<(), String> {
    if open.is_empty() {
        return Ok(());
    }
    let (reads, writes) = (item.loaded(), item.stored());
    for exchange in open.values() {
        for sum in &exchange.sums {
            if writes.contains(&sum.from.buffer) || writes.contains(&sum.to) || reads.contains(&sum.to) {
                return Err(format!("an item touches what exchange {} has not finished", exchange.number));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::kernel::{Machine, parse, run, verify};

    const TEXT: &str = r#"module m {
  buffer %0: f[2, 3] input "x" carried start 0.0
  buffer %1: f[9] temp "gradient"
  buffer %2: f[6] temp "sum"
  buffer %3: f[3] temp "other"
  buffer %4: f[2, 3] output "y" probabilities
  kernel "gradient" axes 6 {
    for a0 {
      v0 = load %0 + 1*a0
      store %1 + 3 + 1*a0 = v0
    }
  }
  start exchange 0: %2 [2, 3] from %1 + 3, %3 [1, 3] from %1 + 3
  kernel "more" axes 3 {
    for a0 {
      v0 = load %1 + 3 + 1*a0
      store %4 + 1*a0 = v0
    }
  }
  finish exchange 0: %2 [2, 3] from %1 + 3, %3 [1, 3] from %1 + 3
  kernel "y" axes 6 {
    for a0 {
      v0 = load %2 + 1*a0
      store %4 + 1*a0 = v0
    }
  }
}
"#;

    #[test]
    fn an_exchange_is_read_and_run() {
        let module = parse(TEXT).unwrap();
        verify(&module).unwrap();
        assert_eq!(module.to_string(), TEXT);
        let mut machine = Machine::<f32>::new(&module);
        machine.get_mut("x").unwrap().copy_from_slice(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        run(&module, &mut machine, 0, 0).unwrap();
        assert_eq!(machine.get("y").unwrap(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(machine.get("other").unwrap(), [1.0, 2.0, 3.0]);
    }

    #[track_caller]
    fn rejects(from: &str, to: &str, message: &str) {
        assert!(TEXT.contains(from), "{from}");
        let error = verify(&parse(&TEXT.replacen(from, to, 1)).unwrap()).expect_err(to);
        assert!(error.contains(message), "{to}: {error}");
    }

    const START: &str = "  start exchange 0: %2 [2, 3] from %1 + 3, %3 [1, 3] from %1 + 3\n";
    const FINISH: &str = "  finish exchange 0: %2 [2, 3] from %1 + 3, %3 [1, 3] from %1 + 3\n";

    #[test]
    fn an_exchange_is_started_and_finished_once() {
        rejects(START, &START.repeat(2), "exchange 0 is started twice");
        rejects(START, "", "exchange 0 is not finished as it was started");
        rejects(
            FINISH,
            &FINISH.replace("exchange 0", "exchange 1"),
            "exchange 1 is not finished as it was started",
        );
        rejects(
            FINISH,
            &FINISH.replace(", %3 [1, 3] from %1 + 3", ""),
            "exchange 0 is not finished as it was started",
        );
        rejects(FINISH, "", "\"sum\" is read before it is written");
        let looped = format!("  loop t0 in 2 {{\n{START}{FINISH}  }}\n");
        rejects(START, &looped, "a time loop exchanges something");
    }

    #[test]
    fn nothing_touches_what_is_exchanged() {
        rejects(
            "store %4 + 1*a0 = v0",
            "store %1 + 1*a0 = v0",
            "an item touches what exchange 0 has not finished",
        );
        rejects(
            "store %4 + 1*a0 = v0",
            "store %3 + 1*a0 = v0",
            "an item touches what exchange 0 has not finished",
        );
        rejects(FINISH, &format!("{START}{FINISH}").replacen("exchange 0", "exchange 1", 1), "exchange 0");
    }

    #[test]
    fn sums_are_as_large_as_what_is_summed() {
        rejects("%2 [2, 3] from %1 + 3,", "%2 [2, 3] from %1 + 4,", "\"gradient\" has no [2, 3] there");
        rejects("%2 [2, 3]", "%2 [2, 2]", "\"sum\" is not a temporary [2, 2] of its own");
        rejects("%2 [2, 3] from", "%4 [2, 3] from", "\"y\" is not a temporary [2, 3] of its own");
        rejects(
            "start exchange 0: %2 [2, 3] from %1 + 3",
            "start exchange 0: %1 [3, 3] from %1",
            "of its own",
        );
    }
}
