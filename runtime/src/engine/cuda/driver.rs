//! NVIDIA's driver, loaded when the first GPU is asked for: all that is unsafe about a GPU.
//!
//! A [`Gpu`] keeps what it has made (context, stream, memory, module, graph) until it is dropped; no pointer leaves it but as
//! the number that [`super::Device`] hands out. All its work is in one stream, so in order.

use std::ffi::{CString, c_int, c_uint, c_void};

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;
use lstmc_compiler::backend::ptx::{Launch, Ptx};

use super::cublaslt::Products;
use super::{Device, DeviceError};

/// The oldest driver whose functions are all there: CUDA 11.4.
const OLDEST_DRIVER: i32 = 11040;

/// The oldest driver that takes PTX 8.0, in which code for compute capability 9.0 is written: CUDA 12.0.
const OLDEST_DRIVER_FOR_90: i32 = 12000;

/// The lowest compute capability that the code is for.
const LOWEST_CAPABILITY: u32 = 80;

/// One NVIDIA GPU.
#[derive(Debug)]
pub struct Gpu {
    device: sys::CUdevice,
    context: sys::CUcontext,
    stream: sys::CUstream,
    /// `90` for compute capability 9.0.
    pub capability: u32,
    pub multiprocessors: usize,
    pub name: String,
    allocations: Vec<sys::CUdeviceptr>,
    program: Option<Loaded>,
    slots: [Option<Slot>; 2],
}

// SAFETY: the handles belong to this value alone, and every method makes its context current before it uses them.
unsafe impl Send for Gpu {}

/// A program on the GPU.
#[derive(Debug)]
struct Loaded {
    module: sys::CUmodule,
    prologue: Vec<Ready>,
    step: Vec<Ready>,
    /// What of the step a library computes.
    products: Products,
    /// The step as one graph, where the driver can capture it.
    graph: Option<sys::CUgraphExec>,
    arena: u64,
    control: u64,
}

#[derive(Debug)]
struct Ready {
    function: sys::CUfunction,
    launch: Launch,
}

/// Memory of the host that the GPU copies to while the host goes on, which pageable memory is not.
#[derive(Debug)]
struct Slot {
    at: *mut c_void,
    bytes: usize,
    /// The end of the last copy.
    copied: sys::CUevent,
}

impl Slot {
    /// The context of a GPU is current.
    fn new(bytes: usize) -> Result<Self, DeviceError> {
        let copied = result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)
            .map_err(failed("making an event"))?;
        let mut slot = Self { at: std::ptr::null_mut(), bytes, copied };
        // SAFETY: the memory is cleared before anything else sees it, and freed once, when this value is dropped.
        slot.at = unsafe { result::malloc_host(bytes.max(1), 0) }
            .map_err(failed("allocating memory that the GPU can write"))?;
        // SAFETY: it was just allocated with at least so many bytes.
        unsafe { slot.at.cast::<u8>().write_bytes(0, bytes) };
        Ok(slot)
    }
}

impl Drop for Slot {
    /// The context of its GPU is current, and nothing is copied to it any more.
    fn drop(&mut self) {
        // SAFETY: the event is this value's own and not used again.
        let _ = unsafe { result::event::destroy(self.copied) };
        if !self.at.is_null() {
            // SAFETY: it came from `malloc_host` and is freed once.
            let _ = unsafe { result::free_host(self.at) };
        }
    }
}

/// What the driver says of an error.
fn reason(error: DriverError) -> String {
    let text = error.error_string().map(|text| text.to_string_lossy().into_owned());
    text.unwrap_or_else(|_| format!("{:?}", error.0))
}

fn failed(what: &'static str) -> impl Fn(DriverError) -> DeviceError {
    move |error| DeviceError::Driver { what, reason: reason(error) }
}

/// The driver's version: `12040` for CUDA 12.4.
fn driver_version() -> Result<i32, DeviceError> {
    // SAFETY: it opens and closes a library.
    if !unsafe { sys::is_culib_present() } {
        return Err(DeviceError::NoDriver);
    }
    let mut version: c_int = 0;
    // SAFETY: the driver is there, every version of it has this function, and the pointer is to a number that lives as long.
    unsafe { sys::cuDriverGetVersion(&raw mut version) }
        .result()
        .map_err(failed("asking for the driver's version"))?;
    Ok(version)
}

