// Goes wrong in the way that its command line says, after `after_ms` (default 200):
//   mode=fault      an invalid instruction
//   mode=null       a null pointer
//   mode=panic      gives up with a message
//   mode=hang       loops without progress (the watchdog's business)
//   mode=exit       its thread ends without a report
//   mode=reset      asks to be started again
//   mode=storm      wakes root and console without end
//   mode=corrupt    fills the pages it shares with root and console with rubbish, then faults
#include <horos/abi/console_page.hpp>
#include <horos/rt/command_line.hpp>
#include <horos/rt/print.hpp>
#include <horos/rt/report.hpp>
#include <horos/rt/start.hpp>
#include <horos/rt/time.hpp>

namespace {

using namespace horos;

[[noreturn]] void hang() {
    for (;;) {
        asm volatile("");
    }
}

[[noreturn]] void storm() {
    for (;;) {
        (void)user::signal(abi::start_selector::report, 0);
        (void)user::signal(abi::start_selector::console, 0);
    }
}

void corrupt() {
    auto* console = reinterpret_cast<volatile rt::u64*>(abi::console_page_address);
    auto* report = reinterpret_cast<volatile rt::u64*>(abi::report_page_address);
    for (rt::u32 i = 0; i < abi::frame_size / 8; ++i) {
        const rt::u64 rubbish = 0x9e37'79b9'7f4a'7c15 * (i + 1);
        console[i] = rubbish;
        report[i] = rubbish;
    }
    (void)user::signal(abi::start_selector::console, 0);
    (void)user::signal(abi::start_selector::report, 0);
    asm volatile("ud2");
}

void go_wrong(std::string_view mode) {
    if (mode == "fault") {
        asm volatile("ud2");
    } else if (mode == "null") {
        *static_cast<volatile int*>(nullptr) = 1;
    } else if (mode == "panic") {
        rt::panic("as I was told");
    } else if (mode == "hang") {
        hang();
    } else if (mode == "exit") {
        rt::exit_thread(3);
    } else if (mode == "reset") {
        rt::report_and_stop({.kind = abi::ReportKind::reset});
    } else if (mode == "storm") {
        storm();
    } else if (mode == "corrupt") {
        corrupt();
    } else {
        rt::panic("unknown mode");
    }
}

} // namespace

void horos::rt::program_main(const abi::StartPage& start) {
    const std::string_view line = field_text(start.partition.command_line);
    bool found;
    const std::string_view mode = text_option(line, "mode", found);
    print("misbehave: life {}, mode {}\n", start.incarnation, mode);
    const u64 after = number_option(line, "after_ms", 200);
    sleep_until(now() + ticks_of_ms(after, start.tsc_khz));
    go_wrong(mode);
}
