// The local APIC's registers in a page that the processor serves (abi::virtual_apic): there while
// the guest runs, here while the monitor does.
#include "devices/lapic.hpp"

namespace horos::vmm {
namespace {

constexpr u32 word_of(ApicRegister reg, u32 index = 0) {
    return (static_cast<u32>(reg) + index) * 4;
}
constexpr u32 x2apic_first = 0x800, last_register = 0x3f;

} // namespace

void Lapic::write_vectors(std::span<u32> page) const {
    for (u32 i = 0; i < 8; ++i) {
        page[word_of(ApicRegister::in_service, i)] = service_.word32(i);
        page[word_of(ApicRegister::trigger_mode, i)] = trigger_.word32(i);
        page[word_of(ApicRegister::request, i)] = request_.word32(i);
    }
    page[word_of(ApicRegister::task_priority)] = task_priority_;
}

void Lapic::write_registers(std::span<u32> page, Ticks now) {
    for (u32 number = 0; number <= last_register; ++number) {
        const u64 value = x2apic() ? msr_read(x2apic_first + number, now).value_or(0)
                                   : mmio_read(number << 4, now);
        page[number * 4] = static_cast<u32>(value);
        page[number * 4 + 1] = static_cast<u32>(value >> 32); // of the interrupt command
    }
}

void Lapic::take_vectors(std::span<const u32> page) {
    for (u32 i = 0; i < 8; ++i) {
        service_.set_word32(i, page[word_of(ApicRegister::in_service, i)]);
        request_.set_word32(i, page[word_of(ApicRegister::request, i)]);
    }
    task_priority_ = page[word_of(ApicRegister::task_priority)] & 0xff;
}

u32 Lapic::interrupt_status() const {
    const int requested = request_.highest(), serving = service_.highest();
    return static_cast<u32>(requested < 0 ? 0 : requested) |
           static_cast<u32>(serving < 0 ? 0 : serving) << 8;
}

} // namespace horos::vmm
