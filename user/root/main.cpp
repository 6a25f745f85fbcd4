// The root task: checks the boot bundle, builds what the system description says, starts it, and
// watches over it.
#include "bundle_check.hpp"
#include "log.hpp"
#include "monitor.hpp"
#include "plan.hpp"
#include "platform.hpp"

extern "C" [[noreturn]] void horos_root_start(const horos::abi::BootPage* boot);
extern "C" void horos_root_monitor();

namespace horos::root {
namespace {

Outcome add_capability_tables() {
    for (u8 i = 1; i < abi::tables_per_domain; ++i) {
        u32 frame;
        if (!root_pool().take(frame)) {
            return Outcome::failure("find memory for its capability tables");
        }
        const auto result = user::domain_add_table(abi::root_selector::domain, frame, i);
        if (!result.ok()) {
            return check("add a capability table", result);
        }
    }
    return {};
}

Outcome create_notification(u32 slot) {
    u32 frame;
    if (!root_pool().take(frame)) {
        return Outcome::failure("find memory for a notification");
    }
    return check("create a notification", user::notification_create(frame, slot));
}

// A zeroed page that the root task sees at `address` and shares with others.
Outcome shared_page(u32& frame, u64 address) {
    return in_order(
        [&] { return root_pool().take(frame) ? Outcome() : Outcome::failure("find memory"); },
        [&] { return Scratch::fill(frame, nullptr, 0); },
        [&] { return root_space().map_frame(address, frame, read_write); });
}

Outcome create_shared_pages() {
    Machine& m = machine();
    Outcome outcome;
    for (u32 i = 0; outcome.ok() && i < max_instances; ++i) {
        if (i < m.system->partition_count || i == console_index) {
            outcome = in_order(
                [&] {
                    return shared_page(m.report_frames[i], address::reports + i * abi::frame_size);
                },
                [&] {
                    return shared_page(m.console_frames[i],
                                       address::console_pages + i * abi::frame_size);
                });
        }
    }
    return outcome;
}

Outcome create_console_table() {
    static constinit abi::ConsoleTable table = {};
    const abi::System& system = *machine().system;
    table.partition_count = system.partition_count;
    table.focus = abi::max_partitions;
    for (u32 i = 0; i < system.partition_count; ++i) {
        const abi::Partition& partition = system.partitions[i];
        table.console[i] = partition.console;
        __builtin_memcpy(table.names[i], partition.name, sizeof partition.name);
        if (partition.console == abi::Console::terminal && table.focus == abi::max_partitions) {
            table.focus = i;
        }
    }
    u32& frame = machine().console_table_frame;
    if (!root_pool().take(frame)) {
        return Outcome::failure("find memory");
    }
    return Scratch::fill(frame, &table, sizeof table);
}

Outcome create_channels() {
    const abi::System& system = *machine().system;
    for (u32 i = 0; i < system.channel_count; ++i) {
        const u64 frames = system.channels[i].size >> abi::frame_bits;
        u32& first = machine().channel_frames[i];
        if (frames == 0 || frames > abi::frames_per_block ||
            !root_pool().take(first, static_cast<u32>(frames))) {
            return Outcome::failure("find memory for a channel");
        }
        for (u32 n = 0; n < frames; ++n) {
            if (Outcome outcome = Scratch::fill(first + n, nullptr, 0); !outcome.ok()) {
                return outcome;
            }
        }
    }
    return {};
}

Outcome start_console() {
    Instance& console = machine().instances[console_index];
    const Outcome outcome =
        in_order([&] { return build(console); }, [&] { return start(console); });
    if (outcome.ok()) {
        console.state = InstanceState::running;
        // Minted: the badge tells the server that it is the root task's ring.
        (void)user::cap_mint(selector::notification(console_index), selector::log_signal,
                             abi::right::write, u32{1} << console_index);
        log_through(&console_page(console_index), selector::log_signal);
    }
    return outcome;
}

Outcome start_monitor() {
    u32 thread, context;
    const bool memory = root_pool().take(thread) && root_pool().take(context);
    if (!memory) {
        return Outcome::failure("find memory");
    }
    for (u64 at = 0; at < monitor_stack_size; at += abi::frame_size) {
        u32 frame;
        if (!root_pool().take(frame)) {
            return Outcome::failure("find memory");
        }
        if (Outcome outcome =
                root_space().map_frame(address::monitor_stack + at, frame, read_write);
            !outcome.ok()) {
            return outcome;
        }
    }
    return in_order(
        [&] {
            return check("create the monitor's thread",
                         user::thread_create(thread, selector::monitor_thread,
                                             abi::root_selector::domain,
                                             abi::root_selector::space));
        },
        [&] {
            return check("create the monitor's scheduling context",
                         user::sc_create(context, selector::scratch, abi::root_selector::first_core,
                                         abi::monitor_slot, 0));
        },
        [&] {
            return check("bind the monitor's scheduling context",
                         user::sc_bind(selector::scratch, selector::monitor_thread));
        },
        [&] { return check("delete", user::cap_delete(selector::scratch)); },
        [&] {
            return check("start the monitor",
                         user::thread_start(selector::monitor_thread,
                                            reinterpret_cast<u64>(&horos_root_monitor),
                                            address::monitor_stack + monitor_stack_size - 8, 0, 0));
        });
}

void must(std::string_view what, const Outcome& outcome) {
    if (!outcome.ok()) {
        fatal(what, outcome);
    }
}

void check_inputs() {
    Machine& m = machine();
    BundleMessage bundle_message;
    if (!check_bundle(m.bundle, m.boot->bundle_size, bundle_message)) {
        fatal(bundle_message.view());
    }
    log("bundle: {} entries, {} KiB, all checksums right", bundle_header(m.bundle).entry_count,
        bundle_header(m.bundle).total_size >> 10);
    PlanMessage plan_message;
    if (!find_system(plan_message) || !plan_instances(plan_message)) {
        fatal(plan_message.view());
    }
    log("system {}: {} partitions on {} of {} cores", rt::field_text(m.system->name),
        m.system->partition_count, m.system->core_count, m.boot->core_count);
}

void build_partitions() {
    for (u32 i = 0; i < machine().system->partition_count; ++i) {
        Instance& instance = machine().instances[i];
        must(instance.name(), build(instance));
        instance.state = InstanceState::built;
        log("partition {}: built, {} MiB, {} KiB for the kernel and its program", instance.name(),
            instance.partition->memory >> 20, instance.pool.used() * 4);
    }
}

void run(const abi::BootPage& boot) {
    machine().boot = &boot;
    machine().bundle = reinterpret_cast<const void*>(abi::bundle_address);
    block_source().set(boot);
    if (boot.magic != abi::boot_page_magic) {
        fatal("the kernel's boot page is of another version");
    }
    must("root task", create_notification(selector::sleep_notification));
    must("root task", create_notification(selector::monitor_notification));
    check_inputs();
    read_wall_clock();
    must("root task", add_capability_tables());
    must("root task", create_shared_pages());
    must("root task", create_console_table());
    must("root task", create_channels());
    must("console server", start_console());
    build_partitions();
    must("root task", start_monitor());
}

} // namespace
} // namespace horos::root

void horos_root_start(const horos::abi::BootPage* boot) {
    horos::root::run(*boot);
    for (;;) { // from here on the monitor is the root task
        (void)horos::user::thread_exit(0);
    }
}

void horos_root_monitor() { horos::root::monitor(); }
