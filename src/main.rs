//! The `pgark` command.

/// Many threads take and give back buffers of a megabyte or so: the system's allocator keeps those
/// of each thread for it, and the peak grows with the data. `docs/measurements.md` has figures.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    pgark::cli::main()
}