/// Says whether a driver is new enough.
fn at_least(needed: i32, found: i32) -> Result<(), DeviceError> {
    if found < needed { Err(DeviceError::OldDriver { found, needed }) } else { Ok(()) }
}

/// How many GPUs the driver finds.
fn gpus() -> Result<usize, DeviceError> {
    let none = |error| DeviceError::NoGpu { reason: reason(error) };
    result::init().map_err(none)?;
    match result::device::get_count().map_err(none)? {
        count if count > 0 => Ok(count as usize),
        _ => Err(DeviceError::NoGpu { reason: "it counts 0".into() }),
    }
}

impl Gpu {
    /// GPU number `index` of this machine.
    ///
    /// # Errors
    /// There is none, it or the driver is too old, or the driver refuses it.
    pub fn open(index: usize) -> Result<Self, DeviceError> {
        let version = driver_version()?;
        at_least(OLDEST_DRIVER, version)?;
        let count = gpus()?;
        if index >= count {
            return Err(DeviceError::NoSuchGpu { wanted: index, count });
        }
        let device = result::device::get(index as c_int).map_err(failed("opening the GPU"))?;
        let name = result::device::get_name(device).map_err(failed("asking for the GPU's name"))?;
        let attribute = |attribute| {
            // SAFETY: `device` is one that the driver has given.
            unsafe { result::device::get_attribute(device, attribute) }
                .map_err(failed("asking what the GPU can do"))
        };
        let major = attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        let multiprocessors =
            attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)? as usize;
        let capability = (10 * major + minor) as u32;
        if capability < LOWEST_CAPABILITY {
            return Err(DeviceError::OldGpu { name, capability });
        }
        at_least(if capability >= 90 { OLDEST_DRIVER_FOR_90 } else { OLDEST_DRIVER }, version)?;
        // SAFETY: `device` is one that the driver has given; the context is released when this value is dropped.
        let context = unsafe { result::primary_ctx::retain(device) }.map_err(failed("opening the GPU"))?;
        let mut gpu = Self {
            device,
            context,
            stream: std::ptr::null_mut(),
            capability,
            multiprocessors,
            name,
            allocations: vec![],
            program: None,
            slots: [None, None],
        };
        gpu.enter()?;
        gpu.stream = result::stream::create(result::stream::StreamKind::NonBlocking)
            .map_err(failed("opening a stream"))?;
        Ok(gpu)
    }

    /// Makes the context current in this thread.
    fn enter(&self) -> Result<(), DeviceError> {
        // SAFETY: the context is retained as long as this value lives.
        unsafe { result::ctx::set_current(self.context) }.map_err(failed("using the GPU"))
    }

    fn wait(&self) -> Result<(), DeviceError> {
        // SAFETY: the stream is this value's own.
        unsafe { result::stream::synchronize(self.stream) }.map_err(failed("running a step on the GPU"))
    }

    fn module(&self, text: &str) -> Result<sys::CUmodule, DeviceError> {
        let image = CString::new(text)
            .map_err(|_| DeviceError::Refused { log: "the text has a zero byte".into() })?;
        let mut log = vec![0_u8; 16 << 10];
        let mut options = [
            sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER,
            sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES,
        ];
        let mut values: [*mut c_void; 2] =
            [log.as_mut_ptr().cast(), std::ptr::without_provenance_mut(log.len())];
        let mut module = std::ptr::null_mut();
        // SAFETY: the image is text that ends with a zero; the log is as long as the second value says; two options and two
        // values; all of them live until the call returns.
        let loaded = unsafe {
            sys::cuModuleLoadDataEx(
                &raw mut module,
                image.as_ptr().cast(),
                2,
                options.as_mut_ptr(),
                values.as_mut_ptr(),
            )
        };
        loaded.result().map_err(|error| {
            let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
            let log = String::from_utf8_lossy(&log[..end]).trim().to_owned();
            DeviceError::Refused { log: if log.is_empty() { reason(error) } else { log } }
        })?;
        Ok(module)
    }

    /// The functions of launches. All CTAs of a cooperative one must fit the GPU at once.
    fn ready(&self, module: sys::CUmodule, launches: &[Launch]) -> Result<Vec<Ready>, DeviceError> {
        let ready = |launch: &Launch| {
            let name = CString::new(launch.entry.as_str())
                .map_err(|_| DeviceError::Refused { log: format!("the entry {:?}", launch.entry) })?;
            // SAFETY: the module was loaded and is kept.
            let function = unsafe { result::module::get_function(module, name) }
                .map_err(failed("looking a kernel up"))?;
            let shared = launch.shared_bytes as c_int;
            if shared > 0 {
                let most = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
                // SAFETY: the function is one of a module that is kept.
                unsafe { result::function::set_function_attribute(function, most, shared) }
                    .map_err(failed("giving a kernel shared memory"))?;
            }
            if launch.is_cooperative() {
                // SAFETY: the function is one of a module that is kept.
                let each = unsafe {
                    result::occupancy::max_active_block_per_multiprocessor(
                        function,
                        launch.threads as c_int,
                        launch.shared_bytes,
                    )
                };
                let each = each.map_err(failed("asking how many CTAs fit"))?;
                if (each.max(0) as usize) * self.multiprocessors < launch.ctas {
                    let reason =
                        format!("{} CTAs of {} do not fit {} at once", launch.ctas, launch.entry, self.name);
                    return Err(DeviceError::Driver { what: "loading the program", reason });
                }
            }
            Ok(Ready { function, launch: launch.clone() })
        };
        launches.iter().map(ready).collect()
    }

    /// Starts the launches of a step.
    fn start_step(&self, program: &Loaded) -> Result<(), DeviceError> {
        self.start(&program.step, &program.products, program)
    }

    /// Starts launches of a program, or products in their place.
    fn start(&self, ready: &[Ready], products: &Products, program: &Loaded) -> Result<(), DeviceError> {
        for (index, Ready { function, launch }) in ready.iter().enumerate() {
            // SAFETY: the arena is memory that is kept, and the matrices lie in it, as the plan says.
            if unsafe { products.start(index, self.stream.cast()) } {
                continue;
            }
            let (mut arena, mut control) = (program.arena, program.control);
            let mut parameters: [*mut c_void; 2] = [(&raw mut arena).cast(), (&raw mut control).cast()];
            let grid = (launch.ctas as c_uint, 1, 1);
            let block = (launch.threads as c_uint, 1, 1);
            let shared = launch.shared_bytes as c_uint;
            let start = if launch.is_cooperative() {
                result::launch_cooperative_kernel
            } else {
                result::launch_kernel
            };
            // SAFETY: the function belongs to a module that is kept; it takes two addresses, of memory that is kept, which the
            // driver copies before it returns; it stays inside both, as the plan says.
            unsafe { start(*function, grid, block, shared, self.stream, &mut parameters) }
                .map_err(failed("starting a kernel"))?;
        }
        Ok(())
    }

    /// What each launch of a step takes of the GPU once it is assembled.
    ///
    /// # Errors
    /// [`DeviceError::Refused`]; those of the driver.
    pub fn resources(&self, program: &Ptx) -> Result<Vec<Resources>, DeviceError> {
        self.enter()?;
        let module = self.module(&program.text)?;
        let taken = self.ready(module, &program.step).and_then(|ready| {
            let of = |ready: &Ready| Resources::of(ready.function);
            ready.iter().map(of).collect()
        });
        // SAFETY: the module was loaded above, and none of its functions is kept.
        let _ = unsafe { result::module::unload(module) };
        taken
    }

    /// How many products of a step the library computes, if it is on this machine.
    ///
    /// # Errors
    /// Those of the driver.
    pub fn by_library(&self, program: &Ptx) -> Result<usize, DeviceError> {
        self.enter()?;
        Ok(Products::of(&program.step, 0).count())
    }

    /// The products of a step that the library computes in an arena that is still all zero: so is then what they leave.
    fn products(&self, step: &[Launch], arena: u64) -> Result<Products, DeviceError> {
        let mut products = Products::of(step, arena);
        // SAFETY: the arena is memory that is kept, and the matrices lie in it, as the plan says.
        unsafe { products.try_out(self.stream.cast()) };
        self.wait()?;
        Ok(products)
    }

    /// The step as a graph; none where the driver cannot capture it.
    fn capture(&self, program: &Loaded) -> Option<sys::CUgraphExec> {
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream is this value's own and idle.
        unsafe { result::stream::begin_capture(self.stream, mode) }.ok()?;
        let started = self.start_step(program);
        // SAFETY: the capture was begun above; it is ended whether or not something went wrong in it.
        let graph = unsafe { result::stream::end_capture(self.stream) }.ok()?;
        if graph.is_null() {
            return None;
        }
        // SAFETY: the graph was just made; no flags.
        let ready = unsafe { result::graph::instantiate(graph, sys::CUgraphInstantiate_flags(0)) };
        // SAFETY: the graph is not used again, the instance does not need it.
        let _ = unsafe { result::graph::destroy(graph) };
        started.ok().and(ready.ok())
    }
}

