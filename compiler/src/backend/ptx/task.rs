//! A task that all CTAs share.

use super::scope::Scope;
use super::{nest, product, rows};
use crate::kernel::{Form, Module};
use crate::plan::Task;

/// How many parts a task has, between which all CTAs must have finished.
pub(super) fn parts(task: Task<'_>) -> usize {
    match task {
        Task::Scatter(scatter, _) => 1 + usize::from(rows::is_cleared(scatter)),
        Task::Distinct(_) => 2,
        Task::Kernel(..) | Task::Gemm(..) | Task::Pack(..) | Task::Loop(..) | Task::Barrier => 1,
        Task::Exchange(_) => 0,
    }
}

/// Writes one part of a task that all CTAs share, and says how many have something to do.
pub(super) fn write_part(scope: &mut Scope, task: Task<'_>, part: usize, module: &Module) -> usize {
    scope.w.note(name(task));
    match (task, part) {
        (Task::Kernel(kernel, _), _) => nest::kernel(scope, kernel, None, module),
        (Task::Gemm(gemm, _), _) => product::product(scope, gemm),
        (Task::Scatter(scatter, _), 0) if rows::is_cleared(scatter) => rows::clear(scope, scatter),
        (Task::Scatter(scatter, _), _) => rows::add_rows(scope, scatter),
        (Task::Distinct(distinct), 0) => rows::first_places(scope, distinct),
        (Task::Distinct(distinct), _) => rows::ranks(scope, distinct),
        (Task::Pack(..) | Task::Exchange(_) | Task::Loop(..) | Task::Barrier, _) => {
            unreachable!("internal error: no part of a launch")
        }
    }
}

/// What a task is, as the name of an entry.
pub(super) fn name(task: Task<'_>) -> String {
    match task {
        Task::Kernel(kernel, _) => {
            kernel.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
        }
        Task::Gemm(gemm, _) => format!("product_{}_{}x{}x{}", form_name(gemm.form), gemm.m, gemm.n, gemm.k),
        Task::Scatter(..) => "add_rows".into(),
        Task::Distinct(_) => "distinct".into(),
        Task::Exchange(_) => "exchange".into(),
        Task::Pack(..) => "pack".into(),
        Task::Loop(..) => "loop".into(),
        Task::Barrier => "barrier".into(),
    }
}

fn form_name(form: Form) -> &'static str {
    match form {
        Form::NN => "nn",
        Form::NT => "nt",
        Form::TN => "tn",
    }
}
