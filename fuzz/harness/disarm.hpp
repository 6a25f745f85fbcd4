// Breakpoints that a guest armed and that #VMEXIT should have left without effect.
//
// QEMU keeps what MOV DR arms apart from DR7 and does not look at it again when VMRUN and #VMEXIT
// replace DR7: the next guests and the host stop at it. It lets go of a breakpoint only where MOV
// writes DR7 while the register still names the kind that was armed. So DR7 is brought back as the
// guest left it, by one more VMRUN, and cleared inside.
#pragma once

#include "cpu.hpp"
#include "horos/fuzz/wire.hpp"

#include <cstdint>

namespace horos::harness {

inline constexpr uint64_t DR7_ENABLES = 0xff;

namespace disarming {

// Offsets in the VMCB (APM vol. 2, appendix B).
constexpr uint64_t MISC1 = 0x0c, MISC2 = 0x10, ASID = 0x58, TLB_CONTROL = 0x5c, INT_CTL = 0x60;
constexpr uint64_t ES = 0x400, CS = 0x410, SS = 0x420, DS = 0x430, GDTR = 0x460, IDTR = 0x480;
constexpr uint64_t EFER = 0x4d0, CR4 = 0x548, CR3 = 0x550, CR0 = 0x558, DR7 = 0x560, DR6 = 0x568;
constexpr uint64_t RFLAGS = 0x570, RIP = 0x578, RSP = 0x5d8, RAX = 0x5f8, CR2 = 0x640;
constexpr uint32_t SHUTDOWN = 1u << 31;     // of MISC1
constexpr uint32_t VMRUN_AND_VMMCALL = 0x3; // of MISC2
constexpr uint64_t CODE64 = 0x0a9bull << 16 | 0x08, DATA = 0x0c93ull << 16 | 0x10;
constexpr uint64_t DR7_KEPT = 0xffff00ff, DR7_CLEAR = 0x400; // without general detect

template <typename T>
void put(uint64_t vmcb, uint64_t offset, T value) {
    *reinterpret_cast<volatile T*>(vmcb + offset) = value;
}
inline void put_segment(uint64_t vmcb, uint64_t offset, uint64_t selector, uint64_t limit,
                        uint64_t base) {
    put<uint64_t>(vmcb, offset, selector | limit << 32);
    put<uint64_t>(vmcb, offset + 8, base);
}

} // namespace disarming

// `host` is the state of the harness, which the guest that clears DR7 shares.
[[gnu::noinline]] inline void disarm_breakpoints(uint64_t dr7,
                                                 const uint64_t (&host)[fuzz::wire::H_COUNT]) {
    namespace wire = fuzz::wire;
    using namespace disarming;
    alignas(4096) static uint8_t page[4096];
    const uint64_t vmcb = reinterpret_cast<uint64_t>(page);
    for (uint64_t i = 0; i < wire::CONTROL_QWORDS; ++i)
        put<uint64_t>(vmcb, 8 * i, 0);
    for (uint64_t i = 0; i < wire::SAVE_QWORDS; ++i)
        put<uint64_t>(vmcb, wire::SAVE_OFFSET + 8 * i, 0);
    put<uint32_t>(vmcb, MISC1, SHUTDOWN);
    put<uint32_t>(vmcb, MISC2, VMRUN_AND_VMMCALL);
    put<uint32_t>(vmcb, ASID, 1);
    put<uint8_t>(vmcb, TLB_CONTROL, 1);
    put<uint64_t>(vmcb, INT_CTL, read_cr8() & 0xf);
    put_segment(vmcb, CS, CODE64, 0xffffffff, 0);
    put_segment(vmcb, ES, DATA, 0xffffffff, 0);
    put_segment(vmcb, SS, DATA, 0xffffffff, 0);
    put_segment(vmcb, DS, DATA, 0xffffffff, 0);
    put_segment(vmcb, GDTR, 0, host[wire::H_GDTR_LIMIT], host[wire::H_GDTR_BASE]);
    put_segment(vmcb, IDTR, 0, host[wire::H_IDTR_LIMIT], host[wire::H_IDTR_BASE]);
    put(vmcb, EFER, host[wire::H_EFER]);
    put(vmcb, CR0, host[wire::H_CR0]);
    put(vmcb, CR3, host[wire::H_CR3]);
    put(vmcb, CR4, host[wire::H_CR4]);
    put(vmcb, CR2, read_cr2());
    put(vmcb, DR6, read_dr6());
    put(vmcb, DR7, (dr7 & DR7_KEPT) | DR7_CLEAR);
    put<uint64_t>(vmcb, RFLAGS, 2);
    put(vmcb, RAX, DR7_CLEAR);
    uint64_t scratch;
    asm volatile("lea 1f(%%rip), %0\n\t"
                 "mov %0, %c2(%1)\n\t"
                 "mov %%rsp, %c3(%1)\n\t"
                 "vmrun %1\n\t"
                 "jmp 2f\n"
                 "1: mov %1, %%dr7\n\t" // in the guest
                 "vmmcall\n"
                 "2:"
                 : "=&r"(scratch)
                 : "a"(vmcb), "i"(RIP), "i"(RSP)
                 : "memory", "cc");
}

} // namespace horos::harness
