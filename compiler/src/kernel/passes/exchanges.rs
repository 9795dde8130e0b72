//! Exchanges beside other work: each begins as soon as what it sums is there, and is waited for where a sum is read.
//!
//! Assumes that each sum is started and finished at once, as lowering leaves it, and that nothing writes what is summed after that.
//! Sums that are there one after the other go together until they have [`Target::exchange`] bytes: an exchange of few bytes
//! takes as long as a message is under way.

use std::collections::HashMap;

use super::Touched;
use crate::kernel::{BufferId, Exchange, Item, Module, Phase, ShardSum};
use crate::target::Target;

/// The module with its exchanges in groups, begun early and finished late.
pub fn exchanges(mut module: Module, target: &Target) -> Module {
    let Some(least) = target.exchange else { return module };
    let mut sums = vec![];
    let mut items = vec![];
    for item in std::mem::take(&mut module.items) {
        match item {
            Item::Exchange(exchange) if exchange.phase == Phase::Start => sums.extend(exchange.sums),
            Item::Exchange(_) => {}
            item => items.push(item),
        }
    }
    if sums.is_empty() {
        module.items = items;
        return module;
    }
    let touched = Touched::of(&items);
    // Behind which item what is summed is there: parameters' own zeros are written by the prologue or nowhere.
    let mut ready: Vec<(usize, ShardSum)> = sums
        .into_iter()
        .map(|sum| (touched.writes_of(sum.from.buffer).last().map_or(0, |&place| place + 1), sum))
        .collect();
    ready.sort_by_key(|&(place, _)| place);
    let mut before: HashMap<usize, Vec<Item>> = HashMap::new();
    for (number, group) in (0..).zip(groups(ready, least)) {
        let start = group.iter().map(|&(place, _)| place).max().unwrap_or(0);
        let sums: Vec<ShardSum> = group.into_iter().map(|(_, sum)| sum).collect();
        let read = |to: BufferId| touched.reads_of(to).iter().chain(touched.writes_of(to)).min().copied();
        let finish = sums.iter().filter_map(|sum| read(sum.to)).min().unwrap_or(items.len());
        let mut add = |place: usize, phase| {
            let exchange = Exchange { number, phase, sums: sums.clone() };
            before.entry(place).or_default().push(Item::Exchange(exchange));
        };
        add(start, Phase::Start);
        add(finish.max(start), Phase::Finish);
    }
    let count = items.len();
    for (place, item) in items.into_iter().enumerate() {
        module.items.extend(before.remove(&place).unwrap_or_default());
        module.items.push(item);
    }
    module.items.extend(before.remove(&count).unwrap_or_default());
    module
}

/// What is ready one after the other, together until there are `least` bytes.
fn groups(ready: Vec<(usize, ShardSum)>, least: usize) -> Vec<Vec<(usize, ShardSum)>> {
    let (mut groups, mut group, mut bytes) = (vec![], vec![], 0);
    for (place, sum) in ready {
        bytes += sum.rows * sum.n * size_of::<f32>();
        group.push((place, sum));
        if bytes >= least {
            groups.push(std::mem::take(&mut group));
            bytes = 0;
        }
    }
    groups.extend((!group.is_empty()).then_some(group));
    groups
}
