// What the core asks of the shell, and the way from the entry code into the core.
#include "kernel/core/shell.hpp"
#include "apic.hpp"
#include "cpu.hpp"
#include "fpu.hpp"
#include "io.hpp"
#include "ioapic.hpp"
#include "kernel/core/vcpu.hpp"
#include "lock.hpp"
#include "log.hpp"
#include "panic.hpp"
#include "platform.hpp"
#include "smp.hpp"
#include "vendor.hpp"
#include <horos/defs/x86.hpp>

namespace horos::arch {

extern "C" u64 take_interrupt();
extern "C" u64 idle_wait();

namespace {

constexpr u64 user_flags = x86::rflags::CF | x86::rflags::PF | x86::rflags::AF | x86::rflags::ZF |
                           x86::rflags::SF | x86::rflags::TF | x86::rflags::DF | x86::rflags::OF |
                           x86::rflags::RF | x86::rflags::AC | x86::rflags::ID;
constexpr u64 forced_flags = x86::rflags::ONE | x86::rflags::IF;
constexpr u64 rax = 0, rdx = 2, rsi = 6, rdi = 7, r8 = 8, r9 = 9, r10 = 10; // in Registers::gpr

void load_space(PerCpu& cpu, u64 cr3) {
    if (cpu.cr3 == cr3)
        return;
    cpu.cr3 = cr3;
    write_cr3(cr3);
}

// vcpu_run is over: its result goes where SYSRET will find it.
void store_result(core::Registers& regs, u64 result, const core::Values& values) {
    const bool has_values = result & core::result_values;
    regs.gpr[rax] = result & core::result_error;
    regs.gpr[rdx] = has_values ? values.v[0] : result >> core::result_value_shift;
    regs.gpr[rdi] = has_values ? values.v[1] : 0;
    regs.gpr[rsi] = has_values ? values.v[2] : 0;
    regs.gpr[r8] = has_values ? values.v[3] : 0;
    regs.gpr[r9] = has_values ? values.v[4] : 0;
    regs.gpr[r10] = has_values ? values.v[5] : 0;
    regs.full = 0;
}

void idle(PerCpu& cpu) {
    load_space(cpu, kernel_cr3);
    kernel_unlock();
    const u64 number = idle_wait();
    kernel_lock();
    handle_interrupt(static_cast<u8>(number));
}

// FS base is written even when it is the same number: the last thread may have loaded a selector,
// which changes the base behind our back.
void load_thread(PerCpu& cpu, u32 thread) {
    const core::Thread& t = core::threads[thread];
    load_space(cpu, t.tables);
    cpu.fs_base = t.regs.fs_base;
    write_msr(x86::msr::FS_BASE, cpu.fs_base);
}

// Runs the thread's virtual CPU; false when the core has to look again what to run.
bool run_guest(PerCpu& cpu) {
    const u32 thread = core::cores[cpu.core].thread;
    load_thread(cpu, thread);
    const u64 result = core::core_run_guest(cpu.core);
    if (result & core::result_switch)
        return false;
    store_result(core::threads[thread].regs, result, *cpu.results);
    return true;
}

// Makes the processor ready for the thread; null if it cannot go on and was told so.
core::Registers* prepare_user(PerCpu& cpu) {
    const u32 thread = core::cores[cpu.core].thread;
    core::Registers& regs = core::threads[thread].regs;
    if (regs.rip >= abi::user_end) { // SYSRET and IRET would fault in ring 0
        core::core_fault(cpu.core, static_cast<u64>(x86::Vector::GP), 0, regs.rip);
        return nullptr;
    }
    regs.rflags = (regs.rflags & user_flags) | forced_flags;
    load_thread(cpu, thread);
    fpu_allow(core::cores[cpu.core].fpu_owner == thread);
    cpu.regs = &regs;
    return &regs;
}

} // namespace

// An interrupt that was taken while the lock is held now.
void handle_interrupt(u8 number) {
    const u32 core = this_cpu().core;
    switch (number) {
    case 0:
    case vector::spurious:
        return;
    case vector::timer:
        apic_end_of_interrupt();
        this_cpu().timer = abi::no_deadline;
        return core::core_timer(core);
    case vector::reschedule:
        apic_end_of_interrupt();
        return core::core_reschedule(core);
    case vector::flush:
        flush_if_asked();
        return apic_end_of_interrupt();
    default:
        if (number < vector::device_first || number > vector::device_last)
            return;                         // legacy
        core::core_interrupt(core, number); // masks a level-triggered line before the end
        return apic_end_of_interrupt();
    }
}

// Lock held. Decides what to run, prepares it, gives the lock back: registers for entry.S.
extern "C" core::Registers* shell_resume() {
    PerCpu& cpu = this_cpu();
    while (true) {
        const core::Next next = core::core_next(cpu.core);
        if (next == core::Next::again)
            continue;
        if (next == core::Next::idle) {
            idle(cpu);
            continue;
        }
        if (next == core::Next::guest && !run_guest(cpu))
            continue;
        if (core::Registers* regs = prepare_user(cpu)) {
            kernel_unlock();
            return regs;
        }
    }
}

// Ring 3 was left by an exception or interrupt; its registers are saved.
extern "C" core::Registers* shell_trap(u8 number, u64 error) {
    PerCpu& cpu = this_cpu();
    if (number == vector::flush) { // without the lock: who asks holds it and waits
        flush_if_asked();
        apic_end_of_interrupt();
        return cpu.regs;
    }
    const u64 address = number == static_cast<u8>(x86::Vector::PF) ? read_cr2() : 0;
    kernel_lock();
    if (number == static_cast<u8>(x86::Vector::NM)) {
        core::shell_fpu_switch(core::cores[cpu.core].thread);
        kernel_unlock();
        return cpu.regs;
    }
    if (number < 32)
        core::core_fault(cpu.core, number, error, address);
    else
        handle_interrupt(number);
    return shell_resume();
}

extern "C" void shell_reload_fs_base(const core::Registers* regs) {
    write_msr(x86::msr::FS_BASE, regs->fs_base);
}

} // namespace horos::arch

