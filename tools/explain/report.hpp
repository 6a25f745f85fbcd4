// What is said about a VMCB, as text and as JSON.
#pragma once

#include "input.hpp"

#include "horos/model/svm/smt.hpp"

#include <nlohmann/json_fwd.hpp>
#include <optional>

namespace horos::explain {

struct FieldValue {
    std::string name;
    uint64_t value = 0;
    unsigned bytes = 8;
};

struct BrokenRule {
    const model::svm::RuleInfo* rule = nullptr;
    std::vector<FieldValue> fields;
};

struct FieldChange {
    std::string name;
    uint64_t from = 0;
    uint64_t to = 0;
    unsigned bytes = 8;
};

struct Explanation {
    std::string profile;
    std::vector<BrokenRule> must; // VMRUN fails
    std::vector<BrokenRule> may;  // a processor may refuse
    std::vector<FieldChange> repair;
    unsigned repair_bits = 0;
    std::vector<std::string> state; // the loaded state in words, if nothing is broken
    std::vector<std::string> remarks;
    std::vector<std::string> notes;
    bool valid() const { return must.empty() && may.empty(); }
};

Explanation explain(const Input& input, const model::svm::Profile& profile, bool want_repair);
std::vector<std::string> describe_state(const svm::Vmcb& vmcb, const model::svm::Profile& profile);
std::vector<std::string> remarks_on(const svm::Vmcb& vmcb, const model::svm::Profile& profile);

std::string to_text(const Explanation& e);
nlohmann::json to_json(const Explanation& e);

} // namespace horos::explain
