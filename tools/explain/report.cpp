#include "report.hpp"

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace horos::explain {

namespace {

using nlohmann::json;

std::string hex(uint64_t value, unsigned bytes) {
    return fmt::format("0x{:0{}x}", value, bytes * 2);
}

void add_rules(std::string& text, const std::vector<BrokenRule>& list) {
    for (const BrokenRule& b : list) {
        text += fmt::format("\n{}\n  rule     {}\n  section  {}\n  outcome  {}\n", b.name, b.title,
                            b.section, b.outcome);
        for (const FieldValue& f : b.fields) {
            text += fmt::format("  field    {} = {}\n", f.name, hex(f.value, f.bytes));
        }
        text += fmt::format("  mend     {}\n", b.repair);
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

json rule_json(const BrokenRule& b, const char* strength) {
    json fields = json::object();
    for (const FieldValue& f : b.fields) {
        fields[f.name] = hex(f.value, f.bytes);
    }
    return {{"id", b.name},         {"number", b.number},   {"rule", b.title},
            {"section", b.section}, {"outcome", b.outcome}, {"strength", strength},
            {"repair", b.repair},   {"fields", fields}};
}

} // namespace

std::string to_text(const Explanation& e) {
    std::string text;
    if (e.valid()) {
        text =
            fmt::format("valid: {} would enter the guest (profile {})\n", e.instruction, e.profile);
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
    for (const BrokenRule& b : e.must) {
        broken.push_back(rule_json(b, "must"));
    }
    for (const BrokenRule& b : e.may) {
        broken.push_back(rule_json(b, "may"));
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
