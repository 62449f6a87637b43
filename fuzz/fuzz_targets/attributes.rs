#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| switchyard_fuzz::checks::check("attributes", bytes));
