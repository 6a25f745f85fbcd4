// Processor features: what must be there, and what is switched on.
#include "cpu.hpp"
#include "io.hpp"
#include "vendor.hpp"
#include <horos/defs/x86.hpp>

namespace horos::arch {
using namespace x86;

Features features;

Complaint check_cpu() {
    const CpuidResult basic = arch::cpuid(cpuid::LEAF_FEATURES);
    const CpuidResult extended = arch::cpuid(cpuid::LEAF_EXT_FEATURES);
    if ((extended.edx & cpuid::E1_EDX_NX) == 0)
        return "this processor lacks NX (no-execute pages)";
    if ((extended.edx & cpuid::E1_EDX_SYSCALL) == 0)
        return "this processor lacks SYSCALL";
    if ((basic.edx & cpuid::L1_EDX_APIC) == 0)
        return "this processor lacks a local APIC";
    if ((basic.edx & cpuid::L1_EDX_TSC) == 0)
        return "this processor lacks a time stamp counter";
    if ((basic.edx & cpuid::L1_EDX_FXSR) == 0)
        return "this processor lacks FXSAVE";
    const u32 basic_max = arch::cpuid(cpuid::LEAF_BASIC).eax;
    const CpuidResult structured =
        basic_max >= 7 ? arch::cpuid(cpuid::LEAF_STRUCTURED) : CpuidResult{};
    features.smep = structured.ebx & cpuid::L7_EBX_SMEP;
    features.smap = structured.ebx & cpuid::L7_EBX_SMAP;
    features.umip = structured.ecx & cpuid::L7_ECX_UMIP;
    features.pge = basic.edx & cpuid::L1_EDX_PGE;
    features.x2apic = basic.ecx & cpuid::L1_ECX_X2APIC;
    features.tsc_deadline = basic.ecx >> 24 & 1;
    // QEMU 7.2 lets CR4.OSXSAVE be set only on models with one of the features of subleaf 1.
    features.xsave = (basic.ecx & cpuid::L1_ECX_XSAVE) && basic_max >= cpuid::LEAF_XSTATE &&
                     arch::cpuid(cpuid::LEAF_XSTATE, 1).eax != 0;
    features.crc32 = basic.ecx >> 20 & 1; // SSE4.2
    return vendor_choose();
}

// FSGSBASE stays off: ring 3 then cannot change its GS base, which nobody would save.
void enable_features() {
    write_msr(msr::EFER, read_msr(msr::EFER) | efer::SCE | efer::NXE);
    u64 cr4 = cr4::PAE | cr4::OSFXSR | cr4::OSXMMEXCPT | cr4::MCE;
    if (features.pge)
        cr4 |= cr4::PGE;
    if (features.smep)
        cr4 |= cr4::SMEP;
    if (features.smap)
        cr4 |= cr4::SMAP;
    if (features.umip)
        cr4 |= cr4::UMIP;
    if (features.xsave)
        cr4 |= cr4::OSXSAVE;
    write_cr4(cr4);
    write_cr0(cr0::PE | cr0::MP | cr0::TS | cr0::ET | cr0::NE | cr0::WP | cr0::PG);
}

} // namespace horos::arch
