#include "monitor.hpp"

#include <horos/rt/time.hpp>

#include "log.hpp"
#include "plan.hpp"
#include "platform.hpp"

namespace horos::root {
namespace {

constexpr const char* exception_names[32] = {"#DE divide error",
                                             "#DB debug",
                                             "NMI",
                                             "#BP breakpoint",
                                             "#OF overflow",
                                             "#BR bound range",
                                             "#UD invalid opcode",
                                             "#NM device not available",
                                             "#DF double fault",
                                             "vector 9",
                                             "#TS invalid TSS",
                                             "#NP segment not present",
                                             "#SS stack",
                                             "#GP general protection",
                                             "#PF page fault",
                                             "vector 15",
                                             "#MF x87",
                                             "#AC alignment check",
                                             "#MC machine check",
                                             "#XF SIMD",
                                             "vector 20",
                                             "#CP control protection",
                                             "vector 22",
                                             "vector 23",
                                             "vector 24",
                                             "vector 25",
                                             "vector 26",
                                             "vector 27",
                                             "vector 28",
                                             "vector 29",
                                             "vector 30",
                                             "vector 31"};

// The monitor is more urgent than any partition of its core: one that wakes it without end must
// not take their time.
constexpr u32 wakes_between_rests = 16;
constexpr u64 shortest_life_ms = 1000; // who asks for a reset earlier counts as failed

Machine& all() { return machine(); }

void start_watchdog(Instance& instance) {
    const u32 ms = instance.partition->watchdog_ms;
    instance.last_heartbeat = __atomic_load_n(&instance.report().heartbeat, __ATOMIC_RELAXED);
    instance.watchdog_due =
        ms == 0 ? abi::no_deadline : rt::now() + rt::ticks_of_ms(ms, all().tsc_khz());
}

void launch(Instance& instance) {
    if (Outcome outcome = start(instance); !outcome.ok()) {
        fatal(instance.name(), outcome);
    }
    instance.state = InstanceState::running;
    instance.started_at = rt::now();
    start_watchdog(instance);
}

bool any_running() {
    for (const Instance& instance : all().instances) {
        if (instance.state == InstanceState::running && !instance.is_console()) {
            return true;
        }
    }
    return false;
}

void stay_down(Instance& instance, InstanceState state) {
    instance.state = state;
    instance.watchdog_due = abi::no_deadline;
    for (u32 thread = 0; thread < instance.thread_count; ++thread) {
        (void)user::thread_stop(selector::thread(instance.index, thread));
    }
    const bool ends_machine = instance.partition->end == abi::EndPolicy::power_off_machine;
    if (ends_machine && state == InstanceState::failed) {
        rt::Text<96> line;
        line.format("partition {} has failed", instance.name());
        fatal(line.view());
    }
    if (ends_machine) {
        log("powering off");
        power_off();
    }
    if (!any_running()) {
        log("no partition is running any more: powering off");
        power_off();
    }
}

void restart(Instance& instance) {
    instance.watchdog_due = abi::no_deadline;
    Outcome outcome = tear_down(instance);
    if (outcome.ok()) {
        ++instance.incarnation;
        outcome = build(instance);
    }
    if (!outcome.ok()) {
        log("partition {}: not restarted: {} {}", instance.name(), outcome.step(),
            outcome.reason());
        return stay_down(instance, InstanceState::failed);
    }
    launch(instance);
    log("partition {}: restarted ({})", instance.name(), instance.incarnation);
}

// After the cause was logged.
void handle_failure(Instance& instance) {
    const abi::Partition& partition = *instance.partition;
    const bool allowed = partition.restart == abi::RestartPolicy::on_fault;
    if (!allowed) {
        log("partition {}: stopped", instance.name());
        return stay_down(instance, InstanceState::failed);
    }
    if (partition.restart_limit != 0 && instance.faults >= partition.restart_limit) {
        log("partition {}: stopped after {} restarts", instance.name(), instance.faults);
        return stay_down(instance, InstanceState::failed);
    }
    ++instance.faults;
    restart(instance);
}

// The page belongs to the partition: everything is copied before it is looked at.
void handle_report(Instance& instance) {
    const abi::ReportPage& page = instance.report();
    const u32 kind = __atomic_load_n(&page.kind, __ATOMIC_ACQUIRE);
    const u32 vcpu = __atomic_load_n(&page.vcpu, __ATOMIC_RELAXED);
    const u64 rip = __atomic_load_n(&page.rip, __ATOMIC_RELAXED);
    const u64 info = __atomic_load_n(&page.info[0], __ATOMIC_RELAXED);
    rt::Text<sizeof page.text> text;
    for (u32 i = 0; i < sizeof page.text; ++i) {
        const char c = *static_cast<const volatile char*>(&page.text[i]);
        if (c == 0) {
            break;
        }
        text.push(c >= ' ' && c < 0x7f ? c : '?');
    }
    switch (static_cast<abi::ReportKind>(kind)) {
    case abi::ReportKind::none:
        return; // a wake-up without reason
    case abi::ReportKind::power_off:
        log("partition {}: ended", instance.name());
        return stay_down(instance, InstanceState::ended);
    case abi::ReportKind::reset:
        log("partition {}: asks for a reset", instance.name());
        return rt::now() - instance.started_at < rt::ticks_of_ms(shortest_life_ms, all().tsc_khz())
                   ? handle_failure(instance)
                   : restart(instance);
    case abi::ReportKind::triple_fault:
        log("partition {}: guest triple fault, virtual CPU {}, rip {:x}", instance.name(), vcpu,
            rip);
        return handle_failure(instance);
    case abi::ReportKind::guest_error:
        log("partition {}: guest error, virtual CPU {}, rip {:x}, info {:x}: {}", instance.name(),
            vcpu, rip, info, text.view());
        return handle_failure(instance);
    default:
        log("partition {}: program error, rip {:x}: {}", instance.name(), rip, text.view());
        return handle_failure(instance);
    }
}

void log_fault(const Instance& instance, u32 thread, const user::ThreadInfoResult& fault) {
    const auto where = user::thread_info(selector::thread(instance.index, thread), 1);
    log("partition {}: thread {} fault {}, rip {:x}, error {:x}, address {:x}", instance.name(),
        thread, exception_names[fault.b % 32], where.a, fault.c, fault.d);
}

void handle_threads(Instance& instance) {
    for (u32 thread = 0; thread < instance.thread_count; ++thread) {
        const auto info = user::thread_info(selector::thread(instance.index, thread), 0);
        const auto state = static_cast<abi::ThreadState>(info.a);
        if (!info.ok() || instance.state != InstanceState::running) {
            return;
        }
        if (state == abi::ThreadState::faulted) {
            log_fault(instance, thread, info);
            return handle_failure(instance);
        }
        if (state == abi::ThreadState::exited && thread == 0) {
            log("partition {}: ended with code {}", instance.name(), info.c);
            return stay_down(instance, InstanceState::ended);
        }
    }
}

void handle_console_failure(u64 bits) {
    const u64 mine = monitor_bit::thread(console_index) | monitor_bit::report(console_index);
    Instance& console = all().instances[console_index];
    if ((bits & mine) == 0 || console.state != InstanceState::running) {
        return;
    }
    // Without the console server the log goes on, the partitions' output does not.
    console.state = InstanceState::failed;
    log_directly();
    const auto info = user::thread_info(selector::thread(console_index, 0), 0);
    log_fault(console, 0, info);
    log("the console server has failed");
}

void handle_bits(u64 bits) {
    handle_console_failure(bits);
    for (u32 i = 0; i < abi::max_partitions; ++i) {
        Instance& instance = all().instances[i];
        if ((bits & monitor_bit::report(i)) != 0 && instance.state == InstanceState::running) {
            handle_report(instance);
        }
        if ((bits & monitor_bit::thread(i)) != 0 && instance.state == InstanceState::running) {
            handle_threads(instance);
        }
    }
}

u64 next_deadline() {
    u64 earliest = abi::no_deadline;
    for (const Instance& instance : all().instances) {
        earliest = instance.watchdog_due < earliest ? instance.watchdog_due : earliest;
    }
    return earliest;
}

void check_watchdogs() {
    const u64 now = rt::now();
    for (Instance& instance : all().instances) {
        if (instance.state != InstanceState::running || now < instance.watchdog_due) {
            continue;
        }
        const u64 beat = __atomic_load_n(&instance.report().heartbeat, __ATOMIC_RELAXED);
        if (beat != instance.last_heartbeat) {
            start_watchdog(instance);
            continue;
        }
        log("partition {}: hangs, no progress for {} ms", instance.name(),
            instance.partition->watchdog_ms);
        handle_failure(instance);
    }
}

} // namespace

void monitor() {
    // Not before: the root task's first thread has no place in the windows.
    if (Outcome outcome = set_windows(); !outcome.ok()) {
        fatal("schedule", outcome);
    }
    for (u32 i = 0; i < all().system->partition_count; ++i) {
        launch(all().instances[i]);
        log("partition {}: started", all().instances[i].name());
    }
    for (u32 wakes = 1;; ++wakes) {
        if (wakes % wakes_between_rests == 0) {
            sleep_ms(1);
        }
        const auto result = user::wait(selector::monitor_notification, next_deadline());
        if (result.ok()) {
            handle_bits(result.bits);
        } else if (result.error != Error::timeout) {
            fatal("the root task cannot wait for its partitions");
        }
        check_watchdogs();
    }
}

} // namespace horos::root
