#include "boot/entry_state.hpp"

#include "boot/layout.hpp"
#include "horos/defs/x86.hpp"

namespace horos::vmm {
namespace {

using abi::Segment;

// Attributes packed as in abi::Segment.
constexpr u16 code_64 = 0xa9b;   // present, DPL 0, code, L
constexpr u16 data_flat = 0xc93; // present, DPL 0, writable data, 32-bit
constexpr u16 tss_busy = 0x08b, ldt = 0x082;
constexpr u16 real_code = 0x09b, real_data = 0x093;
constexpr u64 pat_reset = 0x0007'0406'0007'0406ull; // APM vol. 2 §7.8.2
constexpr u64 dr6_reset = 0xffff'0ff0, dr7_reset = 0x400;

constexpr u64 pte_present_write = 3, pte_large = bit(7);

void write_gdt(const GuestMemory& memory) {
    constexpr u64 descriptors[] = {0, 0, 0x00af'9b00'0000'ffffull, 0x00cf'9300'0000'ffffull};
    for (u64 i = 0; i < 4; ++i)
        memory.store<u64>(layout::gdt + i * 8, descriptors[i]);
}

// Maps the first 4 GiB one to one with 2 MiB pages.
void write_page_tables(const GuestMemory& memory) {
    constexpr u64 level4 = layout::page_tables, level3 = level4 + 0x1000, level2 = level3 + 0x1000;
    constexpr u64 gib = u64{1} << 30, large = u64{1} << 21;
    for (u64 i = 0; i < 512; ++i) {
        memory.store<u64>(level4 + i * 8, i == 0 ? level3 | pte_present_write : 0);
        const bool used = i < layout::identity_mapped / gib;
        memory.store<u64>(level3 + i * 8, used ? (level2 + i * 0x1000) | pte_present_write : 0);
    }
    for (u64 i = 0; i < layout::identity_mapped / large; ++i)
        memory.store<u64>(level2 + i * 8, i * large | pte_present_write | pte_large);
}

void reset_common(abi::VcpuState& cpu, u64 xcr0) {
    for (u64& value : cpu.gpr)
        value = 0;
    cpu.rflags = x86::rflags::ONE;
    cpu.inject = 0;
    cpu.pending_interrupt = 0;
    cpu.interrupt_shadow = 0;
    cpu.tpr = 0;
    cpu.cr2 = cpu.cr3 = 0;
    cpu.ldtr = Segment{0, ldt, 0xffff, 0};
    cpu.tr = Segment{0, tss_busy, 0xffff, 0};
    for (u64& value : cpu.dr)
        value = 0;
    cpu.dr6 = dr6_reset;
    cpu.dr7 = dr7_reset;
    cpu.star = cpu.lstar = cpu.cstar = cpu.sfmask = cpu.kernel_gs_base = 0;
    cpu.sysenter_cs = cpu.sysenter_esp = cpu.sysenter_eip = 0;
    cpu.pat = pat_reset;
    cpu.xcr0 = xcr0;
    cpu.dirty = abi::group::all;
}

} // namespace

void set_linux_entry(abi::VcpuState& cpu, const GuestMemory& memory, u64 entry, u64 boot_params,
                     u64 xcr0) {
    write_gdt(memory);
    write_page_tables(memory);
    write_reset_vector(memory);
    reset_common(cpu, xcr0);
    cpu.cr0 = x86::cr0::PE | x86::cr0::ET | x86::cr0::NE | x86::cr0::PG;
    cpu.cr3 = layout::page_tables;
    cpu.cr4 = x86::cr4::PAE;
    cpu.efer = x86::efer::LME | x86::efer::LMA;
    const Segment data{layout::data_selector, data_flat, ~u32{0}, 0};
    cpu.cs = Segment{layout::code_selector, code_64, ~u32{0}, 0};
    cpu.ds = cpu.es = cpu.ss = cpu.fs = cpu.gs = data;
    cpu.gdtr = Segment{0, 0, 4 * 8 - 1, layout::gdt};
    cpu.idtr = Segment{0, 0, 0, 0};
    cpu.rip = entry;
    cpu.gpr[static_cast<u32>(abi::Gpr::rsi)] = boot_params;
    cpu.gpr[static_cast<u32>(abi::Gpr::rsp)] = layout::stack_top;
}

void write_reset_vector(const GuestMemory& memory) {
    constexpr u8 code[] = {
        0xb0, 0x06,       // mov al, 6
        0xba, 0xf9, 0x0c, // mov dx, 0cf9h: the reset control register
        0xee,             // out dx, al
        0xf4,             // hlt
        0xeb, 0xfd        // jmp to the hlt
    };
    if (u8* place = memory.at(layout::reset_vector, sizeof code))
        __builtin_memcpy(place, code, sizeof code);
}

void set_startup_entry(abi::VcpuState& cpu, u8 page, u64 xcr0) {
    reset_common(cpu, xcr0);
    cpu.cr0 = x86::cr0::ET;
    cpu.cr4 = 0;
    cpu.efer = 0;
    const Segment data{0, real_data, 0xffff, 0};
    cpu.cs = Segment{static_cast<u16>(u16{page} << 8), real_code, 0xffff, u64{page} << 12};
    cpu.ds = cpu.es = cpu.ss = cpu.fs = cpu.gs = data;
    cpu.gdtr = cpu.idtr = Segment{0, 0, 0xffff, 0};
    cpu.rip = 0;
}

} // namespace horos::vmm
