// Names for reports (APM vol. 2 rev. 3.42 appendix C).
#include "horos/model/svm/predict.hpp"

#include <fmt/core.h>

namespace horos::model::svm {

namespace {

constexpr std::string_view FROM_60[] = {"INTR",        "NMI",        "SMI",
                                        "INIT",        "VINTR",      "CR0_SEL_WRITE",
                                        "IDTR_READ",   "GDTR_READ",  "LDTR_READ",
                                        "TR_READ",     "IDTR_WRITE", "GDTR_WRITE",
                                        "LDTR_WRITE",  "TR_WRITE",   "RDTSC",
                                        "RDPMC",       "PUSHF",      "POPF",
                                        "CPUID",       "RSM",        "IRET",
                                        "SWINT",       "INVD",       "PAUSE",
                                        "HLT",         "INVLPG",     "INVLPGA",
                                        "IOIO",        "MSR",        "TASK_SWITCH",
                                        "FERR_FREEZE", "SHUTDOWN",   "VMRUN",
                                        "VMMCALL",     "VMLOAD",     "VMSAVE",
                                        "STGI",        "CLGI",       "SKINIT",
                                        "RDTSCP",      "ICEBP",      "WBINVD",
                                        "MONITOR",     "MWAIT",      "MWAIT_CONDITIONAL",
                                        "XSETBV",      "RDPRU",      "EFER_WRITE_TRAP"};
constexpr std::string_view FROM_A0[] = {"INVLPGB", "INVLPGB_ILLEGAL", "INVPCID", "MCOMMIT",
                                        "TLBSYNC", "BUSLOCK",         "IDLE_HLT"};
constexpr std::string_view FROM_400[] = {"NPF", "AVIC_INCOMPLETE_IPI", "AVIC_NOACCEL", "VMGEXIT"};

} // namespace

std::string exit_code_name(ExitCode code) {
    const auto n = static_cast<uint64_t>(code);
    switch (code) {
    case ExitCode::INVALID:
        return "VMEXIT_INVALID";
    case ExitCode::BUSY:
        return "VMEXIT_BUSY";
    case ExitCode::IDLE_REQUIRED:
        return "VMEXIT_IDLE_REQUIRED";
    case ExitCode::INVALID_PMC:
        return "VMEXIT_INVALID_PMC";
    default:
        break;
    }
    if (n < 0x10) {
        return fmt::format("VMEXIT_CR{}_READ", n);
    }
    if (n < 0x20) {
        return fmt::format("VMEXIT_CR{}_WRITE", n - 0x10);
    }
    if (n < 0x30) {
        return fmt::format("VMEXIT_DR{}_READ", n - 0x20);
    }
    if (n < 0x40) {
        return fmt::format("VMEXIT_DR{}_WRITE", n - 0x30);
    }
    if (n < 0x60) {
        return fmt::format("VMEXIT_EXCP{}", n - 0x40);
    }
    if (n < 0x90) {
        return fmt::format("VMEXIT_{}", FROM_60[n - 0x60]);
    }
    if (n < 0xa0) {
        return fmt::format("VMEXIT_CR{}_WRITE_TRAP", n - 0x90);
    }
    if (n >= 0xa0 && n < 0xa0 + std::size(FROM_A0)) {
        return fmt::format("VMEXIT_{}", FROM_A0[n - 0xa0]);
    }
    if (n >= 0x400 && n < 0x400 + std::size(FROM_400)) {
        return fmt::format("VMEXIT_{}", FROM_400[n - 0x400]);
    }
    return fmt::format("VMEXIT_{:#x}", n);
}

std::string_view kind_name(OutcomeKind kind) {
    switch (kind) {
    case OutcomeKind::FAULT:
        return "fault";
    case OutcomeKind::INVALID:
        return "invalid";
    case OutcomeKind::EXIT:
        return "exit";
    case OutcomeKind::HALTED:
        return "halted";
    case OutcomeKind::SHUTDOWN:
        return "shutdown";
    case OutcomeKind::RUNS_ON:
        return "runs-on";
    case OutcomeKind::UNSPECIFIED:
        return "unspecified";
    }
    return "?";
}

std::string_view gpr_name(Gpr gpr) {
    static constexpr std::string_view NAMES[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp",
                                                 "rsi", "rdi", "r8",  "r9",  "r10", "r11",
                                                 "r12", "r13", "r14", "r15"};
    return NAMES[static_cast<size_t>(gpr)];
}

} // namespace horos::model::svm
