//! What processors and systems say of their caches, and what they should not have said.

use super::{Cache, Caches, cpuid, sysfs};

const KB: usize = 1 << 10;
const MB: usize = 1 << 20;

fn cache(bytes: usize, sharing: usize) -> Cache {
    Cache { bytes, sharing }
}

/// What a processor says of each cache in leaf `caches`, the last one being no cache; its highest leaves are those of today.
fn processor(caches: u32, said: &[[u32; 3]]) -> [Option<Cache>; 3] {
    cpuid::of(|leaf, index| match leaf {
        0 => [0x20, 0, 0],
        0x8000_0000 => [0x8000_0028, 0, 0],
        _ if leaf == caches => said.get(index as usize).copied().unwrap_or([0; 3]),
        _ => [0; 3],
    })
}

const INTEL: u32 = 4;
const AMD: u32 = 0x8000_001D;

fn only(levels: [Option<Cache>; 3]) -> Caches {
    Caches::of([levels, [None; 3]])
}

/// In turn the first level's data and instructions, the second and the third level. The first is a virtual machine's.
#[test]
fn processors_say_how_large_their_caches_are_and_who_shares_them() {
    let zen3 = [[0x121, 0x01C0_003F, 0x3F], [0x122, 0x01C0_003F, 0x3F], [0x143, 0x01C0_003F, 0x3FF]];
    let virtual_zen3 = [&zen3[..], &[[0x4163, 0x03C0_003F, 0x7FFF]]].concat();
    let zen4 = [
        [0x4121, 0x01C0_003F, 0x3F],
        [0x4122, 0x01C0_003F, 0x3F],
        [0x4143, 0x01C0_003F, 0x7FF],
        [0x3_C163, 0x03C0_003F, 0x7FFF],
    ];
    let zen5 = [
        [0x4121, 0x02C0_003F, 0x3F],
        [0x4122, 0x01C0_003F, 0x3F],
        [0x4143, 0x03C0_003F, 0x3FF],
        [0x3_C163, 0x03C0_003F, 0x7FFF],
    ];
    let sapphire_rapids = [
        [0xFC00_4121, 0x02C0_003F, 0x3F],
        [0xFC00_4122, 0x01C0_003F, 0x3F],
        [0xFC00_4143, 0x03C0_003F, 0x7FF],
        [0xFC1F_C163, 0x0380_003F, 0x1_BFFF],
    ];
    let granite_rapids = [
        [0xFC00_4121, 0x02C0_003F, 0x3F],
        [0xFC00_4122, 0x03C0_003F, 0x3F],
        [0xFC00_4143, 0x03C0_003F, 0x7FF],
        [0xFC3F_C163, 0x03C0_003F, 0x6_BFFF],
    ];
    let expect = |leaf, said: &[[u32; 3]], first, second, third| {
        assert_eq!(only(processor(leaf, said)), Caches { first, second, third: Some(third) });
    };
    expect(AMD, &virtual_zen3, cache(32 * KB, 1), cache(512 * KB, 1), cache(32 * MB, 2));
    expect(AMD, &zen4, cache(32 * KB, 2), cache(MB, 2), cache(32 * MB, 16));
    expect(AMD, &zen5, cache(48 * KB, 2), cache(MB, 2), cache(32 * MB, 16));
    expect(INTEL, &sapphire_rapids, cache(48 * KB, 2), cache(2 * MB, 2), cache(105 * MB, 128));
    expect(INTEL, &granite_rapids, cache(48 * KB, 2), cache(2 * MB, 2), cache(432 * MB, 256));
}

/// A processor that does not have the leaf answers with another one's content.
#[test]
fn leaves_that_a_processor_does_not_have_are_not_asked() {
    let old = cpuid::of(|leaf, _| match leaf {
        0 => [2, 0, 0],
        0x8000_0000 => [0x8000_0008, 0, 0],
        _ => [0x4121, 0x02C0_003F, 0x3F],
    });
    assert_eq!(old, [None; 3]);
}

