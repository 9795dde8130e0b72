pub mod gemm;

pub mod workers;
