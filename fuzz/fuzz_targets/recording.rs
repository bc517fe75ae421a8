#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| proxyxai_fuzz::recording(input));
