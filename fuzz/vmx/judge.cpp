#include "judge.hpp"

#include "horos/model/vmx/names.hpp"

#include <fmt/core.h>

namespace horos::fuzz::vmx {

namespace {

using F = Field;
using namespace horos::vmx;
using model::vmx::Failure;
using model::vmx::FailureKind;

uint64_t at(const Result& r, F field) { return r.value[model::vmx::slot_of(field)]; }

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

// The rule that the target seems not to know: without it the result would be what the model allows.
std::string overlooked_rule(const RuleSet& broken, const Result& r, bool entered) {
    for (const auto& rule : model::vmx::all_rules()) {
        if (!broken[size_t(rule.id)] || rule.strength == model::vmx::Strength::MAY) {
            continue;
        }
        RuleSet others = broken;
        others.reset(size_t(rule.id));
        const auto left = model::vmx::failures_of(others);
        bool explains = entered && (left.allowed.empty() || left.may_enter);
        for (const Failure& failure : left.allowed) {
            explains = explains || matches(failure, r);
        }
        if (explains) {
            return rule.name;
        }
    }
    return "";
}

Divergence field_differs(F field, uint64_t expected, const Result& r) {
    return {std::string(model::vmx::field_info(field).name), fmt::format("{:#x}", expected),
            fmt::format("{:#x}", at(r, field))};
}

// A VMCALL at the first instruction: the guest has changed nothing, so what was loaded is saved
// (SDM vol. 3C 325384-077US §27.3), with the exit information of §27.2.
std::optional<Divergence> judge_vmcall(const RuleState& s, const Profile& p, const Result& r) {
    const auto expect = [&](F field, uint64_t value) -> std::optional<Divergence> {
        if (at(r, field) == value) {
            return std::nullopt;
        }
        return field_differs(field, value, r);
    };
    // Access rights of an unusable register keep a few bits only; its base and limit may be
    // anything.
    for (unsigned n = 0; n < SEGMENTS; ++n) {
        if (auto d = expect(plus(F::GUEST_ES_SELECTOR, n), s[plus(F::GUEST_ES_SELECTOR, n)])) {
            return d;
        }
        if ((s[plus(F::GUEST_ES_RIGHTS, n)] & rights::UNUSABLE) != 0) {
            continue;
        }
        for (F first : {F::GUEST_ES_RIGHTS, F::GUEST_ES_LIMIT, F::GUEST_ES_BASE}) {
            if (auto d = expect(plus(first, n), s[plus(first, n)])) {
                return d;
            }
        }
    }
    for (F field :
         {F::GUEST_CR3, F::GUEST_CR4, F::GUEST_GDTR_BASE, F::GUEST_GDTR_LIMIT, F::GUEST_IDTR_BASE,
          F::GUEST_IDTR_LIMIT, F::GUEST_RSP, F::GUEST_RIP, F::GUEST_RFLAGS, F::GUEST_SYSENTER_ESP,
          F::GUEST_SYSENTER_EIP, F::VMCS_LINK_POINTER}) {
        if (auto d = expect(field, s[field])) {
            return d;
        }
    }
    // CR0: the bits that an entry does not load keep the processor's values (§26.3.2.1).
    constexpr uint64_t KEPT = x86::cr0::ET | x86::cr0::CD | x86::cr0::NW | 0x1ff8ffc0 | 1ull << 17;
    if (((at(r, F::GUEST_CR0) ^ s[F::GUEST_CR0]) & ~KEPT & 0xffffffff) != 0) {
        return field_differs(F::GUEST_CR0, s[F::GUEST_CR0], r);
    }
    (void)p;
    if (auto d = expect(F::EXIT_QUALIFICATION, 0)) {
        return d;
    }
    if (auto d = expect(F::EXIT_INSTRUCTION_LENGTH, 3)) {
        return d;
    }
    if (auto d = expect(F::GUEST_ACTIVITY, 0)) {
        return d;
    }
    if ((at(r, F::IDT_VECTORING_INFO) & interruption::VALID) != 0) {
        return field_differs(F::IDT_VECTORING_INFO, 0, r);
    }
    return std::nullopt;
}

} // namespace

std::string observed_text(const Result& r) {
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

std::optional<Divergence> judge(const RuleState& state, const Profile& profile,
                                const Result& result) {
    if (result.host_changed != 0) {
        return Divergence{"host state changed", "nothing",
                          fmt::format("values {:#x}", result.host_changed)};
    }
    const RuleSet broken = model::vmx::broken_rules(state, profile);
    const auto failures = model::vmx::failures_of(broken);
    for (const Failure& failure : failures.allowed) {
        if (matches(failure, result)) {
            return std::nullopt;
        }
    }
    const bool entered = result.outcome == EXITED && !entry_failed(result);
    const bool may_enter = failures.allowed.empty() || failures.may_enter;
    if (!entered || !may_enter) {
        return Divergence{entered ? "entered" : "refused: " + observed_text(result),
                          may_enter ? "enters" : model::vmx::failure_text(failures.allowed[0]),
                          observed_text(result), overlooked_rule(broken, result, entered)};
    }
    // An entry that succeeds clears the valid bit (§26.6... 24.8.3).
    if ((at(result, F::ENTRY_INTERRUPTION_INFO) & interruption::VALID) != 0) {
        return field_differs(F::ENTRY_INTERRUPTION_INFO, 0, result);
    }
    const bool vmcall = at(result, F::EXIT_REASON) == uint64_t(ExitReason::VMCALL);
    const bool plain = (state[F::ENTRY_INTERRUPTION_INFO] & interruption::VALID) == 0;
    return vmcall && plain ? judge_vmcall(state, profile, result) : std::nullopt;
}

} // namespace horos::fuzz::vmx
