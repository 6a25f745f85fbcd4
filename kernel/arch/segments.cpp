// GDT, TSS and IDT, and the registers that SYSCALL uses.
#include "cpu.hpp"
#include "io.hpp"
#include "layout.hpp"
#include <horos/defs/x86.hpp>

namespace horos::arch {

extern "C" {
void syscall_entry();
extern const u8 exception_stubs[], interrupt_stubs[];
}

namespace {

struct Gate { // APM vol. 2 §4.8.3, 64-bit interrupt gate
    u16 offset_low;
    u16 selector;
    u8 ist;
    u8 type;
    u16 offset_middle;
    u32 offset_high;
    u32 reserved;
};
static_assert(sizeof(Gate) == 16);

constexpr u8 interrupt_gate = 0x8e, user_interrupt_gate = 0xee;
constexpr u8 ist_nmi = 1, ist_double_fault = 2, ist_machine_check = 3, ist_debug = 4;

Gate idt[256];

u64 address_of(const void* object) { return reinterpret_cast<u64>(object); }

Gate gate(u64 offset, u8 type, u8 ist) {
    return {static_cast<u16>(offset),
            SEL_KERNEL_CODE,
            ist,
            type,
            static_cast<u16>(offset >> 16),
            static_cast<u32>(offset >> 32),
            0};
}

void fill_gdt(PerCpu& cpu) {
    const u64 tss = address_of(&cpu.tss);
    cpu.gdt[0] = 0;
    cpu.gdt[1] = 0x00af'9b00'0000'ffff; // 0x08 kernel code
    cpu.gdt[2] = 0x00cf'9300'0000'ffff; // 0x10 kernel data
    cpu.gdt[3] = 0;                     // 0x18 base of SYSRET's selectors
    cpu.gdt[4] = 0x00cf'f300'0000'ffff; // 0x20 user data
    cpu.gdt[5] = 0x00af'fb00'0000'ffff; // 0x28 user code
    cpu.gdt[6] = (sizeof(TaskState) - 1) | (tss & 0xff'ffff) << 16 | u64{0x89} << 40 |
                 (tss >> 24 & 0xff) << 56;
    cpu.gdt[7] = tss >> 32;
}

} // namespace

PerCpu& cpu_area(u32 core) {
    return *reinterpret_cast<PerCpu*>(layout::cpu_page(core, layout::per_cpu_page));
}

void build_idt() {
    for (u32 v = 0; v < 256; ++v) {
        const u64 stub = v < 32 ? address_of(exception_stubs) + 16 * v
                                : address_of(interrupt_stubs) + 8 * (v - 32);
        const bool from_user = v == 3 || v == 4; // INT3, INTO: the instruction may ask for them
        idt[v] = gate(stub, from_user ? user_interrupt_gate : interrupt_gate, 0);
    }
    idt[1].ist = ist_debug;
    idt[2].ist = ist_nmi;
    idt[8].ist = ist_double_fault;
    idt[18].ist = ist_machine_check;
}

void load_segments(u32 core) {
    PerCpu& cpu = cpu_area(core);
    cpu.self = &cpu;
    cpu.kernel_rsp = layout::stack_top(core);
    cpu.results = &core::results[core];
    cpu.core = core;
    cpu.core_state = &core::cores[core];
    cpu.tss.rsp[0] = cpu.kernel_rsp;
    cpu.tss.ist[ist_nmi - 1] = layout::cpu_page(core, layout::nmi_stack_page + 1);
    cpu.tss.ist[ist_double_fault - 1] = layout::cpu_page(core, layout::double_fault_stack_page + 1);
    cpu.tss.ist[ist_machine_check - 1] =
        layout::cpu_page(core, layout::machine_check_stack_page + 1);
    cpu.tss.ist[ist_debug - 1] = layout::cpu_page(core, layout::debug_stack_page + 1);
    cpu.tss.io_map_base = sizeof(TaskState);
    fill_gdt(cpu);
    const TableRegister gdtr{sizeof cpu.gdt - 1, address_of(cpu.gdt)};
    const TableRegister idtr{sizeof idt - 1, address_of(idt)};
    asm volatile("lgdt %0\n\t"
                 "push %1\n\t"
                 "lea 1f(%%rip), %%rax\n\t"
                 "push %%rax\n\t"
                 "lretq\n"
                 "1: mov %2, %%ss\n\t"
                 "mov %3, %%ds\n\t"
                 "mov %3, %%es\n\t"
                 "mov %3, %%fs\n\t"
                 "mov %3, %%gs\n\t"
                 "lldt %w3\n\t"
                 "ltr %w4\n\t"
                 "lidt %5" ::"m"(gdtr),
                 "i"(SEL_KERNEL_CODE), "r"(SEL_KERNEL_DATA), "r"(0), "r"(SEL_TSS), "m"(idtr)
                 : "rax", "memory");
    using namespace x86;
    write_msr(msr::FS_BASE, 0);
    write_msr(msr::GS_BASE, address_of(&cpu));
    write_msr(msr::KERNEL_GS_BASE, 0);
    write_msr(msr::SYSENTER_CS, 0); // SYSENTER faults
    write_msr(msr::STAR, u64{SEL_KERNEL_CODE} << 32 | u64{0x18 | 3} << 48);
    write_msr(msr::LSTAR, address_of(reinterpret_cast<const void*>(&syscall_entry)));
    write_msr(msr::SFMASK, rflags::DEFINED & ~rflags::ONE);
}

} // namespace horos::arch
