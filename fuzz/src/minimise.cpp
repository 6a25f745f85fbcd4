#include "horos/fuzz/campaign.hpp"

#include <cstring>

namespace horos::fuzz {

namespace {

constexpr size_t FIRST_WORD = offsetof(wire::CaseSlot, hsave) / 8;
constexpr size_t LAST_WORD = offsetof(wire::CaseSlot, patch) / 8;

uint64_t& wordOf(wire::CaseSlot& slot, size_t index) {
    return reinterpret_cast<uint64_t*>(&slot)[index];
}

// How many words differ: picks the base case to go towards.
unsigned distance(wire::CaseSlot a, wire::CaseSlot b) {
    unsigned count = 0;
    for (size_t i = FIRST_WORD; i < LAST_WORD; ++i)
        count += wordOf(a, i) != wordOf(b, i);
    return count;
}

wire::CaseSlot nearestBase(const wire::CaseSlot& slot) {
    wire::CaseSlot best = baseCase(Mode::Long64, false);
    for (unsigned mode = 0; mode < MODES; ++mode)
        for (bool nested : {false, true}) {
            wire::CaseSlot candidate = baseCase(Mode(mode), nested);
            if (distance(candidate, slot) < distance(best, slot))
                best = candidate;
        }
    return best;
}

class Minimiser {
public:
    Minimiser(Executor& executor, Oracle& oracle, const Triage& triage, const Divergence& d,
              unsigned budget)
        : executor_(executor), oracle_(oracle), triage_(triage), best_(d), key_(keyOf(d)),
          budget_(budget) {}

    Divergence run() {
        wire::CaseSlot base = nearestBase(best_.input.slot);
        dropPatches();
        tryChange([](wire::CaseSlot& s) {
            s.flags &= ~uint32_t{wire::TWICE};
            s.edits = 0;
            std::memset(s.edit, 0, sizeof s.edit);
            uint64_t& word = s.control[offsetof(horos::svm::ControlArea, tlb_control) / 8];
            word = (word & 0xffffffff) | 1ull << 32; // or what the TLB holds would not be known
        });
        dropEdits();
        for (uint32_t flag = 1; flag < wire::TWICE; flag <<= 1)
            tryChange([&](wire::CaseSlot& s) { s.flags &= ~flag; });
        // big strides first, then single words, then single bits of what is left
        for (size_t stride : {size_t{32}, size_t{8}, size_t{1}})
            for (size_t at = FIRST_WORD; at < LAST_WORD; at += stride)
                tryChange([&](wire::CaseSlot& s) {
                    for (size_t i = at; i < std::min(at + stride, LAST_WORD); ++i)
                        if (i * 8 < offsetof(wire::CaseSlot, code) ||
                            i * 8 >= offsetof(wire::CaseSlot, window))
                            wordOf(s, i) = wordOf(base, i);
                });
        for (size_t at = FIRST_WORD; at < LAST_WORD; ++at)
            shrinkBits(base, at);
        return best_;
    }

private:
    template <typename F>
    bool tryChange(F change) {
        if (budget_ == 0)
            return false;
        Case c = best_.input;
        change(c.slot);
        c.slot.windows = changedWindows(c.slot);
        if (std::memcmp(&c.slot, &best_.input.slot, sizeof c.slot) == 0)
            return false;
        auto prediction = oracle_.predict(c);
        Case probe = c;
        if (oracle_.fit(probe, prediction) != Unfit::No)
            return false;
        --budget_;
        Run run = executor_.runAlone(c);
        auto divergence = judge(oracle_, run, triage_).divergence;
        // The cause must stay; that fewer fields differ, or fewer rules are broken, is welcome.
        if (!divergence)
            return false;
        ClusterKey key = keyOf(*divergence);
        if (key.expected != key_.expected || key.observed != key_.observed ||
            divergence->rules.size() > best_.rules.size() ||
            (key.fields != key_.fields && divergence->findings.size() >= best_.findings.size()))
            return false;
        best_ = std::move(*divergence);
        key_ = keyOf(best_);
        return true;
    }

    void dropPatches() {
        for (uint32_t i = best_.input.slot.patches; i-- > 0;)
            tryChange([&](wire::CaseSlot& s) {
                std::memmove(&s.patch[i], &s.patch[i + 1],
                             (s.patches - i - 1) * sizeof(wire::Patch));
                s.patch[--s.patches] = {};
            });
    }

    void dropEdits() {
        for (uint64_t i = best_.input.slot.edits; i-- > 0;)
            tryChange([&](wire::CaseSlot& s) {
                std::memmove(&s.edit[i], &s.edit[i + 1], (s.edits - i - 1) * sizeof(wire::Edit));
                s.edit[--s.edits] = {};
            });
    }

    void shrinkBits(const wire::CaseSlot& base, size_t at) {
        bool code =
            at * 8 >= offsetof(wire::CaseSlot, code) && at * 8 < offsetof(wire::CaseSlot, window);
        if (code)
            return;
        uint64_t differs = reinterpret_cast<const uint64_t*>(&best_.input.slot)[at] ^
                           reinterpret_cast<const uint64_t*>(&base)[at];
        if (__builtin_popcountll(differs) < 2)
            return;
        for (; differs; differs &= differs - 1)
            tryChange([&](wire::CaseSlot& s) {
                uint64_t bit = differs & -differs;
                wordOf(s, at) ^= bit;
            });
    }

    Executor& executor_;
    Oracle& oracle_;
    const Triage& triage_;
    Divergence best_;
    ClusterKey key_;
    unsigned budget_;
};

} // namespace

Divergence minimise(Executor& executor, Oracle& oracle, const Triage& triage,
                    const Divergence& divergence, unsigned budget) {
    return Minimiser(executor, oracle, triage, divergence, budget).run();
}

} // namespace horos::fuzz
