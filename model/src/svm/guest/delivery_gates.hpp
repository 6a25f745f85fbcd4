// What deliveries through the IDT share, in long mode and legacy protected mode.
#pragma once

#include "guest/descriptor.hpp"

namespace horos::model::svm::guest {

// Error code of a fault during delivery: the selector, with EXT unless an instruction asked.
uint32_t selector_error(const Cpu& cpu, const Event& event, uint16_t selector);
uint32_t gate_error(const Cpu& cpu, const Event& event);
// The handler's code segment (§8.9.3, §8.7.3).
Descriptor handler_code(Cpu& cpu, const Event& event, uint16_t selector, bool wants_64bit);
// Deviations TSS_ABSENT_ABORT and TSS_TYPE_ABORT, where a stack comes from the TSS.
void check_tss(const Cpu& cpu, bool by_type);

// Runs `body` at another privilege level; undone if it throws.
template <class Body>
void at_cpl(Cpu& cpu, uint8_t level, Body body) {
    const uint8_t old = cpu.cpl;
    cpu.cpl = level;
    try {
        body();
    } catch (...) {
        cpu.cpl = old;
        throw;
    }
}

} // namespace horos::model::svm::guest
