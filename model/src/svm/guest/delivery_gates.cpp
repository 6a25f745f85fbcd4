#include "guest/delivery_gates.hpp"

namespace horos::model::svm::guest {

using x86::Vector;
namespace seg_bits = x86::seg;

uint32_t selector_error(const Cpu& cpu, const Event& event, uint16_t selector) {
    const bool injected_trap =
        event.injected && event.checks_dpl && event.type == EventType::EXCEPTION;
    const bool external =
        !event.checks_dpl || (injected_trap && cpu.deviates(Deviation::EXT_OF_INJECTED));
    const bool ext =
        external && event.type != EventType::SOFTWARE_INTERRUPT && !cpu.deviates(Deviation::NO_EXT);
    return (selector & 0xfffcu) | (ext ? 1u : 0u);
}
uint32_t gate_error(const Cpu& cpu, const Event& event) {
    const bool doubled =
        cpu.long_mode() && event.vector != 0 && cpu.deviates(Deviation::IDT_ERROR_TIMES_16);
    return event.vector * (doubled ? 16u : 8u) + 2u + (selector_error(cpu, event, 0) & 1);
}

Descriptor handler_code(Cpu& cpu, const Event& event, uint16_t selector, bool wants_64bit) {
    if ((selector & 0xfffc) == 0) {
        throw fault(Vector::GP, selector_error(cpu, event, 0));
    }
    const uint32_t error = selector_error(cpu, event, selector);
    const Descriptor code = read_descriptor(cpu, selector, Vector::GP, error);
    if (!code.code() || code.dpl() > cpu.cpl) {
        throw fault(Vector::GP, error);
    }
    const uint16_t width = code.attributes() & (seg_bits::L | seg_bits::DB);
    if (wants_64bit && width != seg_bits::L) {
        throw fault(Vector::GP, error);
    }
    if (!code.present()) {
        throw fault(Vector::NP, error);
    }
    if (!code.accessed()) {
        throw Open{"a descriptor whose accessed bit has to be set"};
    }
    return code;
}

void check_tss(const Cpu& cpu, bool by_type) {
    if ((cpu.tr.attributes & seg_bits::P) == 0 && cpu.deviates(Deviation::TSS_ABSENT_ABORT)) {
        throw Open{"dies: invalid tss"};
    }
    // The manual's own answer is the base and the limit that TR holds.
    if ((cpu.tr.attributes & seg_bits::P) == 0 && cpu.deviates(Deviation::TSS_ABSENT_PANIC)) {
        throw Open{"dies: from_TSS: TR.cache invalid"};
    }
    const bool tss = (cpu.tr.attributes & 0x5) == 1; // available or busy, 16 or 32 bits
    if (by_type && !tss && cpu.deviates(Deviation::TSS_TYPE_PANIC)) {
        throw Open{"dies: TR is bogus type"};
    }
    if (!is_segment(cpu.tr) && !is_system_segment(cpu.tr) &&
        cpu.deviates(Deviation::SEGMENT_KINDS)) {
        throw Open{"a TSS whose base is not loaded"};
    }
    if (by_type && (cpu.tr.attributes & 7) != 1 && cpu.deviates(Deviation::TSS_TYPE_ABORT)) {
        throw Open{"dies: invalid tss type"};
    }
}

} // namespace horos::model::svm::guest
