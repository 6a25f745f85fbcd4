// A heartbeat: a numbered line every `interval`, with the time, and what was missed. The system
// tests look at it to see that a partition runs on while others are stopped, crash or hang.
//
// Command line: interval_ms=N (default 100), count=N (default: for ever), late_ms=N: how late a
// tick may be before it counts as missed (default: one interval).
#include <horos/rt/command_line.hpp>
#include <horos/rt/print.hpp>
#include <horos/rt/report.hpp>
#include <horos/rt/start.hpp>
#include <horos/rt/time.hpp>

namespace {

using horos::rt::u64;

struct Options {
    u64 interval_ms;
    u64 count;
    u64 late_ms;
};

Options read_options(std::string_view line) {
    using horos::rt::number_option;
    const u64 interval = number_option(line, "interval_ms", 100);
    horos::rt::require(interval != 0, "interval_ms must not be 0");
    return {interval, number_option(line, "count", 0), number_option(line, "late_ms", interval)};
}

} // namespace

void horos::rt::program_main(const abi::StartPage& start) {
    const Options options = read_options(field_text(start.partition.command_line));
    const u64 interval = ticks_of_ms(options.interval_ms, start.tsc_khz);
    const u64 late = ticks_of_ms(options.late_ms, start.tsc_khz);
    const u64 begin = now();
    u64 missed = 0;
    u64 worst = 0;
    print("ticker: start {}, every {} ms\n", start.incarnation, options.interval_ms);
    for (u64 tick = 1; options.count == 0 || tick <= options.count; ++tick) {
        const u64 due = begin + tick * interval;
        sleep_until(due);
        const u64 delay = now() - due;
        missed += delay > late ? 1 : 0;
        worst = delay > worst ? delay : worst;
        heartbeat();
        print("tick {} at {} ms, missed {}, worst {} us\n", tick,
              ms_of_ticks(now() - begin, start.tsc_khz), missed,
              worst * 1000 / (start.tsc_khz == 0 ? 1 : start.tsc_khz));
    }
}
