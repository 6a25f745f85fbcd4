// The hostile prober: attempts everything that a partition must not be able to do, and says for
// each attempt whether it was stopped. Thread 0 attempts; thread 1, more urgent, watches over it
// and starts it again after a fault.
#include <horos/rt/print.hpp>
#include <horos/rt/report.hpp>
#include <horos/rt/time.hpp>

#include "prober/guest_probes.hpp"

namespace horos::prober {
namespace {

constexpr u64 ended_bit = u64{1} << 40; // thread 0 has faulted or exited
constexpr u64 patience_ms = 20'000;     // an attempt that is just slow
constexpr u64 runaway_ms = 30;

constexpr const char* exception_names[] = {"#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD",
                                           "#NM", "#DF", "",    "#TS", "#NP", "#SS", "#GP",
                                           "#PF", "",    "#MF", "#AC", "#MC", "#XF"};

// Written by the attempt in thread 0, read by the supervisor after it has ended.
enum class Verdict : u8 { none, stopped, not_stopped };
constinit Verdict verdict = Verdict::none;
rt::Text<128> found;
constinit const Probe* current_probe = nullptr;
constinit const GuestCode* current_code = nullptr;

constinit u32 stopped_count = 0;
constinit u32 open_count = 0;

bool has_umip() {
    u32 a = 7, b, c = 0, d;
    asm volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    return (c >> 2 & 1) != 0;
}

void conclude(const char* name, bool is_stopped, std::string_view how) {
    ++(is_stopped ? stopped_count : open_count);
    rt::print("probe {}: {} ({})\n", name, is_stopped ? "stopped" : "NOT stopped", how);
}

void conclude_fault(const char* name, u64 vector, u64 address) {
    rt::Text<64> text;
    text.format("{}", vector < std::size(exception_names) ? exception_names[vector] : "fault");
    if (vector == 14) {
        text.format(" at {:x}", address);
    }
    conclude(name, true, text.view());
}

void conclude_attempt(const Probe& probe) {
    const auto info = user::thread_info(abi::start_selector::thread(0), 0);
    const auto state = static_cast<abi::ThreadState>(info.a);
    if (!info.ok()) {
        conclude(probe.name, false, "its thread is gone");
    } else if (state == abi::ThreadState::faulted) {
        conclude_fault(probe.name, info.b, info.d);
    } else if (state != abi::ThreadState::exited) {
        (void)user::thread_stop(abi::start_selector::thread(0));
        conclude(probe.name, probe.runaway, probe.runaway ? "pre-empted" : "it hangs");
    } else if (verdict == Verdict::none) {
        conclude(probe.name, false, "it went through");
    } else {
        conclude(probe.name, verdict == Verdict::stopped, found.view());
    }
}

void run(const Probe& probe) {
    rt::heartbeat();
    if (probe.needs_umip && !has_umip()) {
        rt::print("probe {}: left out (this processor has no UMIP)\n", probe.name);
        return;
    }
    verdict = Verdict::none;
    found.clear();
    current_probe = &probe;
    const Error error = rt::start_thread(0, [](u64) { current_probe->attempt(); }, 0);
    if (error != Error::ok) {
        rt::Text<64> text;
        text.format("could not be attempted: {}", abi::name_of(error));
        return conclude(probe.name, false, text.view());
    }
    const u64 patience = probe.runaway ? runaway_ms : patience_ms;
    const u64 deadline = rt::now() + rt::ticks_of_ms(patience, rt::start_page().tsc_khz);
    while (rt::now() < deadline && (rt::wait_events(deadline) & ended_bit) == 0) {
    }
    conclude_attempt(probe);
}

void run_all(std::span<const Probe> probes) {
    for (const Probe& probe : probes) {
        run(probe);
    }
}

void supervise(u64) {
    while ((rt::wait_events() & ended_bit) == 0) { // thread 0 has yet to end
    }
    run_all(memory_probes());
    run_all(instruction_probes());
    run_all(capability_probes());
    run_all(call_probes());
    create_guest();
    for (const GuestCode& code : guest_codes()) {
        current_code = &code;
        run({code.name, [] { attempt_guest_code(*current_code); }});
    }
    run_all(guest_probes());
    rt::print("probes: {} stopped, {} NOT stopped\n", stopped_count, open_count);
    rt::report({.kind = abi::ReportKind::power_off});
}

} // namespace

void stopped(std::string_view how) {
    verdict = Verdict::stopped;
    found.clear();
    found.append(how);
}

void not_stopped(std::string_view how) {
    verdict = Verdict::not_stopped;
    found.clear();
    found.append(how);
}

void expect_refused(Error error) {
    error == Error::ok ? not_stopped("the call succeeded") : stopped(abi::name_of(error));
}

} // namespace horos::prober

void horos::rt::program_main(const abi::StartPage& start) {
    native::own_memory().open(start);
    // From here on thread 0's end is the supervisor's business, not the root task's.
    const Error error =
        user::thread_monitor(abi::start_selector::thread(0), abi::start_selector::notification(1),
                             prober::ended_bit)
            .error;
    require(error == Error::ok, "cannot watch over my own thread");
    require(start_thread(1, prober::supervise, 0) == Error::ok, "cannot start the supervisor");
    exit_thread();
}
