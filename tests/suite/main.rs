//! Tests of the program and the library from outside, real servers included.

#[path = "../support/mod.rs"]
mod support;

mod catalog;
mod declared;
mod pg_connect;
mod round_trip;
mod servers;
