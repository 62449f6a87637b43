//! Fuzz targets, without the fuzzer.

pub mod checks;