namespace horos::core {
using namespace arch;

u32 shell_core() {
    u32 core;
    asm("movl %%gs:%c1, %0" : "=r"(core) : "i"(PC_CORE));
    return core;
}
u64 shell_now() { return read_tsc(); }
void shell_set_timer(u64 tsc) {
    if (this_cpu().timer != tsc)
        timer_set(tsc);
}
void shell_send_reschedule(u32 core) { apic_send(cpu_area(core).apic_id, vector::reschedule); }
void shell_take_interrupt() { handle_interrupt(static_cast<u8>(take_interrupt())); }

void shell_flush_tlb(u64 core_mask) { flush_cores(core_mask); }

void shell_route_line(u32 gsi, u8 number, u32 core, u32 flags) {
    line_route(gsi, number, cpu_area(core).apic_id, flags & irq_flag::level,
               flags & irq_flag::active_low);
}
void shell_mask_line(u32 gsi, bool masked) { line_mask(gsi, masked); }
bool shell_line_exists(u32 gsi) { return line_exists(gsi); }
u64 shell_message_address(u32 core) { return 0xfee0'0000u | cpu_area(core).apic_id << 12; }

u32 shell_port_in(u16 port, u8 size) {
    return size == 1 ? in8(port) : size == 2 ? in16(port) : in32(port);
}
void shell_port_out(u16 port, u8 size, u32 value) {
    if (size == 1)
        out8(port, static_cast<u8>(value));
    else if (size == 2)
        out16(port, static_cast<u16>(value));
    else
        out32(port, value);
}

bool shell_power_off_supported() { return platform_off_supported(); }
void shell_request_power(PlatformOp op, u8 sleep_type) {
    vendor_disable_cpu();
    if (op == PlatformOp::power_off)
        platform_off(sleep_type);
    apic_stop_others();
    platform_reset();
}
void shell_log(const char* text, u32 length) { log_write(text, length); }

} // namespace horos::core
