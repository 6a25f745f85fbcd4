#include "plan.hpp"

#include <horos/rt/time.hpp>

#include "bundle_check.hpp"

namespace horos::root {
namespace {

constexpr const char* fault_names[] = {"it is no system description",
                                       "version",
                                       "size",
                                       "counts",
                                       "partition",
                                       "placement",
                                       "schedule",
                                       "channel"};

const abi::BundleHeader& header() { return bundle_header(machine().bundle); }

bool find_console(PlanMessage& message) {
    for (u32 i = 0; i < header().entry_count; ++i) {
        if (header().entries[i].type == abi::BundleType::program &&
            rt::field_text(header().entries[i].name) == "console") {
            machine().console_program = i;
            return true;
        }
    }
    message.format("boot bundle: the program \"console\" is missing");
    return false;
}

bool check_file(const Instance& instance, u32 entry, abi::BundleType type, const char* what,
                PlanMessage& message) {
    if (entry == abi::no_entry || header().entries[entry].type == type) {
        return true;
    }
    message.format("partition \"{}\": bundle entry \"{}\" is no {}", instance.name(),
                   rt::field_text(header().entries[entry].name), what);
    return false;
}

bool check_files(const Instance& instance, PlanMessage& message) {
    BundleMessage why;
    if (!check_program(machine().bundle, instance.partition->program, why)) {
        message.append(why.view());
        return false;
    }
    return check_file(instance, instance.partition->kernel, abi::BundleType::guest_kernel,
                      "guest kernel", message) &&
           check_file(instance, instance.partition->initramfs, abi::BundleType::initramfs,
                      "initramfs", message);
}

// Each scheduling slot of a core serves one thread; the first ones of core 0 are the system's.
bool place_thread(Instance& instance, u32 core, u32 slot, u64 budget_ns, u16* taken,
                  PlanMessage& message) {
    if (core >= machine().boot->core_count) {
        message.format("partition \"{}\": core {} is not there, this machine has {}",
                       instance.name(), core, machine().boot->core_count);
        return false;
    }
    if (slot >= abi::sc_slots || (taken[core] >> slot & 1) != 0) {
        message.format("partition \"{}\": slot {} of core {} is taken", instance.name(), slot,
                       core);
        return false;
    }
    taken[core] |= static_cast<u16>(1u << slot);
    instance.threads[instance.thread_count++] = {core, static_cast<u8>(slot),
                                                 rt::ticks_of_ns(budget_ns, machine().tsc_khz())};
    return true;
}

bool place_threads(Instance& instance, u16* taken, PlanMessage& message) {
    for (u32 i = 0; i < instance.partition->placement_count; ++i) {
        const abi::Placement& place = instance.partition->placements[i];
        if (!place_thread(instance, place.core, place.main_slot, place.budget_ns, taken, message) ||
            !place_thread(instance, place.core, place.service_slot, 0, taken, message)) {
            return false;
        }
    }
    return true;
}

bool set_memory_aside(Instance& instance, PlanMessage& message) {
    const u64 blocks = instance.partition->memory / abi::block_size;
    if (block_source().take(blocks, instance.memory, Instance::max_extents,
                            instance.extent_count)) {
        return true;
    }
    message.format("partition \"{}\": {} MiB of memory are wanted, there is not so much left",
                   instance.name(), instance.partition->memory >> 20);
    return false;
}

bool plan_console(u16* taken, PlanMessage& message) {
    static constinit abi::Partition console = {};
    constexpr char name[] = "console";
    __builtin_memcpy(console.name, name, sizeof name);
    console.kind = abi::PartitionKind::native;
    console.program = machine().console_program;
    console.kernel = abi::no_entry;
    console.initramfs = abi::no_entry;
    console.port_count = 1;
    console.ports[0] = {0x3f8, 0x3ff}; // COM1
    console.irq_count = 1;
    console.irqs[0] = {4, 0};
    console.placement_count = 1;
    Instance& instance = machine().instances[console_index];
    instance.partition = &console;
    instance.index = console_index;
    instance.state = InstanceState::built;
    return check_files(instance, message) &&
           place_thread(instance, 0, abi::console_slot, 0, taken, message);
}

} // namespace

bool find_system(PlanMessage& message) {
    for (u32 i = 0; i < header().entry_count; ++i) {
        const abi::BundleEntry& entry = header().entries[i];
        if (entry.type != abi::BundleType::system) {
            continue;
        }
        const auto* system = reinterpret_cast<const abi::System*>(entry_bytes(machine().bundle, i));
        const abi::SystemFault fault = abi::check(*system, entry.size, header().entry_count);
        if (fault != abi::SystemFault::none) {
            message.format("system description \"{}\": wrong {}", rt::field_text(entry.name),
                           fault_names[(static_cast<u32>(fault) - 1) % 8]);
            return false;
        }
        machine().system = system;
        return find_console(message);
    }
    message.format("boot bundle: it has no system description");
    return false;
}

bool plan_instances(PlanMessage& message) {
    u16 taken[abi::max_cores] = {};
    const abi::System& system = *machine().system;
    if (system.core_count > machine().boot->core_count) {
        message.format("system \"{}\" needs {} cores, this machine has {}",
                       rt::field_text(system.name), system.core_count, machine().boot->core_count);
        return false;
    }
    taken[0] = 1u << abi::monitor_slot | 1u << (abi::sc_slots - 1);
    if (!plan_console(taken, message)) {
        return false;
    }
    for (u32 i = 0; i < system.partition_count; ++i) {
        Instance& instance = machine().instances[i];
        instance.partition = &system.partitions[i];
        instance.index = i;
        if (!check_files(instance, message) || !place_threads(instance, taken, message) ||
            !set_memory_aside(instance, message)) {
            return false;
        }
    }
    return true;
}

Outcome set_windows() {
    const abi::System& system = *machine().system;
    constexpr u16 system_slots = 1u << abi::monitor_slot | 1u << abi::console_slot;
    for (u32 i = 0; i < system.schedule_count; ++i) {
        const abi::CoreSchedule& schedule = system.schedules[i];
        const u32 core = abi::root_selector::first_core + schedule.core;
        for (u32 w = 0; w < schedule.window_count; ++w) {
            const abi::Window& window = schedule.windows[w];
            const u16 slots =
                static_cast<u16>(window.slots | (schedule.core == 0 ? system_slots : 0));
            const u64 length = rt::ticks_of_ns(window.length_ns, machine().tsc_khz());
            const auto result = user::core_window(core, static_cast<u8>(w), length, slots);
            if (!result.ok()) {
                return check("set a time window", result);
            }
        }
        const auto result = user::core_schedule(core, static_cast<u8>(schedule.window_count));
        if (!result.ok()) {
            return check("set the time windows", result);
        }
    }
    return {};
}

} // namespace horos::root
