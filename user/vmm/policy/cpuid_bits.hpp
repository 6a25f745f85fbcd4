// CPUID feature bits that the policy names (APM vol. 3 appendix E; SDM vol. 2A, CPUID).
#pragma once

#include "base.hpp"

namespace horos::vmm::cpuid {

// Leaf 1, ECX.
inline constexpr u32 sse3 = bit32(0), pclmulqdq = bit32(1), ssse3 = bit32(9), fma = bit32(12),
                     cmpxchg16b = bit32(13), pcid = bit32(17), sse41 = bit32(19), sse42 = bit32(20),
                     x2apic = bit32(21), movbe = bit32(22), popcnt = bit32(23),
                     tsc_deadline = bit32(24), aes = bit32(25), xsave = bit32(26),
                     osxsave = bit32(27), avx = bit32(28), f16c = bit32(29), rdrand = bit32(30),
                     hypervisor = bit32(31);
// Leaf 1, EDX (and, up to 24, leaf 80000001h EDX).
inline constexpr u32 fpu = bit32(0), vme = bit32(1), de = bit32(2), pse = bit32(3), tsc = bit32(4),
                     msr = bit32(5), pae = bit32(6), mce = bit32(7), cx8 = bit32(8),
                     apic = bit32(9), sep = bit32(11), mtrr = bit32(12), pge = bit32(13),
                     mca = bit32(14), cmov = bit32(15), pat = bit32(16), pse36 = bit32(17),
                     clflush = bit32(19), mmx = bit32(23), fxsr = bit32(24), sse = bit32(25),
                     sse2 = bit32(26), htt = bit32(28);
// Leaf 6, EAX.
inline constexpr u32 arat = bit32(2);
// Leaf 7.0, EBX.
inline constexpr u32 fsgsbase = bit32(0), tsc_adjust = bit32(1), bmi1 = bit32(3), avx2 = bit32(5),
                     smep = bit32(7), bmi2 = bit32(8), erms = bit32(9), invpcid = bit32(10),
                     avx512f = bit32(16), avx512dq = bit32(17), rdseed = bit32(18), adx = bit32(19),
                     smap = bit32(20), avx512ifma = bit32(21), clflushopt = bit32(23),
                     clwb = bit32(24), avx512cd = bit32(28), sha = bit32(29), avx512bw = bit32(30),
                     avx512vl = bit32(31);
// Leaf 7.0, ECX and EDX.
inline constexpr u32 avx512vbmi = bit32(1), umip = bit32(2), avx512vbmi2 = bit32(6),
                     gfni = bit32(8), vaes = bit32(9), vpclmulqdq = bit32(10),
                     avx512vnni = bit32(11), avx512bitalg = bit32(12), avx512vpopcntdq = bit32(14);
inline constexpr u32 fsrm = bit32(4);
// Leaf 0Dh.1, EAX. XSAVES is not offered: IA32_XSS is not virtualised.
inline constexpr u32 xsaveopt = bit32(0), xsavec = bit32(1), xgetbv1 = bit32(2);
// Leaf 80000001h, ECX and EDX.
inline constexpr u32 lahf64 = bit32(0), cmp_legacy = bit32(1), svm = bit32(2),
                     cr8_legacy = bit32(4), abm = bit32(5), sse4a = bit32(6),
                     misaligned_sse = bit32(7), prefetchw = bit32(8), xop = bit32(11),
                     fma4 = bit32(16), tbm = bit32(21);
inline constexpr u32 syscall = bit32(11), nx = bit32(20), mmx_ext = bit32(22), fxsr_opt = bit32(25),
                     page_1g = bit32(26), long_mode = bit32(29);
// Leaf 80000007h, EDX.
inline constexpr u32 invariant_tsc = bit32(8);
// Leaf 80000008h, EBX.
inline constexpr u32 clzero = bit32(0), xsave_error_pointer = bit32(2);

// The paravirtual leaves that Linux knows by the signature "KVMKVMKVM".
inline constexpr u32 hypervisor_base = 0x4000'0000;
inline constexpr u32 kvm_nop_io_delay = bit32(1), kvm_clocksource2 = bit32(3),
                     kvm_pv_eoi = bit32(6), kvm_clock_stable = bit32(24);

} // namespace horos::vmm::cpuid