/// What a kernel takes of a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resources {
    /// Of each thread.
    pub registers: usize,
    /// Bytes of each thread for registers that did not fit.
    pub spilled: usize,
    /// Bytes of shared memory that each CTA declares itself.
    pub shared: usize,
}

impl Resources {
    fn of(function: sys::CUfunction) -> Result<Self, DeviceError> {
        use sys::CUfunction_attribute as Attribute;
        let ask = |attribute: Attribute| {
            // SAFETY: the function is one of a module that is loaded.
            unsafe { result::function::get_function_attribute(function, attribute) }
                .map(|value| value.max(0) as usize)
                .map_err(failed("asking what a kernel takes"))
        };
        Ok(Self {
            registers: ask(Attribute::CU_FUNC_ATTRIBUTE_NUM_REGS)?,
            spilled: ask(Attribute::CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES)?,
            shared: ask(Attribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES)?,
        })
    }
}

impl Device for Gpu {
    fn allocate(&mut self, bytes: usize) -> Result<u64, DeviceError> {
        self.enter()?;
        let bytes = bytes.max(256);
        let (free, _) = result::mem_get_info().map_err(failed("asking for the GPU's memory"))?;
        if bytes > free {
            return Err(DeviceError::Memory { needed: bytes as u64, free: free as u64 });
        }
        // SAFETY: the address is kept and freed once, when this value is dropped.
        let at = unsafe { result::malloc_sync(bytes) }
            .map_err(|_| DeviceError::Memory { needed: bytes as u64, free: free as u64 })?;
        self.allocations.push(at);
        // In the stream, which waits for no other one.
        // SAFETY: the memory was just allocated with this many bytes.
        unsafe { result::memset_d8_async(at, 0, bytes, self.stream) }
            .map_err(failed("clearing the GPU's memory"))?;
        Ok(at)
    }

