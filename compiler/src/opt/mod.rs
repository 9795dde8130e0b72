//! The passes on graphs that make them fast. Each is a free function over one graph, knows no other pass, and leaves
//! the graph's inputs' and outputs' meaning as it was; only `merge_products` changes inputs (parameters that it lays
//! side by side become one). `crate::pipeline` holds their order.

mod dead;
mod distinct_rows;
mod hoist;
mod merge_products;
mod over_time;
mod simplify;
mod sink;
mod sparse_rows;
mod square_sums;

pub use dead::remove_dead;
pub use distinct_rows::distinct_rows;
pub use hoist::hoist;
pub use merge_products::merge_products;
pub use simplify::simplify;
pub use sink::sink;
pub use sparse_rows::sparse_rows;
pub use square_sums::square_sums;
