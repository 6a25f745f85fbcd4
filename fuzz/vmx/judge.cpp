#include "judge.hpp"

#include "horos/model/vmx/names.hpp"

#include <algorithm>
#include <cstddef>
#include <fmt/core.h>

namespace horos::fuzz::vmx {

namespace {

using F = Field;
using namespace horos::vmx;
using model::vmx::Failure;
using model::vmx::FailureKind;

bool entry_failed(const Result& r) {
    return r.outcome == EXITED && (at(r, F::EXIT_REASON) & exit_reason::ENTRY_FAILURE) != 0;
}

bool matches(const Failure& f, const Result& r) {
    switch (f.kind) {
    case FailureKind::UD:
        return r.outcome == FAULT + 6;
    case FailureKind::GP:
        return r.outcome == FAULT + 13;
    case FailureKind::VMFAIL_INVALID:
        return r.outcome == FAIL_INVALID;
    case FailureKind::VMFAIL_VALID:
        return r.outcome == FAIL_VALID && r.error == uint32_t(f.error);
    case FailureKind::ENTRY_FAILURE:
        break;
    }
    return r.outcome == EXITED && at(r, F::EXIT_REASON) == (0x80000000u | 33) &&
           at(r, F::EXIT_QUALIFICATION) == uint64_t(f.qualification);
}

// Whether the result would be what the model allows if only these rules were broken.
bool explains(const RuleSet& broken, const Result& r, bool entered) {
    const auto left = model::vmx::failures_of(broken);
    return (entered && (left.allowed.empty() || left.may_enter)) ||
           std::ranges::any_of(left.allowed, [&](const Failure& f) { return matches(f, r); });
}

// The broken rules on an SS that a 64-bit guest has with a null selector, and that is usable
// nevertheless (bit 16 of its access rights, §24.4.1). A target that takes the selector for it
// checks none of them: they are one cause.
RuleSet null_ss_rules(const RuleState& s, const RuleSet& broken) {
    constexpr std::string_view SS = "vmx.entry.guest.ss.";
    constexpr std::string_view OF_CONTENT[] = {
        "type", "s", "p", "g", "reserved-low", "reserved-high", "base.high"};
    RuleSet rules;
    const bool code64 = (s[F::ENTRY_CONTROLS] & entry_ctl::IA32E_MODE_GUEST) != 0 &&
                        (s[F::GUEST_CS_RIGHTS] & rights::L) != 0;
    if (!code64 || (s[F::GUEST_SS_SELECTOR] & 0xfffc) != 0) {
        return rules;
    }
    for (const auto& rule : model::vmx::all_rules()) {
        const std::string_view name = rule.name;
        rules[size_t(rule.id)] = broken[size_t(rule.id)] && name.starts_with(SS) &&
                                 std::ranges::count(OF_CONTENT, name.substr(SS.size())) != 0;
    }
    return rules;
}

// A target that holds the RPL of CS, not its DPL, against the DPL of SS (§26.3.1.2) refuses these,
// whatever else the entry would come to: an unrestricted guest may have them differ.
bool refused_for_rpl(const RuleState& s, const RuleSet& broken, const Result& r) {
    const bool v86 = (s[F::GUEST_RFLAGS] & x86::rflags::VM) != 0;
    const uint64_t cs = s[F::GUEST_CS_RIGHTS];
    const uint64_t rpl = s[F::GUEST_CS_SELECTOR] & 3, dpl = (cs & rights::DPL) >> rights::DPL_SHIFT;
    const bool differs = (cs & rights::CONFORMING) != 0 ? rpl < dpl : rpl != dpl;
    const bool wrong = std::ranges::any_of(model::vmx::all_rules(), [&](const auto& rule) {
        return broken[size_t(rule.id)] && rule.name == "vmx.entry.guest.cs.dpl";
    });
    return entry_failed(r) && at(r, F::EXIT_REASON) == (0x80000000u | 33) &&
           at(r, F::EXIT_QUALIFICATION) == 0 && !v86 && (cs & rights::CODE) != 0 && differs &&
           !wrong;
}

// The rule that the target seems not to know: without it the result would be what the model allows.
std::string overlooked_rule(const RuleSet& broken, const RuleSet& null_ss, const Result& r,
                            bool entered) {
    if (null_ss.any() && explains(broken & ~null_ss, r, entered)) {
        return "vmx.entry.guest.ss with a null selector";
    }
    for (const auto& rule : model::vmx::all_rules()) {
        if (!broken[size_t(rule.id)] || rule.strength == model::vmx::Strength::MAY) {
            continue;
        }
        RuleSet others = broken;
        others.reset(size_t(rule.id));
        if (explains(others, r, entered)) {
            return rule.name;
        }
    }
    return "";
}

} // namespace

uint64_t at(const Result& r, Field field) { return r.value[model::vmx::slot_of(field)]; }

std::string observed_text(const Test& test, const Result& r) {
    if (test.kind == Kind::SEQUENCE) {
        return "sequence";
    }
    if (r.outcome == FAIL_INVALID) {
        return "VMfailInvalid";
    }
    if (r.outcome == FAIL_VALID) {
        return fmt::format("VMfailValid {}", r.error);
    }
    if (r.outcome >= FAULT && r.outcome < FAULT + 32) {
        return fmt::format("fault, vector {}", r.outcome - FAULT);
    }
    if (r.outcome == WRITE_FAILED) {
        return fmt::format("VMWRITE of {:#06x} failed", r.bad_encoding);
    }
    const auto reason = uint32_t(at(r, F::EXIT_REASON));
    if (entry_failed(r)) {
        return fmt::format("entry failure {}, qualification {}", reason & exit_reason::BASIC,
                           at(r, F::EXIT_QUALIFICATION));
    }
    return fmt::format("entered, exit {} ({})", reason & exit_reason::BASIC,
                       model::vmx::exit_reason_name(reason & exit_reason::BASIC));
}

namespace {

Verdict diverges(Divergence d) {
    Verdict verdict;
    verdict.divergence = std::move(d);
    return verdict;
}

// An entry, and what the guest does if it enters.
Verdict judge_entry(const Test& test, const Profile& profile, const Result& result,
                    const model::vmx::Deviations& known, const Fault* fault) {
    RuleSet broken = model::vmx::broken_rules(test.state, profile);
    if (fault != nullptr && fault->rules) {
        fault->rules(test.state, broken);
    }
    const auto failures = model::vmx::failures_of(broken);
    for (const Failure& failure : failures.allowed) {
        if (matches(failure, result)) {
            return {};
        }
    }
    const bool entered = result.outcome == EXITED && !entry_failed(result);
    const bool may_enter = failures.allowed.empty() || failures.may_enter;
    if (!entered || !may_enter) {
        const RuleSet null_ss = null_ss_rules(test.state, broken);
        if (refused_for_rpl(test.state, broken, result)) {
            return diverges({"refused: " + observed_text(test, result),
                             may_enter ? "enters" : model::vmx::failure_text(failures.allowed[0]),
                             observed_text(test, result), "vmx.entry.guest.cs.dpl, by RPL"});
        }
        return diverges({entered ? (null_ss.any() ? "entered with a null SS" : "entered")
                                 : "refused: " + observed_text(test, result),
                         may_enter ? "enters" : model::vmx::failure_text(failures.allowed[0]),
                         observed_text(test, result),
                         overlooked_rule(broken, null_ss, result, entered)});
    }
    return judge_guest(test, profile, result, known, fault);
}

// Entered with values in the host-state area that it should refuse: an exit loads them, and that
// is not the divergence.
bool overlooks_host_rule(const Test& test, const Profile& profile, const Result& result) {
    if (test.kind == Kind::SEQUENCE || result.outcome != EXITED) {
        return false;
    }
    const RuleSet broken = model::vmx::broken_rules(test.state, profile);
    return std::ranges::any_of(model::vmx::all_rules(), [&](const auto& rule) {
        return broken[size_t(rule.id)] && rule.phase == model::vmx::Phase::HOST;
    });
}

} // namespace

Verdict judge(const Test& test, const Profile& profile, const HostValues& host,
              const Result& result, const model::vmx::Deviations& known, const Fault* fault) {
    // Without the control an exit leaves the guest's IA32_EFER but for LMA and LME (§27.5.1).
    constexpr uint32_t EFER_VALUE = 1u << offsetof(HostValues, efer) / 8;
    const bool loads_efer =
        (test.state[F::EXIT_CONTROLS] & exit_ctl::LOAD_EFER) != 0 || test.kind == Kind::SEQUENCE;
    const uint32_t changed = result.host_changed & ~(loads_efer ? 0 : EFER_VALUE);
    if (changed != 0 && !overlooks_host_rule(test, profile, result)) {
        return diverges(
            {"host state changed", "nothing", fmt::format("values {:#x}", changed), {}, {}});
    }
    return test.kind == Kind::SEQUENCE ? judge_sequence(test, profile, host, result, fault)
                                       : judge_entry(test, profile, result, known, fault);
}

} // namespace horos::fuzz::vmx
