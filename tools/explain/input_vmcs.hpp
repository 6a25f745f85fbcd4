// Reading a VMCS: the text that Linux KVM's dump_vmcs (and Xen's) prints to the log, or JSON.
#pragma once

#include "input.hpp"

#include "horos/model/vmx/rules.hpp"

#include <string_view>

namespace horos::explain {

struct VmcsInput {
    model::vmx::RuleState state;
    std::string profile; // named by the input itself; may be empty
    std::vector<std::string> notes;
};

bool looks_like_vmcs_dump(std::string_view text);
bool looks_like_vmcs_json(std::string_view text); // has a member "guest", "info" or "machine"

VmcsInput read_vmcs_dump(const std::string& text, const std::string& name);
VmcsInput read_vmcs_json(const std::string& text, const std::string& name);

// The machine that executes VMLAUNCH, where the input does not say: a 64-bit hypervisor in VMX
// operation. Memory that a dump does not hold is taken to break no rule.
void assume_machine(model::vmx::RuleState& state);

} // namespace horos::explain
