#include "guest/delivery_gates.hpp"

namespace horos::model::svm::guest {

using x86::Vector;
namespace seg_bits = x86::seg;

uint32_t selector_error(const Cpu& cpu, const Event& event, uint16_t selector) {
    const bool ext = !event.checks_dpl && event.type != EventType::SOFTWARE_INTERRUPT &&
                     !cpu.deviates(Deviation::NO_EXT);
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
    return code;
}

void check_tss(const Cpu& cpu, bool by_type) {
    if ((cpu.tr.attributes & seg_bits::P) == 0 && cpu.deviates(Deviation::TSS_ABSENT_ABORT)) {
        throw Open{"dies: invalid tss"};
    }
    if (by_type && (cpu.tr.attributes & 7) != 1 && cpu.deviates(Deviation::TSS_TYPE_ABORT)) {
        throw Open{"dies: invalid tss type"};
    }
}

} // namespace horos::model::svm::guest