#[test]
fn what_cannot_be_is_taken_as_usual() {
    let usual = Caches::USUAL;
    assert_eq!(only([None; 3]), usual);
    for registers in [[0; 3], [u32::MAX; 3], [0x4121, 0, 0], [0x4121, u32::MAX, u32::MAX], [0x41E1, 0, 0]] {
        for leaf in [INTEL, AMD] {
            assert_eq!(only(processor(leaf, &[registers; 40])), usual, "{registers:x?}");
        }
    }
    // Zero and 4 TB; what another source says is then believed.
    let (none, huge) = (cache(0, 1), cache(4 << 40, 1));
    assert_eq!(only([Some(none), Some(huge), Some(huge)]), usual);
    let files = [Some(cache(64 * KB, 1)), Some(cache(2 * MB, 1)), Some(cache(16 * MB, 4))];
    let found = Caches::of([[Some(huge), None, Some(none)], files]);
    assert_eq!([Some(found.first), Some(found.second), found.third], files);
}

#[test]
fn a_missing_third_level_is_none_and_a_smaller_one_too() {
    let (first, second) = (cache(32 * KB, 1), cache(MB, 4));
    let caches = only([Some(first), Some(second), None]);
    assert_eq!(caches, Caches { first, second, third: None });
    assert_eq!(caches.last(), second);
    assert_eq!(only([Some(first), Some(second), Some(cache(MB, 8))]).third, None);
    // Larger than what is next to it, whatever is said.
    assert_eq!(only([Some(cache(512 * KB, 1)), Some(cache(64 * KB, 1)), None]).second.bytes, 512 * KB);
    assert_eq!(only([Some(first), None, None]), Caches { first, ..Caches::USUAL });
}

/// The files of a folder `cache`: level, type, size, shared_cpu_list.
fn files(said: &[[&str; 4]]) -> [Option<Cache>; 3] {
    sysfs::of(|index, name| {
        let at = ["level", "type", "size", "shared_cpu_list"].iter().position(|known| *known == name)?;
        Some(said.get(index)?[at]).filter(|text| !text.is_empty()).map(|text| format!("{text}\n"))
    })
}

#[test]
fn linux_says_it_in_files() {
    let neoverse = [
        ["1", "Data", "64K", "0"],
        ["1", "Instruction", "64K", "0"],
        ["2", "Unified", "1024K", "0"],
        ["3", "Unified", "32768K", "0-63"],
    ];
    let expected = [cache(64 * KB, 1), cache(MB, 1), cache(32 * MB, 64)].map(Some);
    assert_eq!(files(&neoverse), expected);
    let threads = [["1", "Data", "32K", "0,64"], ["3", "Unified", "504M", "0-127,256-383"]];
    assert_eq!(files(&threads), [Some(cache(32 * KB, 2)), None, Some(cache(504 * MB, 256))]);
    // A small board without a third level; a virtual machine of ARM cores that says nothing.
    let board =
        [["1", "Data", "32K", "0"], ["1", "Instruction", "48K", "0"], ["2", "Unified", "1024K", "0-3"]];
    assert_eq!(only(files(&board)).third, None);
    assert_eq!(only(files(&[])), Caches::USUAL);
}

#[test]
fn files_may_say_anything() {
    for size in ["", "K", "-1K", "0K", "99999999999999999999K", "18014398509481984K", "32 KB", "\u{e9}K"] {
        assert_eq!(only(files(&[["1", "Data", size, "0"]])), Caches::USUAL, "{size}");
    }
    for list in ["", "3-0", "0-", "a", "-", ",,", "0-18446744073709551615"] {
        let found = only(files(&[["1", "Data", "32K", list], ["2", "Unified", "1M", "0"]]));
        assert!(found.first.sharing >= 1 && found.first.bytes >= 32 * KB, "{list}: {found:?}");
    }
    assert_eq!(
        files(&[["0", "Data", "32K", "0"], ["4", "Unified", "1M", "0"], ["x", "Data", "32K", "0"]]),
        [None; 3]
    );
}

#[test]
fn a_line_says_all() {
    let text = "L1d 48 KB for 2 processors, L2 1 MB for 2 processors, L3 32 MB for 16 processors";
    assert_eq!(Caches::USUAL.to_string(), text);
    let caches = Caches { first: cache(64 * KB, 1), second: cache(1280 * KB, 1), third: None };
    assert_eq!(caches.to_string(), "L1d 64 KB, L2 1.3 MB, no L3");
}

/// Whatever this machine says.
#[test]
fn this_machine_has_caches() {
    let Caches { first, second, third } = *Caches::here();
    assert!(first.bytes <= second.bytes && third.is_none_or(|third| third.bytes > second.bytes));
}
