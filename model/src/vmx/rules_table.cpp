// The table of the rules: what is said of each beside its predicate.
#include "horos/model/vmx/rules.hpp"

#include "rules_table.hpp"

#include <algorithm>
#include <fmt/core.h>
#include <stdexcept>

namespace horos::model::vmx {

namespace {

using R = RuleId;
using horos::vmx::EntryFailure;
using horos::vmx::InstructionError;
constexpr Needs ALWAYS{};

struct CheckText {
    SegmentCheck check;
    const char* name;
    const char* title;
    const char* repair;
};
constexpr CheckText CHECKS[] = {
    {SegmentCheck::SELECTOR_TI, "selector-ti", "TI is 0", "clear TI"},
    {SegmentCheck::SELECTOR_RPL, "selector-rpl",
     "RPL is that of CS (not for an unrestricted guest or in virtual-8086 mode)",
     "set RPL to that of CS"},
    {SegmentCheck::BASE_V86, "base.v86", "in virtual-8086 mode the base is the selector times 16",
     "set the base to it"},
    {SegmentCheck::BASE_HIGH, "base.high", "bits 63:32 of the base are 0", "clear them"},
    {SegmentCheck::BASE_CANONICAL, "base.canonical", "the base is canonical",
     "clear the high bits"},
    {SegmentCheck::LIMIT_V86, "limit.v86", "in virtual-8086 mode the limit is FFFFh",
     "set the limit to it"},
    {SegmentCheck::RIGHTS_V86, "rights.v86", "in virtual-8086 mode the access rights are F3h",
     "set the access rights to it"},
    {SegmentCheck::TYPE, "type", "the type is one that the register may have",
     "set the usual type"},
    {SegmentCheck::S, "s", "S is as the register needs it", "change S"},
    {SegmentCheck::DPL, "dpl", "DPL agrees with RPL or with the DPL of SS", "set DPL to it"},
    {SegmentCheck::DPL_REAL, "dpl-real", "DPL is 0 in real mode and with a data segment in CS",
     "set DPL to 0"},
    {SegmentCheck::P, "p", "P is set", "set P"},
    {SegmentCheck::RESERVED_LOW, "reserved-low", "bits 11:8 of the access rights are 0",
     "clear them"},
    {SegmentCheck::DB, "db", "D/B is 0 in 64-bit code", "clear D/B"},
    {SegmentCheck::G, "g", "G and the limit agree", "set G and the limit to agree"},
    {SegmentCheck::RESERVED_HIGH, "reserved-high", "bits 31:17 of the access rights are 0",
     "clear them"},
};
constexpr const char* SEGMENT_NAMES[] = {"es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"};

Failure instruction_failure(RuleId id) {
    switch (id) {
    case R::INSN_VMX_OPERATION:
    case R::INSN_MODE:
        return {FailureKind::UD};
    case R::INSN_CPL0:
        return {FailureKind::GP};
    case R::INSN_MOV_SS:
        return {FailureKind::VMFAIL_VALID, InstructionError::ENTRY_BLOCKED_BY_MOV_SS};
    case R::INSN_CLEAR:
        return {FailureKind::VMFAIL_VALID, InstructionError::VMLAUNCH_NOT_CLEAR};
    case R::INSN_LAUNCHED:
        return {FailureKind::VMFAIL_VALID, InstructionError::VMRESUME_NOT_LAUNCHED};
    default:
        return {FailureKind::VMFAIL_INVALID};
    }
}
Failure guest_failure(RuleId id) {
    EntryFailure why = EntryFailure::NONE;
    if (id == R::PDPTE_FIELDS || id == R::PDPTE_MEMORY) {
        why = EntryFailure::PDPTE;
    } else if (id >= R::LINK_ADDRESS && id <= R::LINK_CURRENT) {
        why = EntryFailure::LINK_POINTER;
    } else if (id == R::BLOCKING_STI_NMI) {
        why = EntryFailure::NMI_BLOCKED_BY_STI;
    }
    return {FailureKind::ENTRY_FAILURE, InstructionError::NONE, why};
}
Failure failure_of(RuleId id, Phase phase) {
    switch (phase) {
    case Phase::INSTRUCTION:
        return instruction_failure(id);
    case Phase::CONTROL:
        return {FailureKind::VMFAIL_VALID, InstructionError::ENTRY_CONTROLS};
    case Phase::HOST:
        return {FailureKind::VMFAIL_VALID, InstructionError::ENTRY_HOST_STATE};
    case Phase::GUEST:
        break;
    }
    return guest_failure(id);
}

void add(std::vector<RuleInfo>& table, std::span<const RuleRow> rows, Phase phase,
         const std::string& prefix) {
    for (const RuleRow& row : rows) {
        table.push_back({row.id, prefix + row.name, row.title, std::string("§") + row.section,
                         phase, row.strength, failure_of(row.id, phase), row.repair, row.needs,
                         reads_of(row.id)});
    }
}
void add_segments(std::vector<RuleInfo>& table) {
    for (unsigned n = 0; n < horos::vmx::SEGMENTS; ++n) {
        const auto segment = static_cast<Segment>(n);
        for (const CheckText& text : CHECKS) {
            if (!horos::vmx::checked(segment, text.check)) {
                continue;
            }
            const RuleId id = horos::vmx::segment_rule(segment, text.check);
            std::string upper = SEGMENT_NAMES[n];
            std::transform(upper.begin(), upper.end(), upper.begin(),
                           [](char c) { return static_cast<char>(c - 'a' + 'A'); });
            const bool tr = segment == Segment::TR && text.check == SegmentCheck::RESERVED_HIGH;
            table.push_back({id, fmt::format("vmx.entry.guest.{}.{}", SEGMENT_NAMES[n], text.name),
                             fmt::format("{}: {}", upper,
                                         tr ? "bits 31:17 of the access rights and unusable are 0"
                                            : text.title),
                             "§26.3.1.2", Phase::GUEST, Strength::MUST,
                             failure_of(id, Phase::GUEST), text.repair, ALWAYS, reads_of(id)});
        }
    }
}

std::vector<RuleInfo> make_table() {
    std::vector<RuleInfo> table;
    add(table, instruction_rows(), Phase::INSTRUCTION, "vmx.entry.insn.");
    add(table, execution_rows(), Phase::CONTROL, "vmx.entry.control.");
    add(table, exit_entry_rows(), Phase::CONTROL, "vmx.entry.control.");
    add(table, host_rows(), Phase::HOST, "vmx.entry.host.");
    add(table, guest_rows(), Phase::GUEST, "vmx.entry.guest.");
    add_segments(table);
    std::sort(table.begin(), table.end(),
              [](const RuleInfo& a, const RuleInfo& b) { return a.id < b.id; });
    return table;
}
const std::vector<RuleInfo>& table() {
    static const std::vector<RuleInfo> rules = make_table();
    return rules;
}

} // namespace

std::span<const RuleInfo> all_rules() { return table(); }

const RuleInfo& rule_info(RuleId id) {
    const auto found =
        std::lower_bound(table().begin(), table().end(), id,
                         [](const RuleInfo& rule, RuleId wanted) { return rule.id < wanted; });
    if (found == table().end() || found->id != id) {
        throw std::out_of_range("no VMX rule has the number " +
                                std::to_string(static_cast<unsigned>(id)));
    }
    return *found;
}

const RuleInfo* find_rule(std::string_view name) {
    const auto found = std::find_if(table().begin(), table().end(),
                                    [&](const RuleInfo& r) { return r.name == name; });
    return found == table().end() ? nullptr : &*found;
}

} // namespace horos::model::vmx
