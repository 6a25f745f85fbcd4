// The instructions that SVM can intercept, as a table: what is checked before the intercept, the
// intercept, what is checked or done after it (APM vol. 2 rev. 3.42 table 15-7).
#pragma once

#include "guest/cpu.hpp"

namespace horos::model::svm::guest {

// Where the intercept bit is: word 3, 4 or 5 of the control area.
struct Intercept {
    uint8_t word = 0; // 0: none (the handler looks by itself)
    uint8_t bit = 0;
};
constexpr Intercept at(horos::svm::Misc1 b) { return {3, static_cast<uint8_t>(b)}; }
constexpr Intercept at(horos::svm::Misc2 b) { return {4, static_cast<uint8_t>(b)}; }
constexpr Intercept at(horos::svm::Misc3 b) { return {5, static_cast<uint8_t>(b)}; }

struct SensitiveRow {
    ZydisMnemonic mnemonic;
    // Exceptions that come before the intercept; may throw anything.
    void (*before)(Cpu&, const Insn&);
    Intercept intercept;
    ExitCode code;
    // Fills EXITINFO1/2; nullptr: both undefined.
    void (*info)(Cpu&, const Insn&, Exit&);
    // Exceptions that come after the intercept, and the execution. Sets RIP.
    void (*execute)(Cpu&, const Insn&);
};

bool is_intercepted(const Cpu& cpu, Intercept intercept);
[[noreturn]] void exit_instruction(Cpu& cpu, ExitCode code, Masked info1 = {0, 0},
                                   Masked info2 = {0, 0});

// Tables by concern.
std::span<const SensitiveRow> system_rows();     // insn_system.cpp
std::span<const SensitiveRow> control_rows();    // insn_control.cpp: CR, DR, LMSW, ...
std::span<const SensitiveRow> io_rows();         // insn_io.cpp: IN, OUT, INS, OUTS
std::span<const SensitiveRow> msr_rows();        // insn_msr.cpp
std::span<const SensitiveRow> event_rows();      // insn_event.cpp: INTn, IRET, PUSHF, ...
std::span<const SensitiveRow> svm_rows();        // insn_svm.cpp: VMRUN ... SKINIT
std::span<const SensitiveRow> descriptor_rows(); // insn_descriptor.cpp: GDTR, IDTR, LDTR, TR

// Of the I/O and MSR maps. The low 12 bits are ignored (§15.10.1, §15.11).
uint64_t map_base(const Cpu& cpu, uint64_t base);

// Shared checks.
void no_checks(Cpu&, const Insn&);
void need_cpl0(Cpu&, const Insn&);
bool umip_refuses(const Cpu& cpu);
void skip_intercept(Cpu& cpu); // what `before` calls when the part looked at another bit
void advance(Cpu& cpu, const Insn& insn);
void nothing(Cpu& cpu, const Insn& insn); // executes without a visible effect

} // namespace horos::model::svm::guest
