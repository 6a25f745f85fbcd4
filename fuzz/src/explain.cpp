#include "explain.hpp"

#include "horos/defs/x86.hpp"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <map>

namespace horos::fuzz {

using namespace svm_model;
using horos::svm::SaveArea;

namespace {

// Guest writes into windows that the harness did not bring back: seen only as stray words.
std::vector<MemoryWrite> takeUnhandled(const Case& c, Outcome& outcome) {
    std::vector<MemoryWrite> taken;
    std::erase_if(outcome.writes, [&](const MemoryWrite& write) {
        unsigned window = 0;
        const bool inWindow = windowIndex(write.address & ~7ull, &window) >= 0;
        if (inWindow && (c.slot.windows >> window & 1))
            return false;
        taken.push_back(write);
        return true;
    });
    return taken;
}

bool explainsStray(const StrayWord& word, const std::vector<MemoryWrite>& writes) {
    uint64_t value = word.expected, known = ~0ull;
    for (const MemoryWrite& write : writes) {
        if ((write.address & ~7ull) != word.address)
            continue;
        const unsigned shift = 8 * (write.address & 7);
        value = (value & ~(0xffull << shift)) | uint64_t(write.value) << shift;
        known = (known & ~(0xffull << shift)) | uint64_t(write.known) << shift;
    }
    return ((value ^ word.found) & known) == 0;
}

bool isOpen(const Prediction& p) {
    return std::any_of(p.allowed.begin(), p.allowed.end(), [](const Outcome& outcome) {
        return outcome.kind == OutcomeKind::UNSPECIFIED;
    });
}

bool runsOn(const Prediction& p) {
    return std::any_of(p.allowed.begin(), p.allowed.end(),
                       [](const Outcome& outcome) { return outcome.kind == OutcomeKind::RUNS_ON; });
}

// A guest that goes on for long after a defect is not followed to its end either.
bool isNotFollowed(const Prediction& p) { return isOpen(p) || (p.deviated.any() && runsOn(p)); }

constexpr std::string_view DEATH = "dies: "; // how the model says it

bool isDeath(const Outcome& outcome) {
    return outcome.kind == OutcomeKind::UNSPECIFIED && outcome.why.starts_with(DEATH);
}

auto survivors(const Prediction& p) {
    return std::count_if(p.allowed.begin(), p.allowed.end(),
                         [](const Outcome& outcome) { return !isDeath(outcome); });
}

class Explainer {
public:
    Explainer(Oracle& oracle, const Run& run, const Triage& triage)
        : oracle_(oracle), run_(run), triage_(triage) {}

    // Whether the model with these defects allows what was seen. Leaves behind which made a
    // difference and which field entries were needed besides.
    bool allows(const Deviations& defects) {
        const bool known = run_.withDefects &&
                           defects.behaviours == triage_.deviations().behaviours &&
                           defects.unchecked == triage_.deviations().unchecked;
        Prediction p = known ? *run_.withDefects : oracle_.predict(run_.input, defects);
        used = p.deviated;
        fields.clear();
        open = isNotFollowed(p);
        if (run_.state == TargetState::Died)
            return diesSo(p) || (survivors(p) != 0 && isNotFollowed(p) && endedOfKnownCause());
        std::erase_if(p.allowed, isDeath);
        if (p.allowed.empty()) // it was to die
            return false;
        if (run_.state == TargetState::Hung)
            return neverReturns(p) || isOpen(p) || losesHost(p, defects);
        std::vector<MemoryWrite> elsewhere;
        // Alternatives that were given up count for nothing, unless one of the others is open.
        const auto givenUp = std::erase_if(p.allowed, [](const Outcome& outcome) {
            return outcome.kind == OutcomeKind::UNSPECIFIED &&
                   outcome.why.starts_with("more allowed");
        });
        if (givenUp != 0 && !isNotFollowed(p))
            return false;
        // Each outcome answers for its own writes.
        std::erase_if(p.allowed, [&](Outcome& outcome) {
            const std::vector<MemoryWrite> writes = takeUnhandled(run_.input, outcome);
            elsewhere.insert(elsewhere.end(), writes.begin(), writes.end());
            return outcome.kind != OutcomeKind::UNSPECIFIED && !explainsStrays(writes);
        });
        if (p.allowed.empty())
            return false;
        open = isNotFollowed(p);
        leaves = !elsewhere.empty() || open;
        if (open)
            return true;
        Divergence d;
        d.input = run_.input;
        d.findings = oracle_.compare(run_.input, p, run_.result, defects);
        d.expected = describe(nearest(run_, p));
        d.observed = describe(run_.result);
        fields = triage_.explain(d);
        return d.findings.empty();
    }

    Deviations used;
    std::vector<const Triaged*> fields;
    bool leaves = false;
    bool open = false; // what it allows is not followed to its end: anything would do

private:
    bool explainsStrays(const std::vector<MemoryWrite>& writes) const {
        return std::all_of(run_.stray.begin(), run_.stray.end(),
                           [&](const StrayWord& word) { return explainsStray(word, writes); });
    }

    // Whether one of the ways to end that are allowed is the one that was seen.
    bool diesSo(const Prediction& p) const {
        return std::any_of(p.allowed.begin(), p.allowed.end(), [&](const Outcome& outcome) {
            return isDeath(outcome) && saysInTheEnd(run_.log, outcome.why.substr(DEATH.size()));
        });
    }

