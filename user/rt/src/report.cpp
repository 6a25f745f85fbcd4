#include <horos/rt/calls.hpp>
#include <horos/rt/report.hpp>
#include <horos/rt/start.hpp>
#include <horos/rt/text.hpp>

namespace horos::rt {
namespace {

abi::ReportPage& page() { return *reinterpret_cast<abi::ReportPage*>(abi::report_page_address); }

} // namespace

void report(const Report& report) {
    abi::ReportPage& out = page();
    if (__atomic_load_n(&out.kind, __ATOMIC_ACQUIRE) != 0) {
        return;
    }
    out.vcpu = report.vcpu;
    out.rip = report.rip;
    for (u32 i = 0; i < 4; ++i) {
        out.info[i] = report.info[i];
    }
    u32 length = 0;
    for (; length < report.text.size() && length + 1 < sizeof out.text; ++length) {
        out.text[length] = report.text[length];
    }
    out.text[length] = 0;
    __atomic_store_n(&out.kind, static_cast<u32>(report.kind), __ATOMIC_RELEASE);
    (void)user::signal(abi::start_selector::report, 0);
}

void report_and_stop(const Report& what) {
    report(what);
    exit_thread();
}

void panic(std::string_view why, std::source_location where) {
    Text<160> text;
    text.format("{} ({}:{})", why, where.file_name(), where.line());
    Report what;
    what.rip = reinterpret_cast<u64>(__builtin_return_address(0));
    what.text = text.view();
    report_and_stop(what);
}

void heartbeat() {
    u64& beats = page().heartbeat;
    __atomic_store_n(&beats, __atomic_load_n(&beats, __ATOMIC_RELAXED) + 1, __ATOMIC_RELAXED);
}

} // namespace horos::rt

// What the compiler and prebuilt libraries call when something cannot go on.
extern "C" {
void __cxa_pure_virtual() { horos::rt::panic("pure virtual function called"); }
void __stack_chk_fail() { horos::rt::panic("a stack buffer overflowed"); }
void abort() noexcept { horos::rt::panic("abort"); }
void __assert_fail(const char* what, const char*, unsigned, const char*) noexcept {
    horos::rt::panic(what);
}
int __cxa_atexit(void (*)(void*), void*, void*) { return 0; } // programs do not return
void* __dso_handle = nullptr;
}

namespace std {
// libstdc++'s checked containers end here.
void __throw_out_of_range_fmt(const char*, ...) { horos::rt::panic("out of range"); }
void __throw_bad_optional_access() { horos::rt::panic("empty optional"); }
} // namespace std
