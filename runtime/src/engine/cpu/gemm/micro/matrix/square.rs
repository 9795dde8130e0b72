//! The inner loop of products on a matrix unit: up to two by two tiles of C, which stay in registers while the contraction goes by.

use super::{A, B, SIDE, TILE, Unit};

/// What the loop works on: `C[..rows, ..columns]` becomes, or grows by, products of A and B in parts.
pub struct Square<'a> {
    /// The first tile of each row of A's tiles: tile (step s, part p) lies `s * a_parts + p` tiles of so many rows after it.
    pub a: [*const f32; 2],
    pub a_parts: usize,
    pub rows: [usize; 2],
    /// The first tile of each of B's panels: tile (step s, part p) lies `s * TILE + p * b_part` words after it.
    pub b: [*const f32; 2],
    pub b_part: usize,
    /// Steps of the contraction.
    pub steps: usize,
    /// Where the last step of B lies instead, filled up with zeros, if the contraction ends within it; otherwise null. Part p of panel j
    /// is tile `2 p + j` there.
    pub tail: *const f32,
    /// Which part of A is multiplied by which of B, in each step, in this order. A part that was in the product before is in tiles already.
    pub products: &'a [(usize, usize)],
    pub c: *mut f32,
    /// Elements from one row of C to the next.
    pub c_row: usize,
    /// Columns of C, counted over both panels.
    pub columns: usize,
    /// Add to C.
    pub add: bool,
}

/// C's last tiles where it has fewer columns than they have.
#[repr(align(64))]
struct Edge([[f32; TILE]; 2]);

/// Does the same for each tile of C: its number, and its place among them.
macro_rules! each_tile {
    ($rows:expr, $panels:expr, |$tile:ident, $i:ident, $j:ident| $body:expr) => {{
        each_tile!(@one 0, 0, 0, $tile, $i, $j, $body);
        if $panels == 2 {
            each_tile!(@one 1, 0, 1, $tile, $i, $j, $body);
        }
        if $rows == 2 {
            each_tile!(@one 2, 1, 0, $tile, $i, $j, $body);
            if $panels == 2 {
                each_tile!(@one 3, 1, 1, $tile, $i, $j, $body);
            }
        }
    }};
    (@one $number:literal, $row:literal, $panel:literal, $tile:ident, $i:ident, $j:ident, $body:expr) => {{
        const $tile: usize = $number;
        let ($i, $j): (usize, usize) = ($row, $panel);
        let _ = ($i, $j);
        $body
    }};
}
/// Where the rows of a tile of C lie: the first one, and the bytes from one to the next.
type Place = (*mut u8, usize);

/// See [`super::MatrixUnit::squares`].
///
/// # Safety
/// The pointers are valid for what [`Square`] says, the processor has the unit, and this thread has configured it for these rows.
pub unsafe fn run<U: Unit, const ROWS: usize, const PANELS: usize>(s: &Square) {
    let in_c = |i: usize, j: usize| -> Place {
        (s.c.wrapping_add(i * s.rows[0] * s.c_row + j * SIDE).cast(), s.c_row * size_of::<f32>())
    };
    if s.columns == PANELS * SIDE {
        // SAFETY: C has whole tiles; the rest is the caller's promise.
        return unsafe { sum::<U, ROWS, PANELS>(s, in_c) };
    }
    let width = s.columns - (PANELS - 1) * SIDE;
    let mut edge = Edge([[0.0; TILE]; 2]);
    let tiles = edge.0.each_mut().map(|tile| tile.as_mut_ptr());
    let place = |i: usize, j: usize| match j == PANELS - 1 {
        true => (tiles[i].cast(), SIDE * size_of::<f32>()),
        false => in_c(i, j),
    };
    // SAFETY: C has whole tiles but in the last panel, and there these rows and columns.
    unsafe {
        if s.add {
            each_row::<ROWS>(s, PANELS - 1, &tiles, |edge, c| std::ptr::copy_nonoverlapping(c, edge, width));
        }
        sum::<U, ROWS, PANELS>(s, place);
        each_row::<ROWS>(s, PANELS - 1, &tiles, |edge, c| std::ptr::copy_nonoverlapping(edge, c, width));
    }
}

/// Calls `copy` with each row of the tiles at C's edge, and of C in their panel.
fn each_row<const ROWS: usize>(
    s: &Square,
    panel: usize,
    tiles: &[*mut f32; 2],
    copy: impl Fn(*mut f32, *mut f32),
) {
    for (i, tile) in tiles.iter().enumerate().take(ROWS) {
        for row in 0..s.rows[i] {
            let c = s.c.wrapping_add((i * s.rows[0] + row) * s.c_row + panel * SIDE);
            copy(tile.wrapping_add(row * SIDE), c);
        }
    }
}

/// The products, added up in tiles of C that lie at their places.
///
/// # Safety
/// As [`run`], and each tile's rows are at its place.
#[inline(always)]
unsafe fn sum<U: Unit, const ROWS: usize, const PANELS: usize>(
    s: &Square,
    place: impl Fn(usize, usize) -> Place,
) {
    // SAFETY: as the caller promised; A and B hold their tiles.
    unsafe {
        if s.add {
            each_tile!(ROWS, PANELS, |TILE_OF_C, i, j| {
                let (at, apart) = place(i, j);
                U::load::<TILE_OF_C>(at, apart)
            });
        } else {
            each_tile!(ROWS, PANELS, |TILE_OF_C, i, j| U::zero::<TILE_OF_C>());
        }
        for step in 0..s.steps {
            let mut loaded = [usize::MAX; 2];
            for &(a, b) in s.products {
                multiply_add::<U, ROWS, PANELS>(s, step, [a, b], loaded);
                loaded = [a, b];
            }
        }
        each_tile!(ROWS, PANELS, |TILE_OF_C, i, j| {
            let (at, apart) = place(i, j);
            U::store::<TILE_OF_C>(at, apart)
        });
    }
}

/// One step of one part of A and one of B, of which the parts `loaded` are in tiles.
#[inline(always)]
unsafe fn multiply_add<U: Unit, const ROWS: usize, const PANELS: usize>(
    s: &Square,
    step: usize,
    [a, b]: [usize; 2],
    loaded: [usize; 2],
) {
    let is_tail = !s.tail.is_null() && step + 1 == s.steps;
    let left = |i: usize| s.a[i].wrapping_add((step * s.a_parts + a) * s.rows[i] * SIDE).cast();
    let right = |j: usize| match is_tail {
        true => s.tail.wrapping_add((2 * b + j) * TILE).cast(),
        false => s.b[j].wrapping_add(step * TILE + b * s.b_part).cast(),
    };
    let (new_a, new_b) = (a != loaded[0], b != loaded[1]);
    // SAFETY: as the caller promised.
    unsafe {
        if new_a {
            U::load::<{ A[0] }>(left(0), 64);
        }
        if new_b {
            U::load::<{ B[0] }>(right(0), 64);
        }
        U::multiply_add::<0, { A[0] }, { B[0] }>();
        if PANELS == 2 {
            if new_b {
                U::load::<{ B[1] }>(right(1), 64);
            }
            U::multiply_add::<1, { A[0] }, { B[1] }>();
        }
        if ROWS == 2 {
            if new_a {
                U::load::<{ A[1] }>(left(1), 64);
            }
            U::multiply_add::<2, { A[1] }, { B[0] }>();
            if PANELS == 2 {
                U::multiply_add::<3, { A[1] }, { B[1] }>();
            }
        }
    }
}
