//! See design.md section 8.
