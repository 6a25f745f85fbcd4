// A guest that entered: the exit, the saved state, registers and memory.
#include "judge.hpp"
#include "test_memory.hpp"
#include "twice.hpp"

#include <fmt/core.h>

namespace horos::fuzz::vmx {

namespace {

using namespace model::vmx;

std::optional<Divergence> compare(std::string what, const Masked& expected, uint64_t observed,
                                  const std::string& where) {
    if (expected.allows(observed)) {
        return std::nullopt;
    }
    Divergence d{std::move(what), fmt::format("{:#x} (of {:#x})", expected.value, expected.known),
                 fmt::format("{:#x}", observed)};
    d.where = where;
    return d;
}

std::optional<Divergence> compare_fields(const GuestExit& e, const Profile& p, const Result& r,
                                         const std::string& where) {
    // What tells most comes first.
    for (Field f : {Field::EXIT_REASON, Field::EXIT_QUALIFICATION, Field::EXIT_INTERRUPTION_INFO}) {
        if (auto d = compare(std::string(field_info(f).name), e[f], at(r, f), where)) {
            return d;
        }
    }
    for (const FieldInfo& field : vmcs_fields()) {
        if (!field.needs.met(p)) {
            continue;
        }
        if (auto d = compare(std::string(field.name), e[field.field], at(r, field.field), where)) {
            return d;
        }
    }
    return std::nullopt;
}

Masked expected_word(const GuestExit& e, uint64_t address, uint64_t before) {
    const auto found = e.writes.find(address);
    return found == e.writes.end() ? Masked{before, ~0ull} : found->second;
}

Masked word_after(const TestMemory& memory, const GuestExit& e, uint64_t address) {
    return expected_word(e, address, memory.quadword(address).value_or(0));
}

std::optional<Divergence> compare_memory(const Test& test, const GuestExit& e, const Result& r,
                                         const std::string& where) {
    const TestMemory memory(test);
    for (unsigned n = 0; n < test.guest.pokes; ++n) {
        const Poke& poke = test.guest.poke[n];
        if (poke.address >= DATA_PA && poke.address < DATA_PA + 4096) {
            continue;
        }
        const Masked word = expected_word(e, poke.address, poke.value);
        if (auto d = compare(fmt::format("memory {:#x}", poke.address), word, r.after[n], where)) {
            return d;
        }
    }
    for (unsigned n = 0; n < 16; ++n) {
        const uint64_t address = n < 8 ? DATA_PA + n * 8 : STACK_PA - 64 + (n - 8) * 8;
        if (auto d = compare(n < 8 ? "memory data" : "memory stack", word_after(memory, e, address),
                             r.data[n], where)) {
            return d;
        }
    }
    return std::nullopt;
}

std::optional<Divergence> compare_ve(const Test& test, const GuestExit& e, const Result& r,
                                     const std::string& where) {
    if ((test.state[Field::PROC_CONTROLS_2] & horos::vmx::proc2::EPT_VIOLATION_VE) == 0) {
        return std::nullopt;
    }
    const TestMemory memory(test);
    for (unsigned n = 0; n < VE_WORDS; ++n) {
        if (auto d = compare(fmt::format("#VE information {}", n * 8),
                             word_after(memory, e, VE_PA + n * 8), r.ve[n], where)) {
            return d;
        }
    }
    return std::nullopt;
}

std::optional<Divergence> compare_vapic(const Test& test, const GuestExit& e, const Result& r,
                                        const std::string& where) {
    if ((test.state[Field::PROC_CONTROLS] & horos::vmx::proc::USE_TPR_SHADOW) == 0) {
        return std::nullopt;
    }
    const TestMemory memory(test);
    for (unsigned n = 0; n < VAPIC_REGISTERS; ++n) {
        Masked word = word_after(memory, e, VAPIC_PA + n * 16);
        word.value &= 0xffffffff;
        word.known &= 0xffffffff;
        if (auto d = compare(fmt::format("virtual APIC {:#x}", n * 16), word, r.vapic[n], where)) {
            return d;
        }
    }
    return std::nullopt;
}

std::optional<Divergence> compare_exit(const Test& test, const GuestExit& e, const Profile& p,
                                       const Result& r) {
    const std::string where = e.path.empty() ? "" : e.path.back();
    if (auto d = compare_fields(e, p, r, where)) {
        return d;
    }
    if (auto d = compare_vapic(test, e, r, where)) {
        return d;
    }
    if (auto d = compare_ve(test, e, r, where)) {
        return d;
    }
    if (test.kind == Kind::ENTRY) { // the registers are whatever the last case left
        return std::nullopt;
    }
    for (unsigned n = 0; n < 16; ++n) {
        if (n == 4) {
            continue;
        }
        if (auto d = compare(fmt::format("gpr {}", n), e.gpr[n], r.gpr[n], where)) {
            return d;
        }
    }
    return compare_memory(test, e, r, where);
}

} // namespace

namespace {

GuestInput input_of(const Test& test, const Profile& profile, const TestMemory& memory) {
    GuestInput input;
    input.profile = &profile;
    input.state = &test.state;
    input.memory = &memory;
    std::copy_n(test.guest.gpr, 16, input.gpr.begin());
    return input;
}

} // namespace

std::vector<GuestExit> predicted_exits(const Test& test, const Profile& profile) {
    const TestMemory memory(test);
    GuestInput input = input_of(test, profile, memory);
    const auto cached = kept_mappings(test, profile);
    input.tlb = cached;
    return run_guest(input);
}

Verdict judge_guest(const Test& test, const Profile& profile, const Result& result,
                    const Deviations& known, const Fault* fault) {
    const TestMemory memory(test);
    GuestInput input = input_of(test, profile, memory);
    const bool wrong_cache = fault != nullptr && fault->cached;
    const auto cached = wrong_cache ? fault->cached(test, profile) : kept_mappings(test, profile);
    input.tlb = cached;
    const auto outcomes = [&] {
        auto all = run_guest(input);
        return wrong_cache ? always_cached(std::move(all)) : all;
    };
    Verdict verdict;
    const auto differs = [&](GuestExit exit) {
        if (fault != nullptr && fault->exit) {
            fault->exit(test, exit);
        }
        return compare_exit(test, exit, profile, result);
    };
    for (const GuestExit& exit : outcomes()) {
        verdict.path = exit.path;
        if (exit.open) { // it may be what was observed
            verdict.open = true;
            verdict.divergence.reset();
            verdict.path.push_back("open: " + exit.why);
            return verdict;
        }
        verdict.divergence = differs(exit);
        if (!verdict.divergence) {
            return verdict;
        }
    }
    input.deviations = known;
    for (const GuestExit& exit : outcomes()) {
        if (exit.deviated.none()) {
            continue;
        }
        // With a defect the course may lead to where the model does not follow.
        const auto rest = exit.open ? std::nullopt : differs(exit);
        if (rest && verdict.divergence) {
            verdict.divergence->besides += fmt::format("{} | {}: {}, not {}; ", rest->where,
                                                       rest->what, rest->observed, rest->expected);
        }
        if (!rest) {
            verdict.divergence.reset();
            verdict.open = exit.open;
            verdict.deviated = exit.deviated;
            return verdict;
        }
    }
    return verdict;
}

} // namespace horos::fuzz::vmx
