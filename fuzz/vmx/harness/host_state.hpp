// The host's state around a case: what it is, whether a case has changed it, and what an exit
// leaves to be mended.
#pragma once

#include "instructions.hpp"

extern "C" char vm_exit[], fault_entries[], exit_stack_top[], gdt_tss[];

namespace horos::fuzz::vmx {

alignas(16) inline uint64_t idt[64];
alignas(16) inline uint8_t tss[104];

inline void set_up_descriptors() {
    const auto base = reinterpret_cast<uint64_t>(tss);
    auto* entry = reinterpret_cast<uint64_t*>(gdt_tss);
    entry[0] = 103 | (base & 0xffffff) << 16 | 0x89ull << 40 | (base >> 24 & 0xff) << 56;
    entry[1] = base >> 32;
    asm volatile("ltr %w0" ::"r"(0x18));
    for (unsigned vector = 0; vector < 32; ++vector) {
        const uint64_t handler = reinterpret_cast<uint64_t>(fault_entries) + vector * 16ull;
        idt[vector * 2] =
            (handler & 0xffff) | 0x08ull << 16 | 0x8e00ull << 32 | (handler >> 16 & 0xffff) << 48;
        idt[vector * 2 + 1] = handler >> 32;
    }
    const Pointer pointer{sizeof idt - 1, reinterpret_cast<uint64_t>(idt)};
    asm volatile("lidt %0" ::"m"(pointer));
}

inline HostValues host_values() {
    HostValues h{};
    h.rip = reinterpret_cast<uint64_t>(vm_exit);
    h.rsp = reinterpret_cast<uint64_t>(exit_stack_top);
    asm volatile("mov %%cr0, %0" : "=r"(h.cr0));
    asm volatile("mov %%cr3, %0" : "=r"(h.cr3));
    asm volatile("mov %%cr4, %0" : "=r"(h.cr4));
    h.efer = rdmsr(0xc0000080);
    Pointer pointer{};
    asm volatile("sgdt %0" : "=m"(pointer));
    h.gdtr = pointer.base;
    asm volatile("sidt %0" : "=m"(pointer));
    h.idtr = pointer.base;
    h.tr_base = reinterpret_cast<uint64_t>(tss);
    h.interrupt_masks = uint64_t{horos::harness::inb(0xa1)} << 8 | horos::harness::inb(0x21);
    return h;
}
// Which of the host's values differ from what they were.
inline uint32_t changed(const HostValues& then, const HostValues& now) {
    const auto* a = reinterpret_cast<const uint64_t*>(&then);
    const auto* b = reinterpret_cast<const uint64_t*>(&now);
    uint32_t bits = 0;
    for (unsigned n = 0; n < sizeof(HostValues) / 8; ++n) {
        bits |= uint32_t{a[n] != b[n]} << n;
    }
    return bits;
}
// An exit leaves the limits at FFFFh; the bases come from the VMCS.
inline void reload_tables(const HostValues& host) {
    const Pointer g{39, host.gdtr};
    const Pointer i{sizeof idt - 1, host.idtr};
    asm volatile("lgdt %0; lidt %1" ::"m"(g), "m"(i));
}

// An exit leaves NMIs blocked as the guest had them; IRET ends that.
inline void unblock_nmis() {
    uint64_t scratch;
    asm volatile("mov %%rsp, %0; push $0x10; push %0; pushf; push $0x08; push $1f; iretq; 1:"
                 : "=&r"(scratch)::"memory", "cc");
}

} // namespace horos::fuzz::vmx
