//! How much memory the machine can still give.

use std::fs;

/// Bytes that can be allocated without swapping, or `None` where the system does not say: the least of what the machine
/// and the process's control group allow.
pub fn available() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| machine_available(&text));
    match (machine, group_available()) {
        (Some(machine), Some(group)) => Some(machine.min(group)),
        (machine, group) => machine.or(group),
    }
}

/// What a process comes to touch besides its arenas once it trains: code that has not run yet, and the workers' stacks.
const TOUCHED_LATER: u64 = 2 << 20;

/// Bytes that the process itself will have in memory, without arenas yet to be made; 0 where the system does not say.
pub fn own() -> u64 {
    resident().map_or(0, |bytes| bytes + TOUCHED_LATER)
}

/// Bytes of the process that are in memory now.
fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn machine_available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// What the control group (version 2) leaves; file pages that can be dropped count as free.
fn group_available() -> Option<u64> {
    let read = |name: &str| fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok();
    let limit: u64 = read("memory.max")?.trim().parse().ok()?;
    let used: u64 = read("memory.current")?.trim().parse().ok()?;
    let droppable = read("memory.stat").and_then(|stat| {
        stat.lines().find_map(|line| line.strip_prefix("inactive_file ")?.trim().parse::<u64>().ok())
    });
    Some(limit.saturating_sub(used.saturating_sub(droppable.unwrap_or(0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_in_kibibytes() {
        let text = "MemTotal:       100 kB\nMemAvailable:    42 kB\n";
        assert_eq!(machine_available(text), Some(42 * 1024));
        assert_eq!(machine_available("MemTotal: 1 kB"), None);
    }
}
