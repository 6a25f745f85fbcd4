#include "report.hpp"

#include "horos/model/vmx/names.hpp"
#include "horos/model/vmx/smt.hpp"

#include <fmt/core.h>

namespace horos::explain {

namespace {

using namespace model::vmx;
using F = Field;

unsigned bytes_of(const InputInfo& input) { return (input.bits + 7) / 8; }

BrokenRule broken(const RuleInfo& rule, const RuleState& state) {
    BrokenRule b{rule.name,
                 static_cast<unsigned>(rule.id),
                 rule.title,
                 "SDM vol. 3 325384-077US " + rule.section,
                 failure_text(rule.failure),
                 rule.repair,
                 {}};
    for (const InputInfo& input : rule_inputs()) {
        if (rule.reads[input.input]) {
            b.fields.push_back(
                {std::string(input.name), state.value[input.input], bytes_of(input)});
        }
    }
    return b;
}

std::string mode_of(const RuleState& s, const Profile& profile) {
    if ((s[F::ENTRY_CONTROLS] & horos::vmx::entry_ctl::IA32E_MODE_GUEST) != 0) {
        return (s[F::GUEST_CS_RIGHTS] & horos::vmx::rights::L) != 0 ? "64-bit mode"
                                                                    : "compatibility mode";
    }
    if ((s[F::GUEST_CR0] & x86::cr0::PE) == 0) {
        return "real mode";
    }
    if ((s[F::GUEST_RFLAGS] & x86::rflags::VM) != 0) {
        return "virtual-8086 mode";
    }
    (void)profile;
    const bool paging = (s[F::GUEST_CR0] & x86::cr0::PG) != 0;
    const bool pae = (s[F::GUEST_CR4] & x86::cr4::PAE) != 0;
    return !paging ? "protected mode without paging"
           : pae   ? "protected mode with PAE paging"
                   : "protected mode with 32-bit paging";
}

std::vector<std::string> describe(const RuleState& s, const Profile& profile) {
    std::vector<std::string> lines;
    lines.push_back(fmt::format("{}, CPL {}, RIP {:#x}, RSP {:#x}, CR3 {:#x}", mode_of(s, profile),
                                s[F::GUEST_SS_RIGHTS] >> horos::vmx::rights::DPL_SHIFT & 3,
                                s[F::GUEST_RIP], s[F::GUEST_RSP], s[F::GUEST_CR3]));
    const uint64_t info = s[F::ENTRY_INTERRUPTION_INFO];
    if ((info & horos::vmx::interruption::VALID) != 0) {
        lines.push_back(fmt::format("an event is injected: vector {}, type {}", info & 0xff,
                                    info >> horos::vmx::interruption::TYPE_SHIFT & 7));
    }
    if (s[F::GUEST_ACTIVITY] != 0) {
        lines.push_back(
            fmt::format("the guest is not active: activity state {}", s[F::GUEST_ACTIVITY]));
    }
    return lines;
}

std::vector<std::string> remarks(const RuleState& s) {
    std::vector<std::string> lines;
    const uint64_t reason = s[F::EXIT_REASON];
    if (reason != 0) {
        const bool failed = (reason & horos::vmx::exit_reason::ENTRY_FAILURE) != 0;
        lines.push_back(fmt::format(
            "the last exit was {} ({}{}), qualification {:#x}",
            static_cast<unsigned>(reason & horos::vmx::exit_reason::BASIC),
            exit_reason_name(static_cast<uint32_t>(reason & horos::vmx::exit_reason::BASIC)),
            failed ? ", a failed entry" : "", s[F::EXIT_QUALIFICATION]));
    }
    return lines;
}

} // namespace

Explanation explain(const VmcsInput& input, const Profile& profile, bool want_repair) {
    const RuleSet set = broken_rules(input.state, profile);
    Explanation e;
    e.profile = profile.name;
    e.instruction = input.state[Extra::VMRESUME] != 0 ? "VMRESUME" : "VMLAUNCH";
    e.notes = input.notes;
    for (const RuleInfo& rule : all_rules()) {
        if (set[static_cast<size_t>(rule.id)]) {
            (rule.strength == Strength::MUST ? e.must : e.may).push_back(broken(rule, input.state));
        }
    }
    if (e.valid()) {
        e.state = describe(input.state, profile);
    } else if (want_repair) {
        const Repair repair = smallest_repair(input.state, profile);
        for (const size_t changed : repair.changed) {
            const InputInfo& info = rule_inputs()[changed];
            e.repair.push_back({std::string(info.name), input.state.value[changed],
                                repair.state.value[changed], bytes_of(info)});
        }
        e.repair_bits = repair.bits;
    }
    e.remarks = remarks(input.state);
    return e;
}

} // namespace horos::explain
