// Divergences by cause: one row for one cause.
#pragma once

#include "judge.hpp"
#include "triage.hpp"

#include <map>

namespace horos::fuzz::vmx {

struct Cluster {
    std::string key;
    Divergence divergence;
    Test test;                        // minimised
    std::vector<std::string> changed; // inputs that differ from the base state
    std::vector<std::string> saved;   // what the exit of the first case reported
    uint64_t count = 0;
    const Known* known = nullptr;
};

std::string rule_names(const RuleSet& broken);
// Before minimisation: what tells that two divergences are of one kind.
std::string raw_key(const Test& test, const Divergence& divergence, const Profile& profile);
// After it. `base` is the state that minimisation goes towards.
Cluster make_cluster(const Test& test, const Divergence& divergence, const RuleState& base,
                     const Profile& profile);
std::vector<std::string> changed_inputs(const Test& test, const RuleState& base);
// The exit information fields and registers of a case that entered.
std::vector<std::string> saved_fields(const Result& result, const Profile& profile);
std::string code_text(const GuestPart& guest); // its bytes and what they mean

} // namespace horos::fuzz::vmx
