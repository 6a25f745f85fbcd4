// The virtual machine monitor of one partition: builds the machine that the start page describes,
// loads Linux, and runs one thread per virtual CPU.
#include <new>
#include <string_view>

#include <horos/rt/start.hpp>

#include "boot/acpi.hpp"
#include "boot/entry_state.hpp"
#include "boot/linux_loader.hpp"
#include "run/vcpu.hpp"

namespace horos::vmm {
namespace {

// Objects live in static storage: the VMM allocates nothing.
alignas(Machine) unsigned char machine_storage[sizeof(Machine)];
alignas(Vcpu) unsigned char vcpu_storage[max_vcpus][sizeof(Vcpu)];

Vcpu* vcpu(u32 index) { return std::launder(reinterpret_cast<Vcpu*>(vcpu_storage[index])); }

abi::VcpuPage& state_page(u32 index) {
    return *reinterpret_cast<abi::VcpuPage*>(abi::vcpu_state_address + index * abi::frame_size);
}

CpuidValue host_cpuid(u32 leaf, u32 subleaf) {
    CpuidValue value;
    asm volatile("cpuid"
                 : "=a"(value.eax), "=b"(value.ebx), "=c"(value.ecx), "=d"(value.edx)
                 : "a"(leaf), "c"(subleaf));
    return value;
}

// The host may have fewer leaves than the policy names; what it says beyond its last is noise.
CpuidValue bounded_host_cpuid(u32 leaf, u32 subleaf) {
    const u32 group = leaf & 0x8000'0000u;
    return leaf <= host_cpuid(group, 0).eax ? host_cpuid(leaf, subleaf) : CpuidValue{};
}

MachineConfig machine_config(const abi::StartPage& start) {
    return {.memory = GuestMemory(reinterpret_cast<u8*>(abi::guest_memory_address),
                                  start.guest_memory_size),
            .vcpus = start.vcpu_count,
            .devices = start.partition.devices,
            .tsc_khz = start.tsc_khz,
            .unix_seconds = start.wall_clock_seconds,
            .apic_frame = start.apic_frame,
            .boot = start.wall_clock_tsc != 0 ? start.wall_clock_tsc : host::now()};
}

void set_policies(Machine& machine, const abi::StartPage& start) {
    const abi::Partition& partition = start.partition;
    machine.cpuid().build({.host = bounded_host_cpuid,
                           .vcpus = start.vcpu_count,
                           .xcr0 = start.host_xcr0,
                           .rules = {partition.cpuid, partition.cpuid_count}});
    machine.msrs().set_rules({partition.msrs, partition.msr_count});
}

LoadedKernel load(const Machine& machine, const abi::StartPage& start) {
    LinuxImage image{
        .kernel = {reinterpret_cast<const u8*>(abi::kernel_file_address), start.kernel_size},
        .initramfs = {reinterpret_cast<const u8*>(abi::initramfs_file_address),
                      start.initramfs_size},
        .command_line = start.partition.command_line};
    if (start.partition.devices & abi::device::acpi) {
        const bool ioapic = (start.partition.devices & abi::device::ioapic) != 0;
        image.rsdp =
            write_acpi_tables(machine.memory(), {.vcpus = start.vcpu_count, .ioapic = ioapic});
        if (image.rsdp == 0)
            return {.error = "memory: no room for the ACPI tables below 1 MiB"};
    }
    return load_linux(machine.memory(), image);
}

void vcpu_thread(u64 index) { vcpu(static_cast<u32>(index))->loop(); }

void run(const abi::StartPage& start) {
    if (start.vcpu_count == 0 || start.vcpu_count > max_vcpus || start.tsc_khz == 0)
        host::stop({.text = "the start page describes no virtual machine"});
    Machine& machine = *new (machine_storage) Machine(machine_config(start));
    set_policies(machine, start);
    const LoadedKernel loaded = load(machine, start);
    if (loaded.error != nullptr)
        host::stop({.text = loaded.error});
    for (u32 i = 0; i < start.vcpu_count; ++i)
        new (vcpu_storage[i]) Vcpu(i, state_page(i), machine);
    set_linux_entry(state_page(0).state, machine.memory(), loaded.entry, loaded.boot_params,
                    machine.cpuid().guest_xcr0());
    for (u32 i = 1; i < start.vcpu_count; ++i)
        if (rt::start_thread(abi::main_thread(i), vcpu_thread, i) != abi::Error::ok)
            host::stop({.vcpu = i, .text = "the thread of a virtual CPU does not start"});
    vcpu(0)->loop();
}

} // namespace
} // namespace horos::vmm

void horos::rt::program_main(const abi::StartPage& start) { horos::vmm::run(start); }
