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
