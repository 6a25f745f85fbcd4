// IRET without a task switch (APM vol. 3 "IRET, IRETD, IRETQ").
#pragma once

#include "guest/cpu.hpp"

namespace horos::model::svm::guest {

void iret_real(Cpu& cpu, const Insn& insn);
void iret_protected(Cpu& cpu, const Insn& insn);

} // namespace horos::model::svm::guest
