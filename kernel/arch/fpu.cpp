#include "fpu.hpp"
#include "cpu.hpp"
#include "io.hpp"
#include "paging.hpp"
#include <horos/defs/x86.hpp>

namespace horos::arch {
namespace {

u64 host_xcr0 = 0;
constexpr u32 area_fcw = 0, area_mxcsr = 24, area_mxcsr_mask = 28; // in the FXSAVE image
constexpr u16 initial_fcw = 0x37f;
constexpr u32 initial_mxcsr = 0x1f80;

void save(u8* area) {
    if (features.xsave)
        asm volatile("xsave64 (%0)" ::"r"(area), "a"(~0u), "d"(~0u) : "memory");
    else
        asm volatile("fxsave64 (%0)" ::"r"(area) : "memory");
}

// An all-zero area, which no processor stores (MXCSR_MASK), is the initial state.
void restore(u8* area) {
    u32 mask;
    __builtin_memcpy(&mask, area + area_mxcsr_mask, sizeof mask);
    if (mask == 0) {
        __builtin_memcpy(area + area_fcw, &initial_fcw, sizeof initial_fcw);
        __builtin_memcpy(area + area_mxcsr, &initial_mxcsr, sizeof initial_mxcsr);
    }
    if (features.xsave)
        asm volatile("xrstor64 (%0)" ::"r"(area), "a"(~0u), "d"(~0u) : "memory");
    else
        asm volatile("fxrstor64 (%0)" ::"r"(area) : "memory");
}

} // namespace

u64 fpu_init() {
    if (!features.xsave)
        return 0;
    const CpuidResult leaf = cpuid(x86::cpuid::LEAF_XSTATE);
    const u64 wanted = x86::xcr0::X87 | x86::xcr0::SSE | x86::xcr0::AVX;
    host_xcr0 = (u64{leaf.edx} << 32 | leaf.eax) & wanted;
    asm volatile("xsetbv" ::"c"(0), "a"(static_cast<u32>(host_xcr0)), "d"(0));
    return host_xcr0;
}

void fpu_allow(bool may) {
    PerCpu& cpu = this_cpu();
    if (may == (cpu.fpu_live != 0))
        return;
    cpu.fpu_live = may;
    if (may)
        asm volatile("clts");
    else
        write_cr0(read_cr0() | x86::cr0::TS);
}

} // namespace horos::arch

namespace horos::core {

static bool is_thread(Frame owner) { return frames[owner].type == ObjectType::thread; }

static u8* fpu_area(Frame owner) {
    if (is_thread(owner))
        return threads[owner].fpu;
    return arch::direct(u64{vcpus[owner].fpu} * frame_size);
}

// Whoever's state is in the registers is saved, and the new owner's loaded. A virtual CPU has its
// own CR0.TS: the host's stays set, so that its VMM's thread cannot touch the guest's registers.
void shell_fpu_switch(u32 owner) {
    using namespace arch;
    u32& current = cores[this_cpu().core].fpu_owner;
    if (current != owner) {
        fpu_allow(true);
        if (current)
            save(fpu_area(current));
        current = owner;
        if (owner)
            restore(fpu_area(owner));
    }
    fpu_allow(owner != 0 && is_thread(owner));
}

} // namespace horos::core
