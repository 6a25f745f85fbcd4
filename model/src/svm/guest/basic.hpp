// Plain integer instructions: enough to write the short programs that lead to an exit.
#pragma once

#include "guest/cpu.hpp"

namespace horos::model::svm::guest {

bool execute_mov_control(Cpu& cpu, const Insn& insn);  // insn_control.cpp
void execute_far_transfer(Cpu& cpu, const Insn& insn); // insn_event.cpp: task switches

} // namespace horos::model::svm::guest
