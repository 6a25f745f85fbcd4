// A sequence of VMX instructions, step by step beside the model's state machine.
#include "judge.hpp"

#include "horos/model/vmx/names.hpp"

#include <fmt/core.h>

namespace horos::fuzz::vmx {

namespace {

using namespace model::vmx;
using horos::vmx::InstructionError;

struct Seen {
    uint32_t outcome;
    uint32_t error;
    uint64_t value;
};
std::string seen_text(const Seen& s) {
    switch (s.outcome) {
    case FAIL_INVALID:
        return "VMfailInvalid";
    case FAIL_VALID:
        return fmt::format("VMfailValid {}", s.error);
    case EXITED:
        return fmt::format("exit {:#x}", s.value);
    case SUCCEEDED:
        return fmt::format("succeeds, value {:#x}", s.value);
    default:
        return fmt::format("fault, vector {}", s.outcome - FAULT);
    }
}
std::string expected_text(const Completion& c) {
    switch (c.status) {
    case Completion::SUCCEED:
        return fmt::format("succeeds, value {:#x}", c.value);
    case Completion::VMFAIL_INVALID:
        return "VMfailInvalid";
    case Completion::VMFAIL_VALID:
        return fmt::format("VMfailValid {}", unsigned(c.error));
    case Completion::UD:
        return "#UD";
    case Completion::GP:
        return "#GP(0)";
    case Completion::ENTERS:
        return "enters";
    case Completion::ENTRY_FAILURE:
        return "exit 0x80000021";
    case Completion::OPEN:
        return "open";
    }
    return "";
}

std::string class_of(const std::string& text) { return text.substr(0, text.find(',')); }

bool allows(const Request& r, const Completion& c, const Seen& s) {
    switch (c.status) {
    case Completion::SUCCEED: {
        const bool has_value =
            r.instruction == Instruction::VMREAD || r.instruction == Instruction::VMPTRST;
        return s.outcome == SUCCEEDED && (!has_value || !c.known || s.value == c.value);
    }
    case Completion::VMFAIL_INVALID:
        return s.outcome == FAIL_INVALID;
    case Completion::VMFAIL_VALID: {
        bool right = s.error == uint32_t(c.error);
        for (const Failure& failure : c.failures.allowed) {
            right = right || s.error == uint32_t(failure.error);
        }
        return s.outcome == FAIL_VALID && right;
    }
    case Completion::UD:
        return s.outcome == FAULT + 6;
    case Completion::GP:
        return s.outcome == FAULT + 13;
    case Completion::ENTERS:
        return s.outcome == EXITED && (s.value >> 31 & 1) == 0;
    case Completion::ENTRY_FAILURE:
        return s.outcome == EXITED && s.value == 0x80000021;
    case Completion::OPEN:
        return true;
    }
    return false;
}

Operation beginning(const Profile& profile, const HostValues& host) {
    Operation op(profile);
    op.cpu.cr0 = host.cr0;
    op.cpu.cr4 = host.cr4;
    op.cpu.efer = host.efer;
    op.vmx_operation = true;
    op.vmxon_pointer = VMXON_PA;
    op.regions[VMXON_PA].revision = profile.revision();
    for (unsigned n = 0; n < SEQUENCE_REGIONS; ++n) {
        op.regions[SEQUENCE_PA + n * 4096].revision = profile.revision();
    }
    return op;
}

void fill(Operation& op, const Test& test, const Profile& profile) {
    for (const FieldInfo& field : vmcs_fields()) {
        if (horos::vmx::type(field.field) != horos::vmx::FieldType::READ_ONLY &&
            field.needs.met(profile)) {
            op.execute(
                {Instruction::VMWRITE, horos::vmx::encoding(field.field), test.state[field.field]});
        }
    }
}

} // namespace

Verdict judge_sequence(const Test& test, const Profile& profile, const HostValues& host,
                       const Result& result, const Fault* fault) {
    Operation op = beginning(profile, host);
    Verdict verdict;
    for (size_t n = 0; n < test.steps.size(); ++n) {
        const Operand& step = test.steps[n];
        if (step.instruction == STEP_REVISION && op.current == step.operand) {
            verdict.open = true; // §24.11.1: software shall not write to a VMCS that is current
            return verdict;
        }
        if (step.instruction == STEP_REVISION) {
            op.regions[step.operand].revision = uint32_t(step.value);
            continue;
        }
        if (step.instruction == STEP_FILL) {
            fill(op, test, profile);
            continue;
        }
        Request request;
        request.instruction = Instruction(step.instruction);
        request.operand = step.operand;
        request.value = step.value;
        request.value2 = step.value2;
        request.mov_ss = step.mov_ss != 0;
        Completion c = op.execute(request);
        if (fault != nullptr && fault->step) {
            fault->step(request, c);
        }
        const std::string name(instruction_name(request.instruction));
        verdict.path.push_back(fmt::format(
            "{}: {}", name, c.status == Completion::SUCCEED ? "succeeds" : expected_text(c)));
        const Seen seen{uint32_t(result.value[n * 2]), uint32_t(result.value[n * 2] >> 32),
                        result.value[n * 2 + 1]};
        if (c.status == Completion::OPEN) {
            verdict.open = true;
            return verdict; // what follows depends on it
        }
        if (!allows(request, c, seen)) {
            // The classes make the cluster; the values are in the example.
            const bool value = c.status == Completion::SUCCEED && seen.outcome == SUCCEEDED;
            Divergence d{value ? "value"
                               : fmt::format("{}, not {}", class_of(seen_text(seen)),
                                             class_of(expected_text(c))),
                         expected_text(c), fmt::format("{} (step {})", seen_text(seen), n)};
            d.where = name;
            verdict.divergence = d;
            return verdict;
        }
        if (c.status == Completion::ENTERS) {
            op.left_guest(nullptr);
        }
    }
    return verdict;
}

} // namespace horos::fuzz::vmx
