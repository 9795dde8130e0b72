//! How much memory the machine can still give.

use std::fs;

/// Bytes that can be allocated without swapping, or `None` where the system does not say: the least of what the machine,
/// the process's control group and its limit on addresses (`ulimit -v`) allow.
pub fn available() -> Option<u64> {
    let read = |path| fs::read_to_string(path).ok();
    let machine = read("/proc/meminfo").and_then(|text| kibibytes(&text, "MemAvailable:"));
    let addresses = read("/proc/self/limits").zip(read("/proc/self/status"));
    let addresses = addresses.and_then(|(limits, status)| addresses_left(&limits, &status));
    [machine, group_available(), addresses].into_iter().flatten().min()
}

/// What a process comes to touch besides its arenas once it trains: code that has not run yet, and the workers' stacks.
const TOUCHED_LATER: u64 = 2 << 20;

/// Bytes that the process itself will have in memory, without arenas yet to be made; 0 where the system does not say.
pub fn own() -> u64 {
    resident().map_or(0, |bytes| bytes + TOUCHED_LATER)
}

/// Bytes of the process that are in memory now.
fn resident() -> Option<u64> {
    kibibytes(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// Bytes of the line `name   42 kB`.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Addresses that a process may still come to have, of `/proc/self/limits` and `/proc/self/status`; `None` if there is no limit.
fn addresses_left(limits: &str, status: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    let limit: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(limit.saturating_sub(kibibytes(status, "VmSize:")?))
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
        assert_eq!(kibibytes(text, "MemAvailable:"), Some(42 * 1024));
        assert_eq!(kibibytes("MemTotal: 1 kB", "MemAvailable:"), None);
    }

    #[test]
    fn addresses_are_counted_where_they_are_limited() {
        let limits = |soft| {
            format!("Limit   Soft Limit  Hard Limit  Units\nMax address space    {soft}   unlimited  bytes\n")
        };
        assert_eq!(addresses_left(&limits("10240"), "VmSize:\t  4 kB\n"), Some(6144));
        assert_eq!(addresses_left(&limits("1024"), "VmSize:\t  4 kB\n"), Some(0));
        assert_eq!(addresses_left(&limits("unlimited"), "VmSize:\t  4 kB\n"), None);
    }
}
