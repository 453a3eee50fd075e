//! Tests of the program and the library from outside, real servers included.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail there as tests do")]

#[path = "../support/mod.rs"]
mod support;

mod asked;
mod catalog;
mod check;
mod cli;
mod compare;
mod ddl;
mod declared;
mod differs;
mod docker;
mod drill;
mod dump_compare;
mod dumps;
mod export;
mod faults;
mod fidelity;
mod fixtures;
mod fuzzed;
mod guard;
mod guides;
mod hooks;
mod keywords;
mod kill;
mod library;
mod partitions;
mod pg_connect;
mod profiles;
mod properties;
mod recover;
mod refuse;
mod rescue;
mod restore_options;
mod restore_part;
mod room;
mod roundtrip;
mod rows_alone;
mod rules;
mod scheduling;
mod servers;
mod stable;
mod story;
mod swap;
mod terminal;
mod thin;
mod throwaway;
mod traps_reading;
mod traps_restoring;

/// The program under test.
const PGARK: &str = env!("CARGO_BIN_EXE_pgark");