    // A course that the model does not follow may come to any end that is known.
    bool endedOfKnownCause() const {
        return std::any_of(triage_.entries().begin(), triage_.entries().end(),
                           [&](const Triaged& t) {
                               return t.deviation && !t.match.observed.empty() &&
                                      run_.log.find(t.match.observed) != std::string::npos;
                           });
    }

    static bool neverReturns(const Prediction& p) {
        return std::any_of(p.allowed.begin(), p.allowed.end(), [](const Outcome& outcome) {
            return outcome.kind == OutcomeKind::HALTED || outcome.kind == OutcomeKind::RUNS_ON ||
                   outcome.kind == OutcomeKind::SHUTDOWN;
        });
    }

    // Deviation::HOST_CR0_LOST: the host goes on without paging, and may never answer again.
    static bool losesHost(const Prediction& p, const Deviations& defects) {
        if (!defects.test(Deviation::HOST_CR0_LOST))
            return false;
        const auto word = [](const Outcome& outcome, size_t offset) {
            uint64_t value = 0;
            std::memcpy(&value, &outcome.vmcb.value[horos::svm::SAVE_AREA_OFFSET + offset], 8);
            return value;
        };
        return std::any_of(p.allowed.begin(), p.allowed.end(), [&](const Outcome& outcome) {
            const bool returns =
                outcome.kind == OutcomeKind::EXIT || outcome.kind == OutcomeKind::INVALID;
            return returns && !(word(outcome, offsetof(SaveArea, cr0)) & x86::cr0::PG) &&
                   !(word(outcome, offsetof(SaveArea, cr4)) & x86::cr4::PAE) &&
                   (word(outcome, offsetof(SaveArea, efer)) & x86::efer::LME);
        });
    }

    Oracle& oracle_;
    const Run& run_;
    const Triage& triage_;
};

// The part of `used` that is needed. To find it takes a prediction for each, so that it is searched
// for the first few cases of a kind only; later ones take the answer of those. (That a case is
// known at all is shown for each, by the whole set.)
Deviations smallest(Explainer& explainer, const Deviations& used) {
    const bool wholeOpen = explainer.open;
    struct Answer {
        Deviations needed;
        unsigned asked = 0;
    };
    constexpr unsigned ENOUGH = 5;
    static thread_local std::map<std::string, Answer> answers;
    Answer& answer = answers[used.behaviours.to_string() + used.unchecked.to_string()];
    if (answer.asked >= ENOUGH)
        return answer.needed;
    ++answer.asked;
    Deviations needed = used;
    // Less that leaves the outcome open does not explain what more of it predicts.
    const auto explains = [&] {
        return explainer.allows(needed) && (wholeOpen || !explainer.open);
    };
    const auto drop = [&](auto& from, const auto& bits) {
        for (size_t i = 0; i < bits.size(); ++i) {
            if (!bits.test(i))
                continue;
            from.reset(i);
            if (!explains())
                from.set(i);
        }
    };
    drop(needed.behaviours, std::bitset<DEVIATION_COUNT>(needed.behaviours));
    drop(needed.unchecked, std::bitset<128>(needed.unchecked));
    if (!explains())
        return {};
    return answer.needed = needed;
}

} // namespace

std::string deathMessage(const Prediction& withDefects) {
    if (withDefects.allowed.empty() || survivors(withDefects) != 0)
        return {};
    return withDefects.allowed.front().why.substr(DEATH.size());
}

std::string defectsSay(Oracle& oracle, const Run& run, const Triage& triage) {
    Prediction p = oracle.predict(run.input, triage.deviations());
    std::string text = "with the known defects the model allows:";
    std::vector<std::vector<MemoryWrite>> elsewhere;
    for (Outcome& outcome : p.allowed) {
        text += fmt::format(" {} {}", describe(outcome), outcome.why);
        elsewhere.push_back(takeUnhandled(run.input, outcome));
    }
    text += "; these made a difference:";
    for (const Triaged* entry : triage.entriesOf(p.deviated))
        text += " " + entry->id;
    if (run.state == TargetState::Running)
        for (const Finding& f : oracle.compare(run.input, p, run.result, triage.deviations()))
            text += fmt::format("\n  {:<28} allowed {:#x} (known {:#x}) observed {:#x}", f.field,
                                f.expected, f.known, f.observed);
    for (const StrayWord& word : run.stray)
        if (std::none_of(elsewhere.begin(), elsewhere.end(),
                         [&](const auto& writes) { return explainsStray(word, writes); }))
            text += fmt::format("\n  stray[{:x}] was {:#x}, observed {:#x}", word.address,
                                word.expected, word.found);
    return text;
}

std::vector<const Triaged*> explainByDefects(Oracle& oracle, const Run& run, const Triage& triage,
                                             bool& leaves) {
    if (!triage.deviations().any())
        return {};
    Explainer explainer(oracle, run, triage);
    if (!explainer.allows(triage.deviations()))
        return {};
    // What it looks at outside the guest's course is not noted by the model.
    Deviations used = explainer.used;
    if (triage.deviations().test(Deviation::HOST_CR0_LOST))
        used.set(Deviation::HOST_CR0_LOST);
    const Deviations needed = smallest(explainer, used);
    if (!needed.any())
        return {};
    leaves = explainer.leaves;
    std::vector<const Triaged*> entries = triage.entriesOf(needed);
    entries.insert(entries.end(), explainer.fields.begin(), explainer.fields.end());
    return entries;
}

} // namespace horos::fuzz
