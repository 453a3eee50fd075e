//! The `pgark` command.

/// Many threads take and give back buffers of a megabyte or so: the system's allocator keeps those
/// of each thread for it, and the peak grows with the data. `docs/measurements.md` has figures.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// One arena, which keeps what it was given: a page that goes back to the system comes again zeroed,
/// and that took a tenth of the time of `create`. The name is how jemalloc finds it.
#[allow(unsafe_code)]
#[unsafe(export_name = "_rjem_malloc_conf")]
static SETTINGS: &[u8; 52] = b"narenas:1,dirty_decay_ms:-1,oversize_threshold:0\0\0\0\0";

fn main() -> std::process::ExitCode {
    pgark::cli::main()
}
