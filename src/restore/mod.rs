//! See design.md section 8.

mod binary;
