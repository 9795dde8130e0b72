//! Products by cuBLASLt, NVIDIA's library for them, where it is on the machine: all that is unsafe about it.
//!
//! The library is looked for when a program is loaded that has products for it, and not before. Whatever it lacks or refuses is
//! no error: what it does not compute, a kernel does. For each product it is asked once, when a program is loaded, for the one
//! algorithm that it thinks fastest among those that add up a sum in one place and need no memory; all steps use that.
//!
//! The library's matrices lie column after column, ours row after row, which is the transpose: it is given the transposes of all
//! three, and so B first, `C^T = op(B)^T @ op(A)^T`.

use std::ffi::c_void;
use std::ptr;

use cudarc::cublaslt::result::{self, CublasError};
use cudarc::cublaslt::sys;
use lstmc_compiler::backend::ptx::{Launch, Placed, Product};
use lstmc_compiler::kernel::{Form, Precision};

/// The oldest version that is asked, that of CUDA 12.0: the driver for GPUs that products are described for is at least as new.
const OLDEST: usize = 120_000;

/// Every function that is called here. One that is missing would stop the program.
const FUNCTIONS: [&str; 13] = [
    "cublasLtCreate",
    "cublasLtDestroy",
    "cublasLtGetVersion",
    "cublasLtMatmul",
    "cublasLtMatmulAlgoGetHeuristic",
    "cublasLtMatmulDescCreate",
    "cublasLtMatmulDescDestroy",
    "cublasLtMatmulDescSetAttribute",
    "cublasLtMatmulPreferenceCreate",
    "cublasLtMatmulPreferenceDestroy",
    "cublasLtMatmulPreferenceSetAttribute",
    "cublasLtMatrixLayoutCreate",
    "cublasLtMatrixLayoutDestroy",
];

/// The library assumes that matrices begin at multiples of so many bytes, if it is not told of fewer.
const MOST_ALIGNED: u64 = 256;

/// Which launches of a program the library can take the place of.
#[derive(Debug, Default)]
pub(super) struct Products {
    /// For each launch; without [`Products::library`], nothing.
    each: Vec<Option<Matmul>>,
    /// Given up after all that was made for it.
    library: Option<Library>,
}

impl Products {
    /// Of these launches, in an arena on the GPU whose context is current.
    pub fn of(launches: &[Launch], arena: u64) -> Self {
        if launches.iter().all(|launch| launch.product.is_none()) {
            return Self::default();
        }
        let Some(library) = Library::open() else { return Self::default() };
        let matmul = |launch: &Launch| Matmul::new(&library, launch.product.as_ref()?, arena).ok();
        Self { each: launches.iter().map(matmul).collect(), library: Some(library) }
    }

    /// How many launches it can take the place of.
    pub fn count(&self) -> usize {
        self.each.iter().flatten().count()
    }

    /// Starts the product of launch number `index` on a stream of the GPU; says whether it has.
    ///
    /// # Safety
    /// The arena is memory of the GPU with all matrices of the products, and its context is current.
    pub unsafe fn start(&self, index: usize, stream: *mut c_void) -> bool {
        match (&self.library, self.each.get(index)) {
            // SAFETY: as the caller promises; the product was made for this library.
            (Some(library), Some(Some(matmul))) => unsafe { matmul.start(library, stream) }.is_ok(),
            _ => false,
        }
    }

    /// Starts every product once, so that the library has loaded its kernels, and forgets those that it does not start.
    ///
    /// # Safety
    /// That of [`Products::start`].
    pub unsafe fn try_out(&mut self, stream: *mut c_void) {
        for index in 0..self.each.len() {
            // SAFETY: as the caller promises.
            if !unsafe { self.start(index, stream) } {
                self.each[index] = None;
            }
        }
    }
}

/// The library's own state, for the GPU whose context was current.
#[derive(Debug)]
struct Library(sys::cublasLtHandle_t);

