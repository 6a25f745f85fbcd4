// The rules on numbers: evaluation, outcome, repair.
#include "horos/model/vmx/rule_repair.hpp"

#include <algorithm>

namespace horos::model::vmx {

namespace {

RuleInputs<Concrete> concrete(const RuleState& state) {
    RuleInputs<Concrete> in;
    for (size_t i = 0; i < INPUTS; ++i) {
        in.value[i] = {state.value[i]};
    }
    return in;
}
RuleState numbers(const RuleInputs<Concrete>& in) {
    RuleState state;
    for (size_t i = 0; i < INPUTS; ++i) {
        state.value[i] = in.value[i].value;
    }
    return state;
}

struct ExtraRow {
    Extra extra;
    const char* name;
    InputPlace place;
    unsigned bits;
    const char* section;
};
constexpr ExtraRow EXTRAS[] = {
    {Extra::VMX_OPERATION, "machine.vmx_operation", InputPlace::MACHINE, 1, "§23.2"},
    {Extra::CPL, "machine.cpl", InputPlace::MACHINE, 2, "§30.3"},
    {Extra::CR0, "machine.cr0", InputPlace::MACHINE, 64, "§30.3"},
    {Extra::RFLAGS, "machine.rflags", InputPlace::MACHINE, 64, "§30.3"},
    {Extra::EFER, "machine.efer", InputPlace::MACHINE, 64, "§26.2.4"},
    {Extra::CS_L, "machine.cs_l", InputPlace::MACHINE, 1, "§30.3"},
    {Extra::CURRENT_VMCS, "machine.current_vmcs", InputPlace::MACHINE, 64, "§24.1"},
    {Extra::SHADOW_VMCS, "machine.shadow_vmcs", InputPlace::MACHINE, 1, "§24.10"},
    {Extra::MOV_SS, "machine.blocking_by_mov_ss", InputPlace::MACHINE, 1, "§26.1"},
    {Extra::LAUNCHED, "machine.launched", InputPlace::MACHINE, 1, "§24.1"},
    {Extra::VMRESUME, "machine.vmresume", InputPlace::MACHINE, 1, "§30.3"},
    {Extra::VTPR, "memory.vtpr", InputPlace::MEMORY, 8, "§29.1.1"},
    {Extra::LINK_REVISION, "memory.link_revision", InputPlace::MEMORY, 32, "§24.2"},
    {Extra::PDPTE0, "memory.pdpte0", InputPlace::MEMORY, 64, "§4.4.1"},
    {Extra::PDPTE1, "memory.pdpte1", InputPlace::MEMORY, 64, "§4.4.1"},
    {Extra::PDPTE2, "memory.pdpte2", InputPlace::MEMORY, 64, "§4.4.1"},
    {Extra::PDPTE3, "memory.pdpte3", InputPlace::MEMORY, 64, "§4.4.1"},
};
static_assert(std::size(EXTRAS) == static_cast<size_t>(Extra::COUNT));

std::vector<InputInfo> make_inputs() {
    std::vector<InputInfo> table(INPUTS);
    for (size_t i = 0; i < INPUTS; ++i) {
        table[i] = {i, "unused", InputPlace::VMCS, 0, ""};
    }
    for (const FieldInfo& field : vmcs_fields()) {
        table[input_of(field.field)] = {input_of(field.field), field.name, InputPlace::VMCS,
                                        field.bits, field.section};
    }
    for (const ExtraRow& row : EXTRAS) {
        table[input_of(row.extra)] = {input_of(row.extra), row.name, row.place, row.bits,
                                      row.section};
    }
    return table;
}

} // namespace

std::span<const InputInfo> rule_inputs() {
    static const std::vector<InputInfo> table = make_inputs();
    return table;
}

Vmcs vmcs_of(const RuleState& state) {
    Vmcs vmcs;
    std::copy_n(state.value.begin(), FIELD_SLOTS, vmcs.value.begin());
    return vmcs;
}
void put_vmcs(RuleState& state, const Vmcs& vmcs) {
    std::copy_n(vmcs.value.begin(), FIELD_SLOTS, state.value.begin());
}

bool rule_holds(RuleId id, const RuleState& state, const Profile& profile) {
    return evaluate_rule<Concrete>(id, concrete(state), profile).value;
}

bool rule_applies(RuleId id, const Profile& p) {
    switch (id) {
    case RuleId::EPTP_ACCESSED_DIRTY:
        return (p.ept_vpid & horos::vmx::ept_cap::ACCESSED_DIRTY) == 0 &&
               rule_info(id).needs.met(p);
    case RuleId::EPTP_SHADOW_STACK:
        return (p.ept_vpid & horos::vmx::ept_cap::SUPERVISOR_SHADOW_STACK) == 0 &&
               rule_info(id).needs.met(p);
    case RuleId::EVENT_ERROR_CODE_PRESENT:
        return (p.basic & horos::vmx::basic::ANY_ERROR_CODE) == 0;
    default:
        return rule_info(id).needs.met(p);
    }
}

RuleSet broken_rules(const RuleState& state, const Profile& profile) {
    const RuleInputs<Concrete> inputs = concrete(state);
    RuleSet broken;
    for (const RuleInfo& rule : all_rules()) {
        if (!evaluate_rule<Concrete>(rule.id, inputs, profile).value) {
            broken.set(static_cast<size_t>(rule.id));
        }
    }
    return broken;
}

namespace {
void add_failure(std::vector<Failure>& list, const Failure& failure) {
    if (std::find(list.begin(), list.end(), failure) == list.end()) {
        list.push_back(failure);
    }
}
// The instruction's own checks come in a fixed order (§30.3, VMLAUNCH/VMRESUME): the first counts.
bool instruction_failures(const RuleSet& broken, Failures& out) {
    for (const RuleInfo& rule : all_rules()) {
        if (rule.phase == Phase::INSTRUCTION && broken[static_cast<size_t>(rule.id)]) {
            out.allowed.push_back(rule.failure);
            return true;
        }
    }
    return false;
}
} // namespace

Failures failures_of(const RuleSet& broken) {
    Failures out;
    if (broken.none() || instruction_failures(broken, out)) {
        return out;
    }
    for (const bool guest : {false, true}) {
        bool must = false;
        for (const RuleInfo& rule : all_rules()) {
            const bool now =
                rule.phase != Phase::INSTRUCTION && (rule.phase == Phase::GUEST) == guest;
            if (now && broken[static_cast<size_t>(rule.id)]) {
                add_failure(out.allowed, rule.failure);
                must = must || rule.strength == Strength::MUST;
            }
        }
        if (must) {
            return out;
        }
    }
    out.may_enter = true; // only rules of strength MAY are broken
    return out;
}

RuleState repair(const RuleState& state, const Profile& profile) {
    return numbers(Repairer<Concrete>(concrete(state), profile).run());
}

RuleState repair_except(const RuleState& state, const Profile& profile, RuleId keep) {
    RuleSet skip;
    skip.set(static_cast<size_t>(keep));
    return numbers(Repairer<Concrete>(concrete(state), profile, skip).run());
}

} // namespace horos::model::vmx
