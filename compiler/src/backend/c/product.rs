//! Matrix products in C.

use super::{Helper, Unit};
use crate::backend::standalone::{self, Place};
use crate::kernel::{Address, Format, Gemm, PANEL, Rounds};

/// By packed weights; of `int8` the columns' scales are apart.
pub(super) fn packed(prefix: &str, int8: bool) -> String {
    let [times, suffix, ty, parameter, weight, sum] = if int8 {
        [
            ", times each column's scale",
            "_int8",
            "int8_t",
            ", const float *scale",
            "(float)row[j]",
            "sum[j] * scale[column + j]",
        ]
    } else {
        ["", "", "float", "", "row[j]", "sum[j]"]
    };
    format!(
        "/* c[m][n] = a[m][k] * b, or added to c; b in panels of {PANEL} columns, row after row of each{times}. */
static void {prefix}_product{suffix}(const float *a, size_t a_row, const {ty} *b{parameter}, float *c, size_t c_row, size_t m, size_t n, size_t k, int add)
{{
    size_t i, j, p, column;
    for (i = 0; i < m; i++) {{
        const {ty} *row = b;
        for (column = 0; column < n; column += {PANEL}) {{
            const size_t width = n - column < {PANEL} ? n - column : {PANEL};
            float sum[{PANEL}];
            for (j = 0; j < {PANEL}; j++) {{
                sum[j] = 0.0f;
            }}
            for (p = 0; p < k; p++, row += {PANEL}) {{
                const float x = a[i * a_row + p];
                for (j = 0; j < {PANEL}; j++) {{
                    sum[j] += x * {weight};
                }}
            }}
            for (j = 0; j < width; j++) {{
                const float value = {sum};
                float *to = c + i * c_row + column + j;
                *to = add ? *to + value : value;
            }}
        }}
    }}
}}

"
    )
}

/// By a matrix as it lies.
pub(super) fn plain(prefix: &str) -> String {
    format!(
        "/* c[m][n] = a * b, or added to c; from a row of a to the next are a_row elements, and a_step along the sum; so b. */
static void {prefix}_product_plain(const float *a, size_t a_row, size_t a_step, const float *b, size_t b_step, size_t b_column, float *c, size_t c_row, size_t m, size_t n, size_t k, int add)
{{
    size_t i, j, p;
    for (i = 0; i < m; i++) {{
        for (j = 0; j < n; j++) {{
            float sum = 0.0f;
            for (p = 0; p < k; p++) {{
                sum += a[i * a_row + p * a_step] * b[p * b_step + j * b_column];
            }}
            c[i * c_row + j] = add ? c[i * c_row + j] + sum : sum;
        }}
    }}
}}

"
    )
}

impl Unit<'_> {
    /// The statement of a product. `round` is the number of rounds of the loop around that have been done, and how many it has.
    pub(super) fn product(&mut self, gemm: &Gemm, round: Option<(&str, usize)>) -> String {
        standalone::check_product(gemm);
        let Gemm { m, n, k, ref cpu, .. } = *gemm;
        let terms = match (gemm.rounds, round) {
            (Rounds::AfterFirst, Some((round, _))) => format!("{round} == 0 ? 0 : {k}"),
            _ => k.to_string(),
        };
        let (a, c) = (self.pointer(&gemm.a.at), self.pointer(&gemm.c.at));
        let (a_row, c_row, add) = (gemm.a.stride, gemm.c.stride, u8::from(gemm.accumulate));
        let own = self.prefix;
        let call = match cpu.packed {
            Some(format) => {
                let (b, helper, suffix) = match (format, self.layout.place(gemm.b.at.buffer)) {
                    (Format::F32, Place::Constant(_)) => (self.pointer(&gemm.b.at), Helper::Packed, ""),
                    (Format::Int8, Place::Constant(_)) => {
                        let id = gemm.b.at.buffer.0;
                        (format!("{own}_w{id}, {own}_s{id}"), Helper::PackedInt8, "_int8")
                    }
                    _ => panic!("internal error: weights that a step packs, or in bf16"),
                };
                self.used.insert(helper);
                format!("{own}_product{suffix}({a}, {a_row}, {b}, {c}, {c_row}, {m}, {n}, {terms}, {add});")
            }
            None => {
                self.used.insert(Helper::Plain);
                let (b, [a_row, a_step, b_step, b_column]) = (self.pointer(&gemm.b.at), gemm.steps());
                format!(
                    "{own}_product_plain({a}, {a_row}, {a_step}, {b}, {b_step}, {b_column}, {c}, {c_row}, {m}, {n}, {terms}, {add});"
                )
            }
        };
        match (gemm.rounds, round) {
            (Rounds::BeforeLast, Some((round, rounds))) => {
                format!("if ({round} + 1 < {rounds}) {{ {call} }}")
            }
            _ => call,
        }
    }

    /// Where an element lies whose address has terms in time only.
    fn pointer(&self, at: &Address) -> String {
        match self.place(at) {
            (array, place) if place == "0" => array,
            (array, place) => format!("{array} + {place}"),
        }
    }
}
