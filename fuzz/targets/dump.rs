#![no_main]
#[path = "../checks.rs"]
#[allow(dead_code, reason = "each target takes one of the checks")]
mod checks;
libfuzzer_sys::fuzz_target!(init: checks::plant("dump"), |data: &[u8]| checks::dump(data));
