// What mode a virtual CPU is in, read off its state page.
#pragma once

#include "emul/instruction.hpp"
#include "emul/page_walk.hpp"
#include "horos/abi/vcpu_state.hpp"
#include "horos/defs/x86.hpp"

namespace horos::vmm {

namespace segment_attribute { // packed as in the VMCB, see abi::Segment
inline constexpr u16 type_code = 1 << 3, type_expand_down = 1 << 2, type_writable = 1 << 1;
inline constexpr u16 present = 1 << 7, long_code = 1 << 9, big = 1 << 10;
} // namespace segment_attribute

inline bool long_mode(const abi::VcpuState& cpu) { return (cpu.efer & x86::efer::LMA) != 0; }

inline bool code_64(const abi::VcpuState& cpu) {
    return long_mode(cpu) && (cpu.cs.attributes & segment_attribute::long_code);
}

inline CodeSize code_size(const abi::VcpuState& cpu) {
    if (code_64(cpu))
        return CodeSize::bits_64;
    return (cpu.cs.attributes & segment_attribute::big) ? CodeSize::bits_32 : CodeSize::bits_16;
}

inline PagingState paging_state(const abi::VcpuState& cpu) {
    return {.cr0 = cpu.cr0,
            .cr3 = cpu.cr3,
            .cr4 = cpu.cr4,
            .efer = cpu.efer,
            .cpl = static_cast<u8>(cpu.cpl),
            .ac_flag = (cpu.rflags & x86::rflags::AC) != 0};
}

inline const abi::Segment& segment(const abi::VcpuState& cpu, SegmentName name) {
    switch (name) {
    case SegmentName::es:
        return cpu.es;
    case SegmentName::cs:
        return cpu.cs;
    case SegmentName::ss:
        return cpu.ss;
    case SegmentName::ds:
        return cpu.ds;
    case SegmentName::fs:
        return cpu.fs;
    case SegmentName::gs:
        break;
    }
    return cpu.gs;
}

// In 64-bit mode only FS and GS have a base; the state page always has CS and SS.
inline bool needs_stored_segment(const abi::VcpuState& cpu, SegmentName name) {
    if (code_64(cpu))
        return name == SegmentName::fs || name == SegmentName::gs;
    return name != SegmentName::cs && name != SegmentName::ss;
}

inline u64 linear_rip(const abi::VcpuState& cpu) {
    return code_64(cpu) ? cpu.rip : (cpu.cs.base + cpu.rip) & 0xffff'ffffull;
}

// Moves on to `next` after an instruction that was handled outside the guest. What a real processor
// does at an instruction's end happens here too: the interrupt shadow ends and RF is cleared.
inline void continue_at(abi::VcpuState& cpu, u64 next) {
    cpu.rip = next;
    cpu.rflags &= ~x86::rflags::RF;
    if (cpu.interrupt_shadow != 0) {
        cpu.interrupt_shadow = 0;
        cpu.dirty |= abi::group::events;
    }
}

inline void advance(abi::VcpuState& cpu, u64 length) {
    const u64 next = cpu.rip + length;
    continue_at(cpu, code_64(cpu)                                        ? next
                     : (cpu.cs.attributes & segment_attribute::big) != 0 ? next & 0xffff'ffffull
                                                                         : next & 0xffff);
}

} // namespace horos::vmm
