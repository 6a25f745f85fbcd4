// Plain integer instructions: enough to write the short programs that lead to an exit.
#pragma once

#include "guest/cpu.hpp"

namespace horos::model::svm::guest {

bool execute_mov_control(Cpu& cpu, const Insn& insn);  // insn_control.cpp
void execute_far_transfer(Cpu& cpu, const Insn& insn); // insn_event.cpp: task switches

constexpr uint64_t width_mask(unsigned bits) { return bits >= 64 ? ~0ull : (1ull << bits) - 1; }

// How much a near push, pop, call or return moves.
inline unsigned stack_bytes(const Cpu& cpu, const Insn& insn) {
    return cpu.code64() ? (insn.operand_bits() == 16 ? 2 : 8) : insn.operand_bits() / 8;
}

// insn_segment.cpp: MOV and POP of a segment register other than CS.
void load_segment(Cpu& cpu, SegReg r, uint16_t selector);

// insn_flow.cpp: sets RIP itself; false: it is no such instruction.
bool execute_flow(Cpu& cpu, const Insn& insn);
// Where an instruction that is no branch goes on.
uint64_t next_in_sequence(Cpu& cpu, const Insn& insn);

} // namespace horos::model::svm::guest
