// MOV to and from control and debug registers.
#pragma once

#include "guest/cpu.hpp"

namespace horos::model::svm::guest {

// The source of MOV CRn and DRn: 32 bits outside 64-bit mode (vol. 3).
uint64_t moved_value(Cpu& cpu, ZydisRegister gpr);
void move_dr(Cpu& cpu, const Insn& insn, bool write, unsigned n, ZydisRegister gpr);

} // namespace horos::model::svm::guest