    fn load(&mut self, program: &Ptx, arena: u64, control: u64) -> Result<(), DeviceError> {
        self.enter()?;
        let module = self.module(&program.text)?;
        let (prologue, step) = (self.ready(module, &program.prologue)?, self.ready(module, &program.step)?);
        let products = self.products(&program.step, arena)?;
        let mut loaded = Loaded { module, prologue, step, products, graph: None, arena, control };
        loaded.graph = self.capture(&loaded);
        if loaded.graph.is_none() && loaded.products.count() > 0 {
            // If it is the library that cannot be captured, a graph is worth more.
            let products = std::mem::take(&mut loaded.products);
            loaded.graph = self.capture(&loaded);
            if loaded.graph.is_none() {
                loaded.products = products;
            }
        }
        self.program = Some(loaded);
        Ok(())
    }

    fn upload(&mut self, to: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.enter()?;
        // SAFETY: `to` is an address in memory that `allocate` gave, with room for the bytes. These lie in pageable memory, from
        // which the driver copies them to memory of its own before the call returns (CUDA driver API, "API synchronization
        // behavior").
        unsafe { result::memcpy_htod_async(to, bytes, self.stream) }.map_err(failed("copying to the GPU"))
    }

    fn download(&self, from: u64, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.enter()?;
        // SAFETY: `from` is an address in memory that `allocate` gave, with as many bytes behind it; they have been copied when
        // the stream has been waited for, below.
        unsafe { result::memcpy_dtoh_async(bytes, from, self.stream) }
            .map_err(failed("copying from the GPU"))?;
        self.wait()
    }

