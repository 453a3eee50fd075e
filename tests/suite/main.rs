//! Tests of the program and the library from outside, real servers included.

#[path = "../support/mod.rs"]
mod support;

mod catalog;
mod cli;
mod declared;
mod dump_compare;
mod fixtures;
mod kill;
mod pg_connect;
mod recover;
mod refuse;
mod round_trip;
mod roundtrip;
mod servers;
mod stable;
mod traps_reading;

/// The program under test.
const PGARK: &str = env!("CARGO_BIN_EXE_pgark");
