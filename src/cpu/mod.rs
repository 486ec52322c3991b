//! The few instructions the path uses directly: time-stamp counter, prefetch, pause; and whether this CPU has those it
//! was built for. x86-64 only.

#[cfg(not(target_arch = "x86_64"))]
compile_error!("tickpath reads the x86-64 time-stamp counter; no other architecture is supported");

use std::arch::x86_64::{__cpuid, __cpuid_count, _MM_HINT_T0, _mm_pause, _mm_prefetch, _rdtsc, _xgetbv};

/// The time-stamp counter, unordered with the instructions around it (`rdtsc`, not `rdtscp`: half the price).
#[inline(always)]
pub fn rdtsc() -> u64 {
    // SAFETY: every x86-64 CPU has RDTSC and Linux leaves it enabled in user mode.
    unsafe { _rdtsc() }
}

/// Ask for the cache line of `at` in every cache level. Never faults, whatever the address.
#[inline(always)]
pub fn prefetch<T>(at: *const T) {
    // SAFETY: PREFETCHT0 is a hint; it does not fault and does not change what the program sees.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
}

/// Tell the core that this is a spin-wait.
#[inline(always)]
pub fn pause() {
    // PAUSE is a hint, a NOP on old CPUs.
    _mm_pause();
}

/// What this build uses and this CPU lacks, of the x86-64-v3 level that `.cargo/config.toml` asks for; `None` when it has
/// everything, or when the build asks for less. To be called before anything that could use them.
#[inline(never)]
pub fn lacks() -> Option<&'static str> {
    // `is_x86_feature_detected!` takes what the build asks for as given, so the CPU itself is asked.
    let basic = __cpuid(1);
    let extended = if __cpuid(0).eax >= 7 { __cpuid_count(7, 0).ebx } else { 0 };
    let amd = if __cpuid(0x8000_0000).eax > 0x8000_0000 { __cpuid(0x8000_0001).ecx } else { 0 };
    // SAFETY: OSXSAVE says that XGETBV may be used.
    let saved = basic.ecx & 1 << 27 != 0 && unsafe { _xgetbv(0) } & 6 == 6;
    let needs = [
        (cfg!(target_feature = "avx2"), extended & 1 << 5 != 0, "AVX2"),
        (cfg!(target_feature = "avx2"), saved, "AVX registers saved by the operating system"),
        (cfg!(target_feature = "f16c"), basic.ecx & 1 << 29 != 0, "F16C"),
        (cfg!(target_feature = "bmi1"), extended & 1 << 3 != 0, "BMI1"),
        (cfg!(target_feature = "bmi2"), extended & 1 << 8 != 0, "BMI2"),
        (cfg!(target_feature = "fma"), basic.ecx & 1 << 12 != 0, "FMA"),
        (cfg!(target_feature = "movbe"), basic.ecx & 1 << 22 != 0, "MOVBE"),
        (cfg!(target_feature = "lzcnt"), amd & 1 << 5 != 0, "LZCNT"),
    ];
    needs.into_iter().find(|(used, there, _)| *used && !there).map(|(.., name)| name)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_cpu_that_runs_this_lacks_nothing() {
        assert_eq!(super::lacks(), None);
    }
}
