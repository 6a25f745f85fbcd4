// Memory that is not the prober's. Without page protection each of these accesses would go through
// and the attempt would return.
#include <horos/abi/console_page.hpp>
#include <horos/abi/start_page.hpp>

#include "prober/probe.hpp"

namespace horos::prober {
namespace {

constexpr u64 kernel_image = 0xffff'ffff'8020'0000;
constexpr u64 direct_map = 0xffff'8000'0000'0000;
constexpr u64 kernel_tables = 0xffff'ff00'0000'0000;

void read_at(u64 address) {
    const u8 byte = *reinterpret_cast<const volatile u8*>(address);
    rt::Text<64> text;
    text.format("read {:x} there", byte);
    not_stopped(text.view());
}
void write_at(u64 address) { *reinterpret_cast<volatile u8*>(address) = 0x5a; }
void call_at(u64 address) { reinterpret_cast<void (*)()>(address)(); }

u8 data_page[64] = {0xc3}; // RET
constexpr u8 constant_page[64] = {0xc3};

// Each turn takes stack; no result may be reused, or the compiler makes a loop of it.
[[gnu::noinline]] u64 recurse(volatile u64* outer) {
    volatile u64 frame[64];
    frame[0] = outer == nullptr ? 0 : outer[0] + 1;
    return frame[0] == ~u64{0} ? 0 : recurse(frame) + frame[0];
}

constexpr Probe probes[] = {
    {"read-null", [] { read_at(0); }},
    {"write-null", [] { write_at(0); }},
    {"call-null", [] { call_at(0); }},
    {"read-kernel-image", [] { read_at(kernel_image); }},
    {"write-kernel-image", [] { write_at(kernel_image); }},
    {"call-kernel-image", [] { call_at(kernel_image); }},
    {"read-direct-map", [] { read_at(direct_map + 0x20'0000); }},
    {"write-direct-map", [] { write_at(direct_map + 0x20'0000); }},
    {"read-frame-table", [] { read_at(kernel_tables); }},
    {"read-top-of-memory", [] { read_at(~u64{0}); }},
    {"read-not-canonical", [] { read_at(u64{1} << 47); }},
    {"write-not-canonical", [] { write_at(0x8000'0000'0000'0000); }},
    {"call-not-canonical", [] { call_at(u64{1} << 52); }},
    {"read-others-console-pages", [] { read_at(abi::console_pages_address); }},
    {"read-others-console-table", [] { read_at(abi::console_table_address); }},
    {"read-guest-memory-address", [] { read_at(abi::guest_memory_address); }},
    {"read-guest-kernel-address", [] { read_at(abi::kernel_file_address); }},
    {"read-root-task-reports", [] { read_at(0x50'0010'0000); }},
    {"read-vcpu-state-address", [] { read_at(abi::vcpu_state_address); }},
    {"write-start-page", [] { write_at(abi::start_page_address); }},
    {"write-own-code", [] { write_at(abi::program_address); }},
    {"write-own-constants", [] { write_at(reinterpret_cast<u64>(constant_page)); }},
    {"execute-own-data", [] { call_at(reinterpret_cast<u64>(data_page)); }},
    {"execute-own-constants", [] { call_at(reinterpret_cast<u64>(constant_page)); }},
    {"execute-own-stack",
     [] {
         volatile u8 code[16] = {0xc3};
         call_at(reinterpret_cast<u64>(code));
     }},
    {"stack-overflow", [] { (void)recurse(nullptr); }},
};

} // namespace

std::span<const Probe> memory_probes() { return probes; }

} // namespace horos::prober
