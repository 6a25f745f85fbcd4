#include "horos/fuzz/session.hpp"

#include <cstring>
#include <stdexcept>
#include <vector>

namespace horos::fuzz {

void restoreArena(Target& target) {
    // The harness writes only those bytes of a program that differ from what is in place, and a
    // target keeps translations of what its own processor wrote: that stays.
    constexpr uint64_t AFTER = CODE_ADDRESS + 8 * wire::CODE_QWORDS;
    const auto write = [&](uint64_t from, uint64_t to) {
        target.memory().write(from, &arenaTemplate()[(from - wire::ARENA_PA) / 8], to - from);
    };
    write(wire::ARENA_PA, CODE_ADDRESS);
    write(AFTER, wire::ARENA_PA + wire::ARENA_SIZE);
}

void bringUp(Target& target) {
    target.start();
    Memory& memory = target.memory();
    memory.write(wire::ARENA_PA, arenaTemplate().data(), wire::ARENA_SIZE);
    wire::Window places[wire::WINDOWS] = {};
    uint64_t contents[wire::WINDOW_QWORDS] = {};
    for (unsigned i = 0; i < WINDOW_COUNT; ++i) {
        places[i] = windows()[i].place;
        std::memcpy(contents + places[i].offset,
                    &arenaTemplate()[(places[i].address - wire::ARENA_PA) / 8],
                    8 * places[i].qwords);
    }
    memory.write(wire::MAILBOX_PA + offsetof(wire::Mailbox, window), places, sizeof places);
    memory.write(wire::MAILBOX_PA + offsetof(wire::Mailbox, windowTemplate), contents,
                 sizeof contents);
    memory.write(wire::BASE_STATE_PA, &baseState(), sizeof(horos::svm::Vmcb));
    const TargetState state = target.command(wire::Command::LoadBase, 0, std::chrono::seconds(10));
    if (state == TargetState::Interrupted)
        throw Interrupted();
    if (state != TargetState::Running)
        throw std::runtime_error("the target did not take its base state:\n" + target.log());
}

std::vector<StrayWord> strayWords(Target& target, uint64_t codeAddress, unsigned codeBytes) {
    static thread_local ArenaImage found;
    target.memory().read(wire::ARENA_PA, found.data(), wire::ARENA_SIZE);
    const ArenaImage& expected = arenaTemplate();
    std::vector<StrayWord> stray;
    // page by page first: almost always everything is equal
    for (size_t first = 0; first < found.size(); first += 512) {
        if (std::memcmp(&found[first], &expected[first], 4096) == 0)
            continue;
        for (size_t i = first; i < first + 512; ++i) {
            if (found[i] == expected[i])
                continue;
            uint64_t address = wire::ARENA_PA + 8 * i;
            bool code = address >= codeAddress && address < codeAddress + codeBytes;
            if (!code)
                stray.push_back({address, expected[i], found[i]});
        }
    }
    for (uint64_t address : target.strayRingWords())
        stray.push_back({address, 0, ~0ull});
    return stray;
}

} // namespace horos::fuzz
