#include "clusters.hpp"

#include <fmt/core.h>

namespace horos::fuzz::vmx {

using namespace model::vmx;

std::string rule_names(const RuleSet& broken) {
    std::string list;
    for (const RuleInfo& rule : all_rules()) {
        if (broken[size_t(rule.id)]) {
            list += (list.empty() ? "" : "+") + rule.name;
        }
    }
    return list;
}

std::string code_text(const GuestPart& guest) {
    std::string text;
    for (unsigned n = 0; n < 12; ++n) {
        text += fmt::format("{:02x}", guest.code[n]);
    }
    return text;
}

std::string raw_key(const Test& test, const Divergence& d, const Profile& profile) {
    if (!d.overlooked.empty()) {
        return "overlooked | " + d.overlooked;
    }
    if (!d.where.empty()) {
        return fmt::format("{} | {} | {}", kind_name(test.kind), d.where, d.what);
    }
    return d.what + " | " + rule_names(broken_rules(test.state, profile));
}

std::vector<std::string> changed_inputs(const Test& test, const RuleState& base) {
    std::vector<std::string> changed;
    for (const InputInfo& input : rule_inputs()) {
        if (test.state.value[input.input] != base.value[input.input]) {
            changed.push_back(fmt::format("{} = {:#x} (from {:#x})", input.name,
                                          test.state.value[input.input], base.value[input.input]));
        }
    }
    if (test.kind == Kind::GUEST) {
        changed.push_back("code = " + code_text(test.guest));
        for (unsigned n = 0; n < test.guest.pokes; ++n) {
            changed.push_back(fmt::format("memory {:#x} = {:#x}", test.guest.poke[n].address,
                                          test.guest.poke[n].value));
        }
        for (unsigned n = 0; n < 16; ++n) {
            if (test.guest.gpr[n] != 0) {
                changed.push_back(fmt::format("gpr {} = {:#x}", n, test.guest.gpr[n]));
            }
        }
    }
    const Twice& t = test.twice;
    for (unsigned n = 0; n < t.edits; ++n) {
        changed.push_back(
            fmt::format("at first: memory {:#x} = {:#x}", t.edit[n].address, t.edit[n].value));
    }
    for (unsigned n = 0; n < t.fields; ++n) {
        changed.push_back(
            fmt::format("at first: field {:#x} = {:#x}", t.field[n].address, t.field[n].value));
    }
    if (t.instruction != TWICE_NONE) {
        changed.push_back(fmt::format("then {} type {}, {:#x}, {:#x}",
                                      t.instruction == TWICE_INVEPT ? "INVEPT" : "INVVPID", t.type,
                                      t.operand, t.linear));
    }
    for (const Operand& step : test.steps) {
        const std::string name = step.instruction == STEP_FILL ? "write all fields"
                                 : step.instruction == STEP_REVISION
                                     ? "write the revision"
                                     : std::string(instruction_name(Instruction(step.instruction)));
        changed.push_back(fmt::format("{} {:#x}, {:#x}, {:#x}{}", name, step.operand, step.value,
                                      step.value2, step.mov_ss != 0 ? ", after MOV SS" : ""));
    }
    return changed;
}

std::vector<std::string> saved_fields(const Result& result, const Profile& profile) {
    std::vector<std::string> saved;
    if (result.outcome != EXITED) {
        return saved;
    }
    for (const FieldInfo& field : vmcs_fields()) {
        const std::string_view name = field.name;
        if (field.needs.met(profile) && !name.starts_with("control.") &&
            !name.starts_with("host.")) {
            saved.push_back(fmt::format("{} = {:#x}", name, at(result, field.field)));
        }
    }
    for (unsigned n = 0; n < 16; ++n) {
        saved.push_back(fmt::format("gpr {} = {:#x}", n, result.gpr[n]));
    }
    return saved;
}

Cluster make_cluster(const Test& test, const Divergence& d, const RuleState& base,
                     const Profile& profile) {
    Cluster cluster;
    cluster.divergence = d;
    cluster.test = test;
    cluster.changed = changed_inputs(test, base);
    cluster.key = raw_key(test, d, profile);
    if (d.overlooked.empty() && d.where.empty() &&
        broken_rules(test.state, profile).none()) { // no rule names the cause: the inputs do
        std::string fields;
        for (const InputInfo& input : rule_inputs()) {
            if (test.state.value[input.input] != base.value[input.input]) {
                fields += (fields.empty() ? "" : "+") + std::string(input.name);
            }
        }
        cluster.key = d.what + " | valid: " + fields;
    }
    return cluster;
}

} // namespace horos::fuzz::vmx
