// The rows of the rule table, by chapter; segments are generated in rules_table.cpp.
#pragma once

#include "horos/model/vmx/rules.hpp"

namespace horos::model::vmx {

struct RuleRow {
    RuleId id;
    const char* name;
    const char* title;
    const char* section;
    const char* repair;
    Needs needs = {};
    Strength strength = Strength::MUST;
};
std::span<const RuleRow> instruction_rows();
std::span<const RuleRow> execution_rows();
std::span<const RuleRow> exit_entry_rows();
std::span<const RuleRow> host_rows();
std::span<const RuleRow> guest_rows();

// The inputs that the rule's predicate reads.
InputSet reads_of(RuleId id);

} // namespace horos::model::vmx
