#include "report.hpp"

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace horos::explain {

namespace {

using model::svm::OutcomeKind;
using model::svm::RuleInfo;
using nlohmann::json;

std::string hex(uint64_t value, unsigned bytes) {
    return fmt::format("0x{:0{}x}", value, bytes * 2);
}

std::string outcome_text(const RuleInfo& rule) {
    if (rule.outcome == OutcomeKind::INVALID) {
        return "#VMEXIT(VMEXIT_INVALID)";
    }
    return rule.fault == x86::Vector::UD ? "#UD in the host" : "#GP(0) in the host";
}

void add_rules(std::string& text, const std::vector<BrokenRule>& list) {
    for (const BrokenRule& b : list) {
        text += fmt::format("\n{}\n  rule     {}\n  section  {}\n  outcome  {}\n", b.rule->name,
                            b.rule->title, b.rule->section, outcome_text(*b.rule));
        for (const FieldValue& f : b.fields) {
            text += fmt::format("  field    {} = {}\n", f.name, hex(f.value, f.bytes));
        }
        text += fmt::format("  mend     {}\n", b.rule->repair);
    }
}

std::string changed_bits(uint64_t difference) {
    std::string list;
    for (unsigned i = 0; i < 64; ++i) {
        if ((difference >> i & 1) != 0) {
            list += fmt::format("{}{}", list.empty() ? "" : ",", i);
        }
    }
    return list;
}

json rule_json(const BrokenRule& b) {
    json fields = json::object();
    for (const FieldValue& f : b.fields) {
        fields[f.name] = hex(f.value, f.bytes);
    }
    return {{"id", b.rule->name},
            {"number", static_cast<unsigned>(b.rule->id)},
            {"rule", b.rule->title},
            {"section", b.rule->section},
            {"outcome", outcome_text(*b.rule)},
            {"strength", b.rule->strength == model::svm::Strength::MUST ? "must" : "may"},
            {"repair", b.rule->repair},
            {"fields", fields}};
}

} // namespace

std::string to_text(const Explanation& e) {
    std::string text;
    if (e.valid()) {
        text = fmt::format("valid: VMRUN would enter the guest (profile {})\n", e.profile);
        for (const std::string& line : e.state) {
            text += "  " + line + "\n";
        }
    }
    if (!e.must.empty()) {
        text += fmt::format("not valid: {} {} broken (profile {})\n", e.must.size(),
                            e.must.size() == 1 ? "rule is" : "rules are", e.profile);
        add_rules(text, e.must);
    }
    if (!e.may.empty()) {
        text += fmt::format("{}left open by the manual: a processor may refuse, or enter "
                            "(profile {})\n",
                            e.must.empty() ? "" : "\n", e.profile);
        add_rules(text, e.may);
    }
    if (!e.repair.empty()) {
        text += fmt::format("\nsmallest repair: {} field{}, {} bit{}\n", e.repair.size(),
                            e.repair.size() == 1 ? "" : "s", e.repair_bits,
                            e.repair_bits == 1 ? "" : "s");
        for (const FieldChange& c : e.repair) {
            text += fmt::format("  {}: {} -> {} (bits {})\n", c.name, hex(c.from, c.bytes),
                                hex(c.to, c.bytes), changed_bits(c.from ^ c.to));
        }
    }
    for (const std::string& remark : e.remarks) {
        text += "remark: " + remark + "\n";
    }
    for (const std::string& note : e.notes) {
        text += "note: " + note + "\n";
    }
    return text;
}

json to_json(const Explanation& e) {
    json broken = json::array();
    for (const auto* list : {&e.must, &e.may}) {
        for (const BrokenRule& b : *list) {
            broken.push_back(rule_json(b));
        }
    }
    json changes = json::array();
    for (const FieldChange& c : e.repair) {
        changes.push_back(
            {{"field", c.name}, {"from", hex(c.from, c.bytes)}, {"to", hex(c.to, c.bytes)}});
    }
    return {{"profile", e.profile}, {"valid", e.valid()},
            {"broken", broken},     {"repair", {{"bits", e.repair_bits}, {"changes", changes}}},
            {"state", e.state},     {"remarks", e.remarks},
            {"notes", e.notes}};
}

} // namespace horos::explain
