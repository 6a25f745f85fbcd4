// The boot processor's way from boot.S to the root task.
#include "apic.hpp"
#include "boot.hpp"
#include "cpu.hpp"
#include "fpu.hpp"
#include "io.hpp"
#include "ioapic.hpp"
#include "kernel/core/vendor.hpp"
#include "layout.hpp"
#include "lock.hpp"
#include "log.hpp"
#include "panic.hpp"
#include "platform.hpp"
#include "smp.hpp"
#include "vendor.hpp"
#include <horos/defs/x86.hpp>

namespace horos::arch {

extern "C" {
extern const u64 boot_tsc;
extern const u8 trampoline_start[], trampoline_end[];
[[noreturn]] void run_on_stack(u64 stack_top, void (*function)());
[[noreturn]] void resume_user_from(core::Registers* regs);
core::Registers* shell_resume();
}

namespace {

BootState boot;

constexpr u32 protocol_pvh = 1;

PhysMemory boot_memory() { return {direct(0), u64{1} << 32}; }

void read_boot_data(u64 information, u32 protocol) {
    const Complaint wrong = protocol == protocol_pvh
                                ? parse_pvh(boot_memory(), information, boot.data)
                                : parse_multiboot2(boot_memory(), information, boot.data);
    const bool log_known = log_select(boot.data.command_line);
    panic_set_reset(option_is(boot.data.command_line, "onfatal", "reset"));
    check(wrong);
    if (!log_known)
        fatal("unknown value of log= (com1, com2, e9 or none)");
}

void read_acpi() {
    if (boot.data.rsdp == 0)
        boot.data.rsdp = find_rsdp(boot_memory());
    check(parse_acpi(boot_memory(), boot.data.rsdp, boot.acpi));
    platform_init(boot.acpi);
}

// The MADT may list the boot processor anywhere; it is core 0.
void put_self_first() {
    const u32 self = cpuid(x86::cpuid::LEAF_FEATURES).ebx >> 24;
    for (u32 i = 0; i < boot.acpi.cpu_count; ++i) {
        if (boot.acpi.apic_ids[i] != self)
            continue;
        for (; i > 0; --i)
            boot.acpi.apic_ids[i] = boot.acpi.apic_ids[i - 1];
        boot.acpi.apic_ids[0] = self;
        return;
    }
    fatal("the MADT does not list the processor that runs this (APIC ID ", self, ")");
}

void copy_trampoline() {
    if (boot.acpi.cpu_count > 1)
        __builtin_memcpy(direct(boot.trampoline_page * abi::frame_size), trampoline_start,
                         static_cast<u64>(trampoline_end - trampoline_start));
}

void fill_machine() {
    core::Machine& machine = core::machine;
    machine.core_count = boot.acpi.cpu_count;
    machine.tsc_khz = tsc_khz();
    machine.has_xsave = features.xsave;
    machine.xcr0 = fpu_init();
    machine.physical_bits = static_cast<u8>(cpuid(x86::cpuid::LEAF_ADDRESS_SIZES).eax);
    machine.io_map = static_cast<u32>(boot.pool.take(core::io_map_frames));
    machine.msr_map = static_cast<u32>(boot.pool.take(core::msr_map_frames));
    machine.host_frames = static_cast<u32>(boot.pool.take(2 * boot.acpi.cpu_count));
}

// On core 0's own stack, in the kernel's own address space.
void continue_boot() {
    build_idt();
    cpu_online(0);
    ioapic_init(boot.acpi);
    const u64 asleep = timer_calibrate(boot.acpi.pm_timer, boot.acpi.pm_timer_32bit);
    timer_enable();
    fill_machine();
    vendor_init();
    vendor_enable_cpu(0);
    smp_start(boot.acpi, boot.trampoline_page);
    kernel_lock(); // the other cores wait for it on their way to their idle loops
    load_root(boot);
    kernel_unlock();
    const u64 waiting = read_tsc();
    smp_wait(boot.acpi);
    const u64 idle = asleep + read_tsc() - waiting;
    log(boot.acpi.cpu_count, " cores, TSC ", tsc_khz() / 1000, " MHz, ",
        frame_count(boot.ram) / 256, " MiB of memory; starting the root task");
    // With QEMU's -icount shift=0 a tick is an instruction.
    log(read_tsc() - boot_tsc - idle, " ticks from entry to the root task, and ", idle,
        " asleep or waiting for other cores");
    kernel_lock();
    cpu_area(0).online = 1;
    resume_user_from(shell_resume());
}

} // namespace

extern "C" [[noreturn]] void kernel_main(u64 information, u32 protocol) {
    log_init();
    read_boot_data(information, protocol);
    log("kernel started by ", protocol == protocol_pvh ? "PVH" : "Multiboot2");
    check(check_cpu());
    read_acpi();
    put_self_first();
    if (boot.acpi.cpus_left_out)
        log("processors left out: ", boot.acpi.cpus_left_out);
    plan_memory(boot);
    copy_trampoline();
    write_msr(x86::msr::EFER, read_msr(x86::msr::EFER) | x86::efer::NXE);
    build_kernel_space(boot);
    write_cr3(kernel_cr3);
    run_on_stack(layout::stack_top(0), continue_boot);
}

} // namespace horos::arch