    fn send(&mut self, slot: usize, parts: &[(u64, usize)]) -> Result<(), DeviceError> {
        self.enter()?;
        let total = parts.iter().map(|(_, bytes)| bytes).sum();
        if self.slots[slot].as_ref().is_none_or(|slot| slot.bytes != total) {
            self.wait()?;
            self.slots[slot] = None;
        }
        let slot = match &mut self.slots[slot] {
            Some(slot) => slot,
            none => none.insert(Slot::new(total)?),
        };
        let mut to = slot.at.cast::<u8>();
        for &(from, bytes) in parts {
            // SAFETY: the parts fill the slot's memory, which has been cleared, and which nothing reads until the copy is done.
            let place = unsafe { std::slice::from_raw_parts_mut(to, bytes) };
            // SAFETY: `from` is an address in memory that `allocate` gave, with as many bytes behind it; the slot lives until
            // the stream has been waited for.
            unsafe { result::memcpy_dtoh_async(place, from, self.stream) }
                .map_err(failed("copying from the GPU"))?;
            // SAFETY: it stays in the slot's memory, or is at its end.
            to = unsafe { to.add(bytes) };
        }
        // SAFETY: event and stream are this value's own.
        unsafe { result::event::record(slot.copied, self.stream) }.map_err(failed("copying from the GPU"))
    }

    fn receive(&mut self, slot: usize) -> Result<&[u8], DeviceError> {
        self.enter()?;
        let Some(slot) = &self.slots[slot] else { return Ok(&[]) };
        // SAFETY: the event is the slot's own.
        unsafe { result::event::synchronize(slot.copied) }.map_err(failed("running a step on the GPU"))?;
        // SAFETY: so many bytes were allocated and cleared; nothing writes them until this value is borrowed mutably again.
        Ok(unsafe { std::slice::from_raw_parts(slot.at.cast(), slot.bytes) })
    }

    fn prologue(&mut self) -> Result<(), DeviceError> {
        self.enter()?;
        match &self.program {
            Some(program) => self.start(&program.prologue, &Products::default(), program),
            None => Ok(()),
        }
    }

    fn step(&mut self) -> Result<(), DeviceError> {
        self.enter()?;
        match &self.program {
            Some(Loaded { graph: Some(graph), .. }) => {
                // SAFETY: graph and stream are this value's own.
                unsafe { result::graph::launch(*graph, self.stream) }
                    .map_err(failed("starting a step on the GPU"))
            }
            Some(program) => self.start_step(program),
            None => Ok(()),
        }
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        if self.enter().is_err() {
            return;
        }
        // What fails here cannot be mended, and the process gives everything back when it ends.
        let _ = self.wait();
        self.slots = [None, None];
        if let Some(program) = self.program.take() {
            if let Some(graph) = program.graph {
                // SAFETY: nothing runs any more, and the graph is not used again.
                let _ = unsafe { result::graph::exec_destroy(graph) };
            }
            // SAFETY: as above, for the module and its functions.
            let _ = unsafe { result::module::unload(program.module) };
        }
        for at in self.allocations.drain(..) {
            // SAFETY: it came from `malloc_sync` and is freed once.
            let _ = unsafe { result::free_sync(at) };
        }
        if !self.stream.is_null() {
            // SAFETY: the stream is this value's own and idle.
            let _ = unsafe { result::stream::destroy(self.stream) };
        }
        // SAFETY: it was retained once, in `open`.
        let _ = unsafe { result::primary_ctx::release(self.device) };
    }
}
