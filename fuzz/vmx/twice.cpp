#include "twice.hpp"
#include "test_memory.hpp"

#include <algorithm>

namespace horos::fuzz::vmx {

using model::vmx::GuestExit;
using model::vmx::Mapping;

namespace {

constexpr uint64_t REGION = ARENA_PA >> 21 << 21; // what the last levels of the tables map

bool holds_tables(uint64_t page) {
    return (page >= GUEST_PML4_PA && page <= GUEST_PD32_PA) || page == GUEST_PD_PA ||
           page == GUEST_PT_PA;
}

// The pages of the arena whose translations an entry of the tables takes part in.
std::vector<uint64_t> pages_behind(uint64_t entry) {
    const uint64_t table = entry & ~0xfffull;
    const uint64_t page = REGION + (entry & 0xfff) / 8 * 4096;
    if (table == GUEST_PT_PA || (table == EPT_PT_PA && !holds_tables(page))) {
        return {page};
    }
    std::vector<uint64_t> all;
    for (uint64_t at = ARENA_PA; at < ARENA_END; at += 4096) {
        all.push_back(at);
    }
    return all;
}

} // namespace

std::vector<Mapping> made_mappings(const Test& test, const Profile& profile) {
    if (test.twice.edits == 0) {
        return {};
    }
    Test before = test;
    for (unsigned n = 0; n < test.twice.fields; ++n) {
        const auto* field = model::vmx::find_encoding(uint16_t(test.twice.field[n].address));
        if (field != nullptr) {
            before.state[field->field] = test.twice.field[n].value;
        }
    }
    const TestMemory memory(before, true);
    model::vmx::GuestInput input;
    input.profile = &profile;
    input.state = &before.state;
    input.memory = &memory;
    const auto pages = pages_behind(test.twice.edit[0].address);
    return mappings(input, pages, pages);
}

std::vector<Mapping> kept_mappings(const Test& test, const Profile& profile) {
    auto all = made_mappings(test, profile);
    model::vmx::Invalidation by;
    by.instruction = model::vmx::Invalidation::Instruction(test.twice.instruction);
    by.type = test.twice.type;
    by.operand = test.twice.operand;
    by.linear = test.twice.linear;
    invalidate(all, by);
    return all;
}

std::vector<GuestExit> always_cached(std::vector<GuestExit> outcomes) {
    const auto uses = [](const GuestExit& e) {
        return std::ranges::count_if(e.path,
                                     [](const auto& step) { return step.starts_with("cached"); });
    };
    std::ptrdiff_t most = 0;
    for (const GuestExit& e : outcomes) {
        most = std::max(most, uses(e));
    }
    std::erase_if(outcomes, [&](const GuestExit& e) { return uses(e) < most; });
    return outcomes;
}

} // namespace horos::fuzz::vmx