impl Library {
    /// None if it is not on this machine, too old, or of no use to this GPU and driver.
    fn open() -> Option<Self> {
        // SAFETY: it opens and closes a library, whose initialisers NVIDIA has written.
        if !unsafe { sys::is_culib_present() } {
            return None;
        }
        let has = |name: &&str| {
            // SAFETY: the library is there; the function is looked up and not called, and a pointer is as good as any type for that.
            unsafe { sys::culib().get::<*const c_void>(name.as_bytes()) }.is_ok()
        };
        if !FUNCTIONS.iter().all(has) {
            return None;
        }
        // SAFETY: the function is there, as was seen above, and takes nothing.
        if unsafe { sys::cublasLtGetVersion() } < OLDEST {
            return None;
        }
        result::create_handle().ok().map(Self)
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: it came from `create_handle`, and all that was made for it has been given up.
        let _ = unsafe { result::destroy_handle(self.0) };
    }
}

/// A product, as the library knows it.
#[derive(Debug)]
struct Matmul {
    what: Description,
    /// B, A and C of the [`Product`], and where they lie.
    layouts: [Layout; 3],
    addresses: [u64; 3],
    algorithm: sys::cublasLtMatmulAlgo_t,
    /// What C is multiplied by before the product is added.
    beta: f32,
}

impl Matmul {
    fn new(library: &Library, product: &Product, arena: u64) -> Result<Self, CublasError> {
        let what = Description::new(product)?;
        let places = [product.b, product.a, product.c];
        let [b, a, c] = places.map(|place| Layout::new(&place));
        let layouts = [b?, a?, c?];
        let addresses = places.map(|place| arena + place.offset as u64);
        let wanted = Preference::new(addresses)?;
        let [b, a, c] = layouts.each_ref().map(|layout| layout.0);
        // SAFETY: all of them were made above, by the library whose handle this is.
        let found = unsafe { result::get_matmul_algo_heuristic(library.0, what.0, b, a, c, c, wanted.0) }?;
        let beta = if product.accumulate { 1.0 } else { 0.0 };
        Ok(Self { what, layouts, addresses, algorithm: found.algo, beta })
    }

    /// # Safety
    /// That of [`Products::start`]; it was made for this library.
    unsafe fn start(&self, library: &Library, stream: *mut c_void) -> Result<(), CublasError> {
        let [b, a, c] = self.layouts.each_ref().map(|layout| layout.0);
        let [at_b, at_a, at_c] =
            self.addresses.map(|at| ptr::with_exposed_provenance_mut::<c_void>(at as usize));
        let alpha = 1.0_f32;
        // SAFETY: handle, description, layouts and algorithm belong to each other and are kept; the matrices lie in the arena, as the
        // caller promises; the library reads alpha and beta before it returns, as its pointer mode is that of the host; the
        // algorithm was asked for without memory of its own.
        unsafe {
            result::matmul(
                library.0,
                self.what.0,
                (&raw const alpha).cast(),
                (&raw const self.beta).cast(),
                at_b,
                b,
                at_a,
                a,
                at_c,
                c,
                at_c,
                c,
                &raw const self.algorithm,
                ptr::null_mut(),
                0,
                stream.cast(),
            )
        }
    }
}

/// How the elements are multiplied, and which of the matrices are transposed.
#[derive(Debug)]
struct Description(sys::cublasLtMatmulDesc_t);

