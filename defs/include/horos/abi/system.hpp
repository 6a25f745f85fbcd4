// The compiled system description: what horos-pack makes of a description in TOML, and what the
// root task builds the partitions from. Fixed tables, no pointers; all numbers little-endian.
#pragma once
#include <horos/abi/types.hpp>

namespace horos::abi {

inline constexpr u64 system_magic = 0x31'4d'45'54'53'59'53'48; // "HSYSTEM1"
inline constexpr u32 system_version = 1;

inline constexpr u32 max_partitions = 16;
inline constexpr u32 max_partition_vcpus = 8;
inline constexpr u32 max_partition_ports = 8;
inline constexpr u32 max_partition_irqs = 8;
inline constexpr u32 max_partition_mmio = 8;
inline constexpr u32 max_channels = 16;
inline constexpr u32 max_cpuid_rules = 32;
inline constexpr u32 max_msr_rules = 32;
inline constexpr u32 no_entry = ~u32{0}; // no such bundle entry

enum class PartitionKind : u32 { linux_guest = 1, native = 2 };

enum class Console : u32 {
    none = 0,
    terminal = 1, // COM1: the terminal Horos was started from; at most one partition
    log = 2       // output only: labelled lines in Horos's log on COM2
};

enum class RestartPolicy : u32 { never = 0, on_fault = 1 };

enum class EndPolicy : u32 { // when the partition powers itself off or its program ends
    stop_partition = 0,
    power_off_machine = 1 // its power-off ends the run
};

// Capabilities of the root task that a native partition gets a copy of. For test programs.
namespace system_grant {
inline constexpr u32 cores = 1, irq_control = 2, ports = 4, mmio = 8, platform = 16;
inline constexpr u32 all = 31;
} // namespace system_grant

// Scheduling slots that belong to the system. Every window of core 0 includes these two.
inline constexpr u32 monitor_slot = 0; // core 0: the root task's monitor
inline constexpr u32 console_slot = 1; // core 0: the console server
inline constexpr u32 first_partition_slot = 2;
inline constexpr u32 boot_slot = 15; // core 0: the root task while it starts
inline constexpr u32 system_slots_core0 = 1u << monitor_slot | 1u << console_slot;

inline constexpr u64 max_native_memory = u64{64} << 20;

// Virtual devices of a Linux partition.
namespace device {
inline constexpr u32 uart = 1, rtc = 2, pit = 4, pic = 8, ioapic = 16, local_apic = 32, pci = 64,
                     acpi = 128;
inline constexpr u32 all = 255;
inline constexpr u32 crash = 256; // for tests: an OUT to port 0x5fc crashes the monitor
} // namespace device

// A virtual CPU (or the thread of a native partition), and where it runs. It has two neighbouring
// scheduling slots of its core: the more urgent one for a thread that serves devices and timers,
// the next for the virtual CPU or program itself.
struct Placement {
    u32 core;
    u32 service_slot;
    u32 main_slot;
    u32 reserved;
    u64 budget_ns; // of the main slot in each major frame; 0 = no limit
};

struct PortRange {
    u16 first;
    u16 last; // inclusive
};

struct IrqLine {
    u32 gsi;
    u32 flags; // irq_flag
};

struct MmioRange {
    u64 address; // host-physical, page-aligned; at the same guest-physical address in a guest
    u64 size;
};

// Register values are (policy & keep) | set, in the order eax, ebx, ecx, edx.
struct CpuidRule {
    u32 leaf;
    u32 subleaf; // any_subleaf: all of them
    u32 keep[4];
    u32 set[4];
};
inline constexpr u32 any_subleaf = ~u32{0};

enum class MsrAction : u32 {
    fault = 0,       // #GP on read and write
    fixed = 1,       // reads give `value`, writes are ignored
    pass_through = 2 // the guest's own register, without an exit, where the kernel allows that
};

struct MsrRule {
    u32 msr;
    MsrAction action;
    u64 value;
};

struct Partition {
    char name[32]; // zero-terminated, not empty, unique
    PartitionKind kind;
    Console console;
    RestartPolicy restart;
    u32 restart_limit; // restarts until it stays down; 0 = no limit
    EndPolicy end;
    u32 devices;         // device:: bits; Linux partitions only
    u64 memory;          // bytes, a multiple of 2 MiB
    u32 program;         // bundle entry: the program, or the VMM
    u32 kernel;          // bundle entry, no_entry for native partitions
    u32 initramfs;       // bundle entry or no_entry
    u32 placement_count; // virtual CPUs; 1 for native partitions
    u32 port_count;
    u32 irq_count;
    u32 mmio_count;
    u32 cpuid_count;
    u32 msr_count;
    u32 grants;      // system_grant:: bits; native partitions only
    u32 watchdog_ms; // without progress for so long it counts as faulted; 0 = no watchdog
    u32 reserved;
    Placement placements[max_partition_vcpus];
    PortRange ports[max_partition_ports];
    IrqLine irqs[max_partition_irqs];
    MmioRange mmio[max_partition_mmio];
    CpuidRule cpuid[max_cpuid_rules];
    MsrRule msrs[max_msr_rules];
    char command_line[1024]; // zero-terminated
};
static_assert(sizeof(Partition) <= 4096);

// Windows follow each other from the start of the major frame; their lengths fill it.
struct Window {
    u64 length_ns;
    u32 slots; // mask of scheduling slots that may run
    u32 reserved;
};

struct CoreSchedule {
    u32 core;
    u32 window_count; // 0: all slots at all times
    u64 major_ns;
    Window windows[max_windows];
};

// Shared memory and a pair of notifications between two partitions.
struct Channel {
    char name[32];
    u32 partition[2]; // indices
    u64 size;         // bytes, a multiple of 4 KiB
    u64 address[2];   // where each partition sees it (user virtual, or guest-physical)
};

struct System {
    u64 magic;
    u32 version;
    u32 size; // sizeof(System)
    char name[32];
    u32 core_count; // the machine must have at least so many
    u32 partition_count;
    u32 channel_count;
    u32 schedule_count;
    CoreSchedule schedules[max_cores];
    Channel channels[max_channels];
    Partition partitions[max_partitions];
};

enum class SystemFault : u32 { // why valid() refuses
    none = 0,
    magic,
    version,
    size,
    counts,
    partition,
    placement,
    schedule,
    channel
};

namespace detail {

constexpr bool terminated(const char* text, u32 size) {
    for (u32 i = 0; i < size; ++i) {
        if (text[i] == 0) {
            return true;
        }
    }
    return false;
}

constexpr SystemFault check_partition(const Partition& p, u32 entry_count) {
    const bool counts_fit = p.placement_count >= 1 && p.placement_count <= max_partition_vcpus &&
                            p.port_count <= max_partition_ports &&
                            p.irq_count <= max_partition_irqs &&
                            p.mmio_count <= max_partition_mmio &&
                            p.cpuid_count <= max_cpuid_rules && p.msr_count <= max_msr_rules;
    const bool is_guest = p.kind == PartitionKind::linux_guest;
    const bool memory_fits =
        p.memory % block_size == 0 && (is_guest ? p.grants == 0 : p.memory <= max_native_memory);
    const bool entries_fit = p.program < entry_count &&
                             (is_guest ? p.kernel < entry_count : p.kernel == no_entry) &&
                             (p.initramfs == no_entry || p.initramfs < entry_count);
    if (!counts_fit || !entries_fit || (!is_guest && p.kind != PartitionKind::native) ||
        !terminated(p.name, sizeof p.name) || !terminated(p.command_line, sizeof p.command_line) ||
        p.name[0] == 0 || !memory_fits || (p.grants & ~system_grant::all) != 0) {
        return SystemFault::partition;
    }
    return SystemFault::none;
}

// No two users of one slot, and none of a slot of the system.
constexpr SystemFault check_placements(const System& s) {
    u16 taken[max_cores] = {};
    taken[0] = system_slots_core0 | 1u << boot_slot;
    for (u32 i = 0; i < s.partition_count; ++i) {
        for (u32 j = 0; j < s.partitions[i].placement_count; ++j) {
            const Placement& place = s.partitions[i].placements[j];
            if (place.core >= s.core_count || place.service_slot >= sc_slots ||
                place.main_slot >= sc_slots || place.service_slot == place.main_slot) {
                return SystemFault::placement;
            }
            const u32 both = 1u << place.service_slot | 1u << place.main_slot;
            if ((taken[place.core] & both) != 0) {
                return SystemFault::placement;
            }
            taken[place.core] = static_cast<u16>(taken[place.core] | both);
        }
    }
    return SystemFault::none;
}

constexpr SystemFault check_schedule(const CoreSchedule& schedule, u32 core_count) {
    if (schedule.core >= core_count || schedule.window_count > max_windows) {
        return SystemFault::schedule;
    }
    const u32 always = schedule.core == 0 ? system_slots_core0 : 0;
    for (u32 i = 0; i < schedule.window_count; ++i) {
        const Window& window = schedule.windows[i];
        if (window.length_ns == 0 || window.slots >= 1u << sc_slots ||
            (window.slots & always) != always) {
            return SystemFault::schedule;
        }
    }
    return SystemFault::none;
}

constexpr SystemFault check_tables(const System& s) {
    for (u32 i = 0; i < s.schedule_count; ++i) {
        if (check_schedule(s.schedules[i], s.core_count) != SystemFault::none) {
            return SystemFault::schedule;
        }
    }
    for (u32 i = 0; i < s.channel_count; ++i) {
        const Channel& c = s.channels[i];
        if (c.partition[0] >= s.partition_count || c.partition[1] >= s.partition_count ||
            !terminated(c.name, sizeof c.name)) {
            return SystemFault::channel;
        }
    }
    return SystemFault::none;
}

} // namespace detail

// Whether every count and index is within its table, so that a reader need not look again.
// `bytes` is the size of the bundle entry, `entry_count` that of the bundle's entries.
constexpr SystemFault check(const System& s, u64 bytes, u32 entry_count) {
    if (bytes < sizeof(System) || s.magic != system_magic) {
        return SystemFault::magic;
    }
    if (s.version != system_version) {
        return SystemFault::version;
    }
    if (s.size != sizeof(System) || bytes != sizeof(System)) {
        return SystemFault::size;
    }
    if (s.core_count == 0 || s.core_count > max_cores || s.partition_count == 0 ||
        s.partition_count > max_partitions || s.channel_count > max_channels ||
        s.schedule_count > max_cores || !detail::terminated(s.name, sizeof s.name)) {
        return SystemFault::counts;
    }
    for (u32 i = 0; i < s.partition_count; ++i) {
        const SystemFault fault = detail::check_partition(s.partitions[i], entry_count);
        if (fault != SystemFault::none) {
            return fault;
        }
    }
    const SystemFault fault = detail::check_placements(s);
    return fault != SystemFault::none ? fault : detail::check_tables(s);
}

} // namespace horos::abi
