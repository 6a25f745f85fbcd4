#include "horos/model/vmx/names.hpp"

#include <fmt/core.h>

namespace horos::model::vmx {

using horos::vmx::EntryFailure;
using horos::vmx::ExitReason;
using horos::vmx::InstructionError;

std::string_view instruction_error_text(InstructionError error) {
    switch (error) {
    case InstructionError::NONE:
        return "no error";
    case InstructionError::VMCALL_IN_ROOT:
        return "VMCALL in VMX root operation";
    case InstructionError::VMCLEAR_ADDRESS:
        return "VMCLEAR of an invalid address";
    case InstructionError::VMCLEAR_VMXON_POINTER:
        return "VMCLEAR of the VMXON region";
    case InstructionError::VMLAUNCH_NOT_CLEAR:
        return "VMLAUNCH of a VMCS that is not clear";
    case InstructionError::VMRESUME_NOT_LAUNCHED:
        return "VMRESUME of a VMCS that was not launched";
    case InstructionError::VMRESUME_AFTER_VMXOFF:
        return "VMRESUME after VMXOFF";
    case InstructionError::ENTRY_CONTROLS:
        return "invalid control fields";
    case InstructionError::ENTRY_HOST_STATE:
        return "invalid host state";
    case InstructionError::VMPTRLD_ADDRESS:
        return "VMPTRLD of an invalid address";
    case InstructionError::VMPTRLD_VMXON_POINTER:
        return "VMPTRLD of the VMXON region";
    case InstructionError::VMPTRLD_REVISION:
        return "VMPTRLD of a wrong revision identifier";
    case InstructionError::UNSUPPORTED_FIELD:
        return "VMREAD or VMWRITE of a field that is not there";
    case InstructionError::VMWRITE_READ_ONLY:
        return "VMWRITE of a read-only field";
    case InstructionError::VMXON_IN_ROOT:
        return "VMXON in VMX root operation";
    case InstructionError::ENTRY_EXECUTIVE_POINTER:
        return "invalid executive-VMCS pointer";
    case InstructionError::ENTRY_EXECUTIVE_NOT_LAUNCHED:
        return "executive VMCS not launched";
    case InstructionError::ENTRY_EXECUTIVE_NOT_VMXON:
        return "executive-VMCS pointer is not the VMXON pointer";
    case InstructionError::VMCALL_NOT_CLEAR:
        return "VMCALL with a VMCS that is not clear";
    case InstructionError::VMCALL_EXIT_CONTROLS:
        return "VMCALL with invalid VM-exit controls";
    case InstructionError::VMCALL_MSEG_REVISION:
        return "VMCALL with a wrong MSEG revision identifier";
    case InstructionError::VMXOFF_DUAL_MONITOR:
        return "VMXOFF under dual-monitor treatment";
    case InstructionError::VMCALL_SMM_FEATURES:
        return "VMCALL with invalid SMM-monitor features";
    case InstructionError::ENTRY_EXECUTIVE_CONTROLS:
        return "invalid VM-execution controls in the executive VMCS";
    case InstructionError::ENTRY_BLOCKED_BY_MOV_SS:
        return "events are blocked by MOV SS";
    case InstructionError::INVEPT_INVVPID_OPERAND:
        return "invalid operand of INVEPT or INVVPID";
    }
    return "undefined error";
}

std::string failure_text(const Failure& failure) {
    switch (failure.kind) {
    case FailureKind::UD:
        return "#UD";
    case FailureKind::GP:
        return "#GP(0)";
    case FailureKind::VMFAIL_INVALID:
        return "VMfailInvalid";
    case FailureKind::VMFAIL_VALID:
        return fmt::format("VMfailValid, error {}: {}", static_cast<unsigned>(failure.error),
                           instruction_error_text(failure.error));
    case FailureKind::ENTRY_FAILURE:
        break;
    }
    return fmt::format("exit 33 (entry failure), qualification {}",
                       static_cast<unsigned>(failure.qualification));
}

std::string exit_reason_name(uint32_t basic_reason) {
    static constexpr std::string_view NAMES[] = {"exception or NMI",
                                                 "external interrupt",
                                                 "triple fault",
                                                 "INIT",
                                                 "SIPI",
                                                 "I/O SMI",
                                                 "other SMI",
                                                 "interrupt window",
                                                 "NMI window",
                                                 "task switch",
                                                 "CPUID",
                                                 "GETSEC",
                                                 "HLT",
                                                 "INVD",
                                                 "INVLPG",
                                                 "RDPMC",
                                                 "RDTSC",
                                                 "RSM",
                                                 "VMCALL",
                                                 "VMCLEAR",
                                                 "VMLAUNCH",
                                                 "VMPTRLD",
                                                 "VMPTRST",
                                                 "VMREAD",
                                                 "VMRESUME",
                                                 "VMWRITE",
                                                 "VMXOFF",
                                                 "VMXON",
                                                 "CR access",
                                                 "MOV DR",
                                                 "I/O instruction",
                                                 "RDMSR",
                                                 "WRMSR",
                                                 "entry failure: guest state",
                                                 "entry failure: MSR loading",
                                                 "",
                                                 "MWAIT",
                                                 "monitor trap flag",
                                                 "",
                                                 "MONITOR",
                                                 "PAUSE",
                                                 "entry failure: machine check",
                                                 "",
                                                 "TPR below threshold",
                                                 "APIC access",
                                                 "virtualized EOI",
                                                 "GDTR or IDTR access",
                                                 "LDTR or TR access",
                                                 "EPT violation",
                                                 "EPT misconfiguration",
                                                 "INVEPT",
                                                 "RDTSCP",
                                                 "preemption timer",
                                                 "INVVPID",
                                                 "WBINVD",
                                                 "XSETBV",
                                                 "APIC write",
                                                 "RDRAND",
                                                 "INVPCID",
                                                 "VMFUNC",
                                                 "ENCLS",
                                                 "RDSEED",
                                                 "PML full",
                                                 "XSAVES",
                                                 "XRSTORS",
                                                 "PCONFIG",
                                                 "SPP event",
                                                 "UMWAIT",
                                                 "TPAUSE",
                                                 "LOADIWKEY",
                                                 "ENCLV"};
    if (basic_reason < std::size(NAMES) && !NAMES[basic_reason].empty()) {
        return std::string(NAMES[basic_reason]);
    }
    return fmt::format("reason {}", basic_reason);
}

} // namespace horos::model::vmx
