#include "horos/model/vmx/reference.hpp"

#include "horos/model/vmx/names.hpp"
#include "horos/model/vmx/rules.hpp"

#include <fmt/core.h>

namespace horos::model::vmx {

namespace {

std::string_view phase_name(Phase phase) {
    switch (phase) {
    case Phase::INSTRUCTION:
        return "by the instruction";
    case Phase::CONTROL:
        return "with the controls";
    case Phase::HOST:
        return "with the host state";
    case Phase::GUEST:
        break;
    }
    return "with the guest state, after controls and host state";
}

std::string applies_to(const RuleInfo& rule) {
    std::string list;
    bool all = true;
    for (const Profile& profile : builtin_profiles()) {
        if (rule_applies(rule.id, profile)) {
            list += (list.empty() ? "" : ", ") + profile.name;
        } else {
            all = false;
        }
    }
    return all ? "all built-in profiles" : list.empty() ? "none of the built-in profiles" : list;
}

std::string rule_section(const RuleInfo& rule) {
    const auto number = static_cast<unsigned>(rule.id);
    std::string text = fmt::format(
        "\n## <a id=\"{0:x}\"></a>`{1}`\n\n{2}.\n\n- section: SDM vol. 3 325384-077US {3}\n"
        "- checked: {4}\n- if broken: {5}{6}\n- repair: {7}\n",
        number, rule.name, rule.title, rule.section, phase_name(rule.phase),
        failure_text(rule.failure),
        rule.strength == Strength::MAY ? ", or the processor goes on" : "", rule.repair);
    std::string fields;
    for (const InputInfo& input : rule_inputs()) {
        if (rule.reads[input.input]) {
            fields += fmt::format("{}`{}`", fields.empty() ? "" : ", ", input.name);
        }
    }
    text += fmt::format("- reads: {}\n", fields);
    if (rule.needs.word != Word::NONE) {
        text += fmt::format("- only on parts with: {}\n", needs_text(rule.needs));
    }
    return text + fmt::format("- applies to: {}\n", applies_to(rule));
}

std::string_view access_name(Field field) {
    switch (horos::vmx::type(field)) {
    case horos::vmx::FieldType::CONTROL:
        return "control";
    case horos::vmx::FieldType::READ_ONLY:
        return "read-only data";
    case horos::vmx::FieldType::GUEST:
        return "guest state";
    case horos::vmx::FieldType::HOST:
        break;
    }
    return "host state";
}
std::string_view width_name(Field field) {
    switch (horos::vmx::width(field)) {
    case horos::vmx::FieldWidth::BITS_16:
        return "16";
    case horos::vmx::FieldWidth::BITS_32:
        return "32";
    case horos::vmx::FieldWidth::BITS_64:
        return "64, full and high";
    case horos::vmx::FieldWidth::NATURAL:
        break;
    }
    return "natural";
}

} // namespace

std::string rules_markdown() {
    std::string text =
        "# The rules of a VM entry (VMX)\n\n"
        "Generated from the model's table (`model/src/vmx/rules_*.cpp`) by\n"
        "`model_vmx_reference_test --write`; do not edit. A rule is what VMLAUNCH and VMRESUME "
        "check\n"
        "before the guest runs. *must*: a processor that enters in spite of a broken rule is "
        "wrong.\n"
        "*may*: the manual leaves it open. Sections are of the Intel SDM vol. 3, order number\n"
        "325384-077US. The number is the one that the kernel's guard answers\n"
        "(`horos/defs/vmx_rules.hpp`).\n\n"
        "| number | ID | rule | strength | outcome |\n| --- | --- | --- | --- | --- |\n";
    for (const RuleInfo& rule : all_rules()) {
        const auto number = static_cast<unsigned>(rule.id);
        text += fmt::format("| {0:x}h | [`{1}`](#{0:x}) | {2} | {3} | {4} |\n", number, rule.name,
                            rule.title, rule.strength == Strength::MUST ? "must" : "may",
                            failure_text(rule.failure));
    }
    for (const RuleInfo& rule : all_rules()) {
        text += rule_section(rule);
    }
    return text;
}

std::string fields_markdown() {
    std::string text =
        "# The VMCS fields\n\n"
        "Generated from the model's table (`model/src/vmx/vmcs.cpp`) by\n"
        "`model_vmx_reference_test --write`; do not edit. Sections are of the Intel SDM vol. 3C,\n"
        "order number 325384-077US.\n\n"
        "| encoding | name | area | width | exists with | section |\n"
        "| --- | --- | --- | --- | --- | --- |\n";
    for (const FieldInfo& field : vmcs_fields()) {
        text += fmt::format("| {:04X}h | `{}` | {} | {} | {} | {} |\n",
                            horos::vmx::encoding(field.field), field.name, access_name(field.field),
                            width_name(field.field), needs_text(field.needs), field.section);
    }
    return text;
}

} // namespace horos::model::vmx
