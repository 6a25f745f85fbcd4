#include "horos/fuzz/generator.hpp"

#include "horos/defs/x86.hpp"
#include "horos/fuzz/arena.hpp"
#include "horos/model/svm/fields.hpp"
#include "horos/model/svm/smt.hpp"
#include "snippets.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace horos::fuzz {

using namespace svm_model;

namespace {
constexpr size_t CORPUS_LIMIT = 20000;
constexpr std::pair<Mode, bool> WITNESS_BASES[] = {
    {Mode::Long64, false}, {Mode::Long64, true}, {Mode::Pae32, false}, {Mode::Protected32, true}};
} // namespace

unsigned RuleCoverage::bothSides() const {
    return unsigned((applicable & ~unreachable & broken & held).count());
}
unsigned RuleCoverage::reachable() const { return unsigned((applicable & ~unreachable).count()); }

Generator::Generator(Oracle& oracle, uint64_t seed) : oracle_(oracle), random_(seed) {
    for (const RuleInfo& rule : all_rules())
        if (rule_applies(rule.id, Params(oracle_.profile())))
            rules_.applicable.set(size_t(rule.id));
    rules_.unreachable = rules_.applicable; // until a witness shows otherwise
    // Of the ways to break the rule of CPL 0 the harness can do CPL 3, which Z3 need not choose.
    for (auto [mode, nested] : WITNESS_BASES) {
        Case c;
        c.slot = baseCase(mode, nested);
        c.slot.flags |= wire::USER_MODE;
        c.origin = "VMRUN at CPL 3";
        Oracle::settle(c);
        addFirst(std::move(c));
    }
}

namespace {
std::optional<Case> makeWitness(const RuleState& base, const RuleState& state, Mode mode,
                                bool nested, const std::string& name) {
    Case c;
    c.slot = baseCase(mode, nested);
    c.origin = name;
    if (!applyRuleState(base, state, c))
        return std::nullopt;
    Oracle::settle(c);
    return c;
}
} // namespace

void Generator::solve(bool pairs, const std::function<void(const Case&)>& found) {
    Oracle own(oracle_.profile()); // an oracle belongs to one thread
    for (auto [mode, nested] : WITNESS_BASES) {
        Case c;
        c.slot = baseCase(mode, nested);
        const RuleState base = own.ruleState(c);
        auto give = [&](const std::vector<Witness>& witnesses) {
            for (const Witness& w : witnesses)
                if (auto witness = makeWitness(base, w.state, mode, nested, w.name))
                    found(*witness);
        };
        give(rule_witnesses(own.profile(), base));
        // pairs once, in 64-bit mode with nested paging, where most rules apply
        if (pairs && mode == Mode::Long64 && nested)
            give(pair_witnesses(own.profile(), base));
    }
}

void Generator::addFirst(Case c) { queue_.push_back(std::move(c)); }

// The tour: every snippet in every mode, with and without nested paging; then in every mode with
// each instruction intercepted, and with each exception and a data page that faults: single bits
// seldom meet what they are for. After it at random.
namespace {

enum class Round { Plain, Nested, Intercepted, Faulting, Over };

Round roundOf(size_t at) {
    const size_t length = snippets().size() * MODES;
    return Round(std::min<size_t>(at / length, size_t(Round::Over)));
}

void interceptInstructions(Case& c) {
    horos::svm::Vmcb vmcb = c.vmcb();
    vmcb.control.intercept_cr = ~0u;
    vmcb.control.intercept_dr = ~0u;
    vmcb.control.intercept_misc1 = ~0u;
    vmcb.control.intercept_misc2 = 0xffff;
    c.setVmcb(vmcb);
}

void faultOnData(Case& c, Random& random) {
    horos::svm::Vmcb vmcb = c.vmcb();
    vmcb.control.intercept_exceptions = ~0u;
    c.setVmcb(vmcb);
    const bool wide = vmcb.save.cr4 & x86::cr4::PAE;
    const unsigned entry = page::DATA;
    const uint64_t address = wide ? pageAddress(page::TABLES) + 8 * entry
                                  : pageAddress(page::TABLES32) + 8 * (entry / 2);
    const unsigned present = wide || entry % 2 == 0 ? 0 : 32;
    c.poke(address, c.peek(address) ^ 1ull << (present + random.below(3))); // or writable, or user
}

} // namespace

Case Generator::fresh() {
    const size_t programs = snippets().size();
    const size_t at = tour_++;
    const Round round = roundOf(at);
    const bool touring = round != Round::Over;
    const Mode mode = Mode(touring ? at / programs % MODES : random_.below(MODES));
    const bool nested = round == Round::Plain    ? false
                        : round == Round::Nested ? true
                                                 : random_.oneIn(2);
    const Snippet& snippet = snippets()[touring ? at % programs : random_.below(programs)];
    Case c;
    c.slot = baseCase(mode, nested);
    install(c, snippet, random_);
    if (round == Round::Intercepted)
        interceptInstructions(c);
    if (round == Round::Faulting)
        faultOnData(c, random_);
    c.origin = fmt::format("{} ({}{})", snippet.name, modeName(mode), nested ? ", nested" : "");
    return c;
}

Case Generator::next() {
    if (!queue_.empty()) {
        Case c = std::move(queue_.front());
        queue_.pop_front();
        rules_.unreachable &= ~broken_rules(oracle_.ruleState(c), Params(oracle_.profile()));
        return c;
    }
    const bool touring = roundOf(tour_) != Round::Over;
    Case c;
    if (touring || corpus_.empty()) {
        c = fresh();
    } else {
        if (energy_ == 0) {
            parent_ = random_.oneIn(3) ? fresh() : corpus_[random_.below(corpus_.size())];
            energy_ = 8 + unsigned(random_.below(24));
        }
        --energy_;
        c = mutate(parent_);
    }
    Oracle::settle(c);
    return c;
}

bool Generator::learn(const Case& c, const Prediction& p, RuleSet broken) {
    bool fresh = (p.features & ~features_).any();
    features_ |= p.features;
    rules_.broken |= broken;
    if (broken.none())
        rules_.held |= rules_.applicable;
    for (size_t a = 0; a < broken.size(); ++a)
        for (size_t b = a + 1; broken.test(a) && b < broken.size(); ++b)
            if (broken.test(b) && pairs_.insert({unsigned(a), unsigned(b)}).second)
                fresh = true;
    const Outcome& likely = p.allowed.front();
    uint64_t exit = likely.kind == OutcomeKind::FAULT ? 0x10000 + uint64_t(likely.fault.vector)
                                                      : uint64_t(likely.exit_code);
    exits_.insert(exit);
    uint64_t key = exit * 0x9e3779b97f4a7c15;
    for (size_t a = 0; a < broken.size(); ++a)
        if (broken.test(a))
            key = (key ^ a) * 0x100000001b3;
    key ^= uint64_t{likely.event_delivered} << 62 ^ uint64_t(std::min(likely.instructions, 3u))
                                                        << 59;
    fresh |= keys_.insert(key).second;
    if (fresh && corpus_.size() < CORPUS_LIMIT)
        corpus_.push_back(c);
    return fresh;
}

void Generator::reject(const Case&, Unfit why) { ++rejected_[unsigned(why)]; }

} // namespace horos::fuzz
