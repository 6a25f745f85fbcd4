#include "smp.hpp"
#include "apic.hpp"
#include "fpu.hpp"
#include "io.hpp"
#include "layout.hpp"
#include "lock.hpp"
#include "paging.hpp"
#include "panic.hpp"
#include "vendor.hpp"

namespace horos::arch {

extern "C" {
extern u32 ap_apic_ids[abi::max_cores], ap_count, boot_efer;
extern u64 ap_stack_first, ap_stack_stride;
extern const u8 trampoline_start[], trampoline_end[];
core::Registers* shell_resume();
[[noreturn]] void resume_user_from(core::Registers* regs);
}

namespace {

// For a processor to come up. A virtual one may wait seconds for a processor of its host, while the
// TSC goes on.
constexpr u64 wait_ms = 20'000;

void wait_us(u64 us) {
    const u64 end = read_tsc() + us * tsc_khz() / 1000;
    while (read_tsc() < end)
        pause();
}

bool is_online(u32 core) { return __atomic_load_n(&cpu_area(core).online, __ATOMIC_ACQUIRE); }

} // namespace

void smp_start(const AcpiInfo& acpi, u8 trampoline_page) {
    if (acpi.cpu_count < 2)
        return;
    for (u32 i = 0; i < acpi.cpu_count; ++i)
        ap_apic_ids[i] = acpi.apic_ids[i];
    ap_stack_first = layout::stack_top(0);
    ap_stack_stride = layout::cpu_stride;
    boot_efer = 0x900; // LME, NXE
    __atomic_store_n(&ap_count, acpi.cpu_count, __ATOMIC_RELEASE);
    for (u32 i = 1; i < acpi.cpu_count; ++i)
        apic_send_init(acpi.apic_ids[i]);
    wait_us(10);
    for (u32 i = 1; i < acpi.cpu_count; ++i)
        apic_send_startup(acpi.apic_ids[i], trampoline_page);
}

void smp_wait(const AcpiInfo& acpi) {
    for (u32 i = 1; i < acpi.cpu_count; ++i) {
        const u64 start = read_tsc();
        const u64 limit = wait_ms * tsc_khz();
        while (!is_online(i)) {
            if (read_tsc() - start > limit)
                fatal("processor ", i, " (APIC ID ", acpi.apic_ids[i], ") did not start");
            pause();
        }
    }
}

void cpu_online(u32 core) {
    load_segments(core); // first: from here on a fault has a handler that names it
    enable_features();
    fpu_init();
    PerCpu& cpu = cpu_area(core);
    cpu.cr3 = kernel_cr3;
    apic_enable();
    cpu.apic_id = apic_id();
}

extern "C" [[noreturn]] void ap_main(u32 core) {
    cpu_online(core);
    vendor_enable_cpu(core);
    timer_enable();
    kernel_lock();
    core::core_init_core(core);
    __atomic_store_n(&cpu_area(core).online, 1u, __ATOMIC_RELEASE);
    resume_user_from(shell_resume());
}

void flush_if_asked() {
    PerCpu& cpu = this_cpu();
    if (!__atomic_load_n(&cpu.flush_pending, __ATOMIC_ACQUIRE))
        return;
    write_cr3(read_cr3());
    __atomic_store_n(&cpu.flush_pending, 0u, __ATOMIC_RELEASE);
}

// The lock is held, so there is one such request at a time. A core that waits for the lock sees
// flush_pending there; all others get the interrupt.
void flush_cores(u64 mask) {
    const u32 self = this_cpu().core;
    for (u32 i = 0; i < abi::max_cores; ++i) {
        if (i == self || !(mask >> i & 1))
            continue;
        __atomic_store_n(&cpu_area(i).flush_pending, 1u, __ATOMIC_SEQ_CST);
        apic_send(cpu_area(i).apic_id, vector::flush);
    }
    if (mask >> self & 1)
        write_cr3(read_cr3());
    for (u32 i = 0; i < abi::max_cores; ++i)
        while (i != self && mask >> i & 1 &&
               __atomic_load_n(&cpu_area(i).flush_pending, __ATOMIC_ACQUIRE))
            pause();
}

} // namespace horos::arch
