// What is said about a VMCB or a VMCS, as text and as JSON.
#pragma once

#include "input.hpp"
#include "input_vmcs.hpp"

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
    std::string name;
    unsigned number = 0;
    std::string title;
    std::string section;
    std::string outcome;
    std::string repair;
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
    std::string instruction;      // "VMRUN"
    std::vector<BrokenRule> must; // the entry fails
    std::vector<BrokenRule> may;  // a processor may refuse
    std::vector<FieldChange> repair;
    unsigned repair_bits = 0;
    std::vector<std::string> state; // the loaded state in words, if nothing is broken
    std::vector<std::string> remarks;
    std::vector<std::string> notes;
    bool valid() const { return must.empty() && may.empty(); }
};

Explanation explain(const Input& input, const model::svm::Profile& profile, bool want_repair);
Explanation explain(const VmcsInput& input, const model::vmx::Profile& profile, bool want_repair);
std::vector<std::string> describe_state(const svm::Vmcb& vmcb, const model::svm::Profile& profile);
std::vector<std::string> remarks_on(const svm::Vmcb& vmcb, const model::svm::Profile& profile);

std::string to_text(const Explanation& e);
nlohmann::json to_json(const Explanation& e);

} // namespace horos::explain