impl Description {
    fn new(product: &Product) -> Result<Self, CublasError> {
        use sys::cublasComputeType_t::{CUBLAS_COMPUTE_32F_FAST_16BF, CUBLAS_COMPUTE_32F_FAST_TF32};
        use sys::cublasLtMatmulDescAttributes_t::{CUBLASLT_MATMUL_DESC_TRANSA, CUBLASLT_MATMUL_DESC_TRANSB};
        let math = match product.precision {
            Precision::Tf32 => CUBLAS_COMPUTE_32F_FAST_TF32,
            Precision::Bf16 => CUBLAS_COMPUTE_32F_FAST_16BF,
            Precision::F32 | Precision::Bf16x3 | Precision::Bf16x6 => {
                return Err(CublasError(sys::cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED));
            }
        };
        let what = Self(result::create_matmul_desc(math, sys::cudaDataType::CUDA_R_32F)?);
        // The library's first operand is B.
        let transposed = [
            (CUBLASLT_MATMUL_DESC_TRANSA, product.form == Form::NT),
            (CUBLASLT_MATMUL_DESC_TRANSB, product.form == Form::TN),
        ];
        for (attribute, is_transposed) in transposed {
            // CUBLAS_OP_T and CUBLAS_OP_N.
            let operation = i32::from(is_transposed);
            // SAFETY: the description was just made; the attribute is a number of 4 bytes, which is copied.
            unsafe {
                result::set_matmul_desc_attribute(what.0, attribute, (&raw const operation).cast(), 4)
            }?;
        }
        Ok(what)
    }
}

impl Drop for Description {
    fn drop(&mut self) {
        // SAFETY: it came from `create_matmul_desc` and is not used again.
        let _ = unsafe { result::destroy_matmul_desc(self.0) };
    }
}

/// How a matrix lies.
#[derive(Debug)]
struct Layout(sys::cublasLtMatrixLayout_t);

impl Layout {
    fn new(place: &Placed) -> Result<Self, CublasError> {
        // Our rows are its columns.
        let (rows, columns) = (place.columns as u64, place.rows as u64);
        result::create_matrix_layout(sys::cudaDataType::CUDA_R_32F, rows, columns, place.stride as i64)
            .map(Self)
    }
}

impl Drop for Layout {
    fn drop(&mut self) {
        // SAFETY: it came from `create_matrix_layout` and is not used again.
        let _ = unsafe { result::destroy_matrix_layout(self.0) };
    }
}

/// Which algorithms will do.
#[derive(Debug)]
struct Preference(sys::cublasLtMatmulPreference_t);

impl Preference {
    /// For B, A and C at these addresses.
    fn new(addresses: [u64; 3]) -> Result<Self, CublasError> {
        use sys::cublasLtMatmulPreferenceAttributes_t as Attribute;
        let wanted = Self(result::create_matmul_pref()?);
        let memory = 0_u64;
        // SAFETY: the attribute is a number of 8 bytes.
        unsafe { wanted.set(Attribute::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &memory) }?;
        // No contraction in parts that are added up in the order in which they come.
        let reductions = sys::cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_NONE as u32;
        // SAFETY: the attribute is a number of 4 bytes.
        unsafe { wanted.set(Attribute::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &reductions) }?;
        let [b, a, c] = addresses.map(alignment);
        for (attribute, alignment) in [
            (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, b),
            (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, a),
            (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, c),
            (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, c),
        ] {
            // SAFETY: the attributes are numbers of 4 bytes.
            unsafe { wanted.set(attribute, &alignment) }?;
        }
        Ok(wanted)
    }

    /// # Safety
    /// The attribute is a number of this type's size.
    unsafe fn set<T>(
        &self,
        attribute: sys::cublasLtMatmulPreferenceAttributes_t,
        value: &T,
    ) -> Result<(), CublasError> {
        // SAFETY: the value, which is copied, is as long as the library expects, as the caller promises.
        unsafe {
            result::set_matmul_pref_attribute(self.0, attribute, ptr::from_ref(value).cast(), size_of::<T>())
        }
    }
}

impl Drop for Preference {
    fn drop(&mut self) {
        // SAFETY: it came from `create_matmul_pref` and is not used again.
        let _ = unsafe { result::destroy_matmul_pref(self.0) };
    }
}

/// Of an address, as far as the library cares.
fn alignment(address: u64) -> u32 {
    (1 << address.trailing_zeros().min(MOST_ALIGNED.trailing_zeros())) as u32
}

// The double of the library is a shared object of Linux.
#[cfg(all(test, target_os = "linux"))]
mod tests;
