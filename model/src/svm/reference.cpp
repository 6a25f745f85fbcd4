#include "horos/model/svm/reference.hpp"

#include "horos/model/svm/fields.hpp"
#include "horos/model/svm/rules.hpp"

#include <fmt/core.h>

namespace horos::model::svm {

namespace {

std::string_view phase_name(Phase phase) {
    switch (phase) {
    case Phase::INSTRUCTION:
        return "instruction";
    case Phase::CONTROL:
        return "control area";
    case Phase::STATE:
        return "guest state";
    case Phase::MEMORY:
        return "memory that the state names";
    }
    return "?";
}

std::string outcome_name(const RuleInfo& rule) {
    if (rule.outcome == OutcomeKind::INVALID) {
        return "#VMEXIT(INVALID)";
    }
    return rule.fault == x86::Vector::UD ? "#UD in the host" : "#GP(0) in the host";
}

std::string applies_to(const RuleInfo& rule) {
    std::string list;
    for (const Profile& profile : builtin_profiles()) {
        if (rule_applies(rule.id, Params(profile))) {
            list += (list.empty() ? "" : ", ") + profile.name;
        }
    }
    return list.empty() ? "none of the built-in profiles" : list;
}

std::string_view use_name(FieldUse use) {
    switch (use) {
    case FieldUse::IN:
        return "in";
    case FieldUse::IN_OUT:
        return "in, out";
    case FieldUse::OUT:
        return "out";
    case FieldUse::EXTRA:
        return "VMLOAD, VMSAVE";
    case FieldUse::OPTION:
        return "with a feature";
    case FieldUse::RESERVED:
        return "reserved";
    }
    return "?";
}

} // namespace

std::string rules_markdown() {
    std::string text =
        "# The VMRUN rules\n\n"
        "Generated from the model's table (`model/src/svm/rules_table.cpp`) by\n"
        "`model_reference_test --write`; do not edit. A rule is what VMRUN checks before the "
        "guest\n"
        "runs. *must*: a processor that enters in spite of a broken rule is wrong. *may*: the "
        "manual\nleaves it open whether the processor refuses. The number is the one that the "
        "kernel's guard\nanswers (`horos/defs/svm_rules.hpp`).\n\n"
        "| number | ID | rule | strength | outcome |\n| --- | --- | --- | --- | --- |\n";
    for (const RuleInfo& rule : all_rules()) {
        text += fmt::format("| {} | [`{}`](#{}) | {} | {} | {} |\n", static_cast<unsigned>(rule.id),
                            rule.name, static_cast<unsigned>(rule.id), rule.title,
                            rule.strength == Strength::MUST ? "must" : "may", outcome_name(rule));
    }
    for (const RuleInfo& rule : all_rules()) {
        text += fmt::format("\n## <a id=\"{}\"></a>`{}`\n\n{}.\n\n- section: {}\n- checked: {}\n- "
                            "if broken: {}{}\n- repair: {}\n",
                            static_cast<unsigned>(rule.id), rule.name, rule.title, rule.section,
                            phase_name(rule.phase), outcome_name(rule),
                            rule.strength == Strength::MAY ? ", or the processor goes on" : "",
                            rule.repair);
        std::string fields;
        for (const RuleField field : rule.fields) {
            fields += fmt::format("{}`{}`", fields.empty() ? "" : ", ", rule_field(field).name);
        }
        text += fmt::format("- reads: {}\n", fields);
        if (!rule.needs.empty()) {
            text += fmt::format("- only on parts with: {}\n- built-in profiles that have it: {}\n",
                                rule.needs, applies_to(rule));
        }
    }
    return text;
}

std::string fields_markdown() {
    std::string text = "# The VMCB fields\n\n"
                       "Generated from the model's table (`model/src/svm/fields.cpp`) by\n"
                       "`model_reference_test --write`; do not edit. Sections are of the AMD64 APM "
                       "vol. 2, rev. 3.42.\n\n"
                       "| offset | bytes | name | use | reserved bits | section |\n"
                       "| --- | --- | --- | --- | --- | --- |\n";
    for (const FieldInfo& field : vmcb_fields()) {
        const uint64_t width = field.bytes >= 8 ? ~0ull : (1ull << (8 * field.bytes)) - 1;
        const std::string reserved = (field.reserved & width) == 0 ? ""
                                     : (field.reserved & width) == width
                                         ? "all"
                                         : fmt::format("{:#x}", field.reserved & width);
        text += fmt::format("| {:03X}h | {} | `{}` | {} | {} | {} |\n", field.offset, field.bytes,
                            field.name, use_name(field.use), reserved, field.section);
    }
    return text;
}

} // namespace horos::model::svm
