#include "report.hpp"

#include <cstring>

namespace horos::explain {

namespace {

using namespace model::svm;

std::string outcome_text(const RuleInfo& rule) {
    if (rule.outcome == OutcomeKind::INVALID) {
        return "#VMEXIT(VMEXIT_INVALID)";
    }
    return rule.fault == x86::Vector::UD ? "#UD in the host" : "#GP(0) in the host";
}

BrokenRule broken(const RuleInfo& rule, const RuleState& state) {
    BrokenRule b{std::string(rule.name),
                 static_cast<unsigned>(rule.id),
                 std::string(rule.title),
                 std::string(rule.section),
                 outcome_text(rule),
                 std::string(rule.repair),
                 {}};
    for (const RuleField field : rule.fields) {
        const RuleFieldInfo& info = rule_field(field);
        b.fields.push_back({std::string(info.name), state[field], info.bytes});
    }
    return b;
}

} // namespace

Explanation explain(const Input& input, const Profile& profile, bool want_repair) {
    const FlatMemory no_memory(0, {});
    Machine machine;
    machine.profile = &profile;
    machine.vmcb = input.vmcb.get();
    machine.memory = &no_memory;
    machine.host = input.host;
    const RuleState state = extract(machine);
    const RuleSet set = broken_rules(state, Params(profile));

    Explanation e;
    e.profile = profile.name;
    e.instruction = "VMRUN";
    e.notes = input.notes;
    for (const RuleInfo& rule : all_rules()) {
        if (set[static_cast<size_t>(rule.id)]) {
            (rule.strength == Strength::MUST ? e.must : e.may).push_back(broken(rule, state));
        }
    }
    if (!e.valid() && want_repair) {
        const Repair repair = smallest_repair(state, profile);
        for (const RuleField field : repair.changed) {
            const RuleFieldInfo& info = rule_field(field);
            e.repair.push_back(
                {std::string(info.name), state[field], repair.state[field], info.bytes});
        }
        e.repair_bits = repair.bits;
    }
    if (e.valid()) {
        e.state = describe_state(*input.vmcb, profile);
    }
    e.remarks = remarks_on(*input.vmcb, profile);
    return e;
}

} // namespace horos::explain
